// allOf, anyOf, oneOf, not, if and $ref of a schema object.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/constraint/schema_reader.h"

namespace alcca {

absl::StatusOr<ExprId> SchemaReader::ReadList(std::string_view keyword, const JsonValue& list,
                                              bool all) {
  std::vector<ExprId> parts;
  for (size_t i = 0; i < list.items.size(); ++i) {
    ASSIGN_OR_RETURN(const ExprId part, Sub(list.items[i], Path(keyword, absl::StrCat(i))));
    parts.push_back(part);
  }
  return all ? shapes_.And(std::move(parts)) : shapes_.Or(std::move(parts));
}

// One and no other. Others that share nothing with it need not be excluded.
absl::StatusOr<ExprId> SchemaReader::ReadOneOf(const JsonValue& list) {
  constexpr int kDepth = 4;
  std::vector<ExprId> parts;
  for (size_t i = 0; i < list.items.size(); ++i) {
    ASSIGN_OR_RETURN(const ExprId part, Sub(list.items[i], Path("oneOf", absl::StrCat(i))));
    parts.push_back(part);
  }
  std::vector<ExprId> ways;
  for (size_t i = 0; i < parts.size(); ++i) {
    std::vector<ExprId> both = {parts[i]};
    for (size_t j = 0; j < parts.size(); ++j) {
      if (j != i && !shapes_.ProvablyEmpty(shapes_.And({parts[i], parts[j]}), kDepth)) {
        both.push_back(shapes_.Not(parts[j]));
      }
    }
    ways.push_back(shapes_.And(std::move(both)));
  }
  return shapes_.Or(std::move(ways));
}

absl::Status SchemaReader::ReadCombinations(Shape* shape) {
  const auto add = [&](std::string_view keyword, ExprId expr) -> absl::Status {
    const absl::StatusOr<const Shape*> normal = shapes_.Normalize(expr);
    if (!normal.ok()) {
      return std::string(normal.status().message()).starts_with("schema:")
                 ? normal.status()
                 : Error(keyword, std::string(normal.status().message()));
    }
    const absl::Status both = AndInto(shape, **normal);
    return both.ok() || std::string(both.message()).starts_with("schema:")
               ? both
               : Error(keyword, std::string(both.message()));
  };
  RETURN_IF_ERROR(ReadDependencies(shape));
  for (const char* keyword : {"allOf", "anyOf", "oneOf"}) {
    const JsonValue* list = schema_.Find(keyword);
    if (list == nullptr) {
      continue;
    }
    if (!list->is_array() || list->items.empty()) {
      return Error(keyword, "expected a list of schemas");
    }
    const bool one = std::string_view(keyword) == "oneOf";
    ASSIGN_OR_RETURN(const ExprId expr,
                     one ? ReadOneOf(*list) : ReadList(keyword, *list, keyword[1] == 'l'));
    RETURN_IF_ERROR(add(keyword, expr));
  }
  if (const JsonValue* other = schema_.Find("not"); other != nullptr) {
    ASSIGN_OR_RETURN(const ExprId expr, Sub(*other, Path("not")));
    RETURN_IF_ERROR(add("not", shapes_.Not(expr)));
  }
  if (const JsonValue* condition = schema_.Find("if"); condition != nullptr) {
    ASSIGN_OR_RETURN(const ExprId holds, Sub(*condition, Path("if")));
    ExprId yes = kAnyValue;
    ExprId no = kAnyValue;
    if (const JsonValue* then = schema_.Find("then"); then != nullptr) {
      ASSIGN_OR_RETURN(yes, Sub(*then, Path("then")));
    }
    if (const JsonValue* otherwise = schema_.Find("else"); otherwise != nullptr) {
      ASSIGN_OR_RETURN(no, Sub(*otherwise, Path("else")));
    }
    if (yes != kAnyValue || no != kAnyValue) {
      RETURN_IF_ERROR(add(
          "if", shapes_.Or({shapes_.And({holds, yes}), shapes_.And({shapes_.Not(holds), no})})));
    }
  }
  return absl::OkStatus();
}

}  // namespace alcca
