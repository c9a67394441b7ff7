// Shapes of a schema to rules of a grammar.

#pragma once

#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/constraint/json_text.h"
#include "engine/constraint/schema_shape.h"

namespace alcca {

class SchemaEmitter {
 public:
  SchemaEmitter(const JsonSchemaOptions& options, SchemaShapes* shapes, JsonText* text,
                GrammarBuilder* builder)
      : options_(options), shapes_(*shapes), text_(*text), builder_(*builder) {}

  // The rule of `expr`, and of all that it needs.
  absl::StatusOr<RuleId> Emit(ExprId expr);

 private:
  RuleId RuleOf(ExprId expr);
  absl::Status EmitBody(ExprId expr, RuleId rule);
  absl::Status EmitNumbers(const NumberSet& numbers, std::vector<StateId>* ways);
  absl::StatusOr<RuleId> StringRule(const StringShape& shape);
  absl::StatusOr<StateId> EmitArray(const ArrayShape& shape);
  StateId EmitPlainArray(const ArrayShape& shape, StateId close);
  absl::StatusOr<StateId> EmitContains(const ArrayShape& shape, StateId close);
  absl::StatusOr<StateId> EmitUnique(const ArrayShape& shape, StateId close);
  absl::StatusOr<StateId> EmitObject(const ObjectShape& shape);
  absl::Status EmitExtras(const ObjectShape& shape, const DfaPtr& named, StateId next,
                          Grammar::Members* members);
  StateId Key(const std::string& name, StateId next);

  const JsonSchemaOptions& options_;
  SchemaShapes& shapes_;
  JsonText& text_;
  GrammarBuilder& builder_;
  std::unordered_map<ExprId, RuleId> rules_;
  std::vector<ExprId> wait_;
  std::map<std::pair<const CharDfa*, uint32_t>, RuleId> tails_;  // By strings and maximum.
  std::vector<DfaPtr> kept_;                                     // Keys of tails_ stay alive.
};

}  // namespace alcca
