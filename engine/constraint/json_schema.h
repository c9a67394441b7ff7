// JSON schema (drafts 4 to 2020-12) to a grammar. What the grammar accepts satisfies the schema;
// what it cannot hold exactly is refused with INVALID_ARGUMENT that names the keyword and its JSON
// pointer. docs/constraints.md has the keywords one by one.

#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "engine/constraint/grammar.h"
#include "engine/constraint/json_text.h"

namespace alcca {

struct JsonSchemaOptions {
  JsonWhitespace whitespace = JsonWhitespace::kCompact;
  // Members in the schema's order, others after them: models do better with one order. Without,
  // any order that JSON schema allows.
  bool ordered = true;
  size_t max_alternatives = 200;  // Of objects, arrays or strings in one place.
  size_t max_expressions = 40'000;
};

// `schema` is the JSON text. Every error is INVALID_ARGUMENT.
absl::StatusOr<Grammar> CompileJsonSchema(std::string_view schema, const JsonSchemaOptions& options,
                                          const GrammarLimits& limits);
// Any JSON object.
absl::StatusOr<Grammar> CompileJsonObject(const JsonSchemaOptions& options,
                                          const GrammarLimits& limits);
// Adds the rule of a schema to a grammar that is being built.
absl::StatusOr<RuleId> AddJsonSchema(std::string_view schema, const JsonSchemaOptions& options,
                                     JsonText* text, GrammarBuilder* builder);

}  // namespace alcca
