#include "engine/constraint/json_schema.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/constraint/json_document.h"
#include "engine/constraint/schema_emit.h"
#include "engine/constraint/schema_shape.h"

namespace alcca {

absl::StatusOr<RuleId> AddJsonSchema(std::string_view schema, const JsonSchemaOptions& options,
                                     JsonText* text, GrammarBuilder* builder) {
  absl::StatusOr<JsonValue> document = ParseJsonDocument(schema);
  if (!document.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("schema: ", std::string(document.status().message())));
  }
  if (!document->is_object() && document->type != JsonValue::Type::kBoolean) {
    return absl::InvalidArgumentError("schema: expected an object, true or false");
  }
  SchemaShapes shapes(*document, options);
  const ExprId root = shapes.Schema(*document, "#");
  absl::StatusOr<RuleId> rule = SchemaEmitter(options, &shapes, text, builder).Emit(root);
  if (!rule.ok() && !std::string(rule.status().message()).starts_with("schema:")) {
    return absl::InvalidArgumentError(
        absl::StrCat("schema: ", std::string(rule.status().message())));
  }
  return rule;
}

absl::StatusOr<Grammar> CompileJsonSchema(std::string_view schema, const JsonSchemaOptions& options,
                                          const GrammarLimits& limits) {
  GrammarBuilder builder(limits);
  JsonText text(options.whitespace, &builder);
  ASSIGN_OR_RETURN(const RuleId rule, AddJsonSchema(schema, options, &text, &builder));
  return std::move(builder).Build(rule);
}

absl::StatusOr<Grammar> CompileJsonObject(const JsonSchemaOptions& options,
                                          const GrammarLimits& limits) {
  GrammarBuilder builder(limits);
  JsonText text(options.whitespace, &builder);
  const RuleId rule = text.Object();
  return std::move(builder).Build(rule);
}

}  // namespace alcca
