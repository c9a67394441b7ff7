// Free text with marked parts that follow a schema, as vLLM's structural tags: {"structures":
// [{"begin": "<tool>", "schema": {...}, "end": "</tool>"}, ...], "triggers": ["<tool"]}. A "type"
// beside them is read over.
//
// Text is free until a trigger; from there on one of the structures that begin with the trigger
// must follow, then free text again. A schema of a structure may be absent or {}: any JSON value.

#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "engine/constraint/grammar.h"
#include "engine/constraint/json_schema.h"

namespace alcca {

// INVALID_ARGUMENT with the JSON pointer.
absl::StatusOr<Grammar> CompileStructuralTag(std::string_view text,
                                             const JsonSchemaOptions& options,
                                             const GrammarLimits& limits);

}  // namespace alcca
