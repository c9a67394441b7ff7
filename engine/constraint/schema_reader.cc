#include "engine/constraint/schema_reader.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/status_macros.h"
#include "engine/constraint/regex.h"

namespace alcca {
namespace {

// What a schema object may say of a value. Everything else in it is for people, or is nothing that
// JSON schema defines, and says nothing.
constexpr std::string_view kKeywords[] = {"$ref",
                                          "type",
                                          "enum",
                                          "const",
                                          "minimum",
                                          "maximum",
                                          "exclusiveMinimum",
                                          "exclusiveMaximum",
                                          "multipleOf",
                                          "minLength",
                                          "maxLength",
                                          "pattern",
                                          "format",
                                          "items",
                                          "prefixItems",
                                          "additionalItems",
                                          "contains",
                                          "minContains",
                                          "maxContains",
                                          "minItems",
                                          "maxItems",
                                          "uniqueItems",
                                          "properties",
                                          "required",
                                          "additionalProperties",
                                          "patternProperties",
                                          "minProperties",
                                          "maxProperties",
                                          "propertyNames",
                                          "dependencies",
                                          "dependentRequired",
                                          "dependentSchemas",
                                          "allOf",
                                          "anyOf",
                                          "oneOf",
                                          "not",
                                          "if",
                                          "then",
                                          "else",
                                          "unevaluatedItems",
                                          "unevaluatedProperties",
                                          "$dynamicRef",
                                          "$recursiveRef",
                                          "extends",
                                          "disallow"};

// Of which kinds nothing is supported.
constexpr std::string_view kUnsupported[] = {"unevaluatedItems", "unevaluatedProperties",
                                             "$dynamicRef",      "$recursiveRef",
                                             "extends",          "disallow"};

}  // namespace

bool SchemaReader::SaysNothing(const JsonValue& schema) {
  return std::none_of(schema.members.begin(), schema.members.end(), [](const auto& member) {
    return std::find(std::begin(kKeywords), std::end(kKeywords), member.first) !=
           std::end(kKeywords);
  });
}

std::string SchemaReader::Path(std::string_view keyword) const {
  return absl::StrCat(path_, "/", std::string(keyword));
}

std::string SchemaReader::Path(std::string_view keyword, std::string_view key) const {
  return absl::StrCat(Path(keyword), "/",
                      absl::StrReplaceAll(std::string(key), {{"~", "~0"}, {"/", "~1"}}));
}

absl::Status SchemaReader::Error(std::string_view keyword, std::string_view what) const {
  return absl::InvalidArgumentError(
      absl::StrCat("schema: '", std::string(keyword), "' at ", path_, ": ", std::string(what)));
}

absl::StatusOr<ExprId> SchemaReader::Sub(const JsonValue& schema, const std::string& path) {
  if (!schema.is_object() && schema.type != JsonValue::Type::kBoolean) {
    return absl::InvalidArgumentError(
        absl::StrCat("schema: at ", path, ": expected an object, true or false"));
  }
  return shapes_.Schema(schema, path);
}

absl::Status SchemaReader::AndInto(Shape* shape, const Shape& other) {
  ASSIGN_OR_RETURN(*shape, shapes_.AndShapes(*shape, other));
  return absl::OkStatus();
}

absl::Status SchemaReader::RefuseUnsupported() const {
  for (const std::string_view keyword : kUnsupported) {
    if (const JsonValue* value = schema_.Find(keyword);
        value != nullptr && !(value->type == JsonValue::Type::kBoolean && value->boolean)) {
      return Error(keyword, "is not supported");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Shape> SchemaReader::Read() {
  RETURN_IF_ERROR(RefuseUnsupported());
  Shape shape = SchemaShapes::FullShape();
  if (const JsonValue* ref = schema_.Find("$ref"); ref != nullptr && ref->is_string()) {
    absl::StatusOr<ExprId> target = Resolve(ref->text);
    RETURN_IF_ERROR(target.status());
    ASSIGN_OR_RETURN(const Shape* normal, shapes_.Normalize(*target));
    shape = *normal;
    if (shapes_.refs_stand_alone_) {
      return shape;
    }
  }
  RETURN_IF_ERROR(ReadTypes(&shape));
  RETURN_IF_ERROR(ReadEnum(&shape));
  RETURN_IF_ERROR(ReadNumbers(&shape));
  RETURN_IF_ERROR(ReadStrings(&shape));
  RETURN_IF_ERROR(ReadArrays(&shape));
  RETURN_IF_ERROR(ReadObjects(&shape));
  RETURN_IF_ERROR(ReadCombinations(&shape));
  return shape;
}

absl::Status SchemaReader::Count(std::string_view keyword, uint32_t* out) const {
  const JsonValue* value = schema_.Find(keyword);
  if (value == nullptr) {
    return absl::OkStatus();
  }
  absl::StatusOr<Decimal> number = value->is_number()
                                       ? ParseDecimal(value->text)
                                       : absl::StatusOr<Decimal>(absl::InvalidArgumentError(""));
  if (!number.ok() || !number->is_integer() || number->negative) {
    return Error(keyword, "expected an integer of at least 0");
  }
  uint64_t count = 0;
  if (!absl::SimpleAtoi(number->whole, &count) || count > kUnbounded - 2) {
    count = kUnbounded - 2;
  }
  *out = static_cast<uint32_t>(count);
  return absl::OkStatus();
}

absl::StatusOr<bool> SchemaReader::Number(std::string_view keyword, Decimal* out) const {
  const JsonValue* value = schema_.Find(keyword);
  if (value == nullptr) {
    return false;
  }
  if (!value->is_number()) {
    return Error(keyword, "expected a number");
  }
  absl::StatusOr<Decimal> number = ParseDecimal(value->text);
  if (!number.ok()) {
    return Error(keyword, std::string(number.status().message()));
  }
  *out = *std::move(number);
  return true;
}

absl::Status SchemaReader::ReadTypes(Shape* shape) {
  const JsonValue* type = schema_.Find("type");
  if (type == nullptr) {
    return absl::OkStatus();
  }
  Shape allowed = SchemaShapes::EmptyShape();
  const Shape full = SchemaShapes::FullShape();
  const auto allow = [&](const JsonValue& name) {
    if (name.text == "null") {
      allowed.null = true;
    } else if (name.text == "boolean") {
      allowed.no = allowed.yes = true;
    } else if (name.text == "number") {
      allowed.numbers = full.numbers;
    } else if (name.text == "integer") {
      if (allowed.numbers.plain->empty()) {
        allowed.numbers = {IntegerValues(), false};
      }
    } else if (name.text == "string") {
      allowed.strings = full.strings;
    } else if (name.text == "array") {
      allowed.arrays = full.arrays;
    } else if (name.text == "object") {
      allowed.objects = full.objects;
    } else if (name.text == "any") {  // Draft 3.
      allowed = full;
    } else {
      return false;
    }
    return name.is_string();
  };
  constexpr std::string_view kExpected =
      "expected null, boolean, integer, number, string, array or object";
  if (type->is_array()) {
    for (const JsonValue& name : type->items) {
      if (!allow(name)) {
        return Error("type", kExpected);
      }
    }
  } else if (!allow(*type)) {
    return Error("type", kExpected);
  }
  return AndInto(shape, allowed);
}

absl::Status SchemaReader::ReadEnum(Shape* shape) {
  if (const JsonValue* value = schema_.Find("const"); value != nullptr) {
    absl::StatusOr<Shape> one = shapes_.ConstShape(*value);
    if (!one.ok()) {
      return Error("const", std::string(one.status().message()));
    }
    RETURN_IF_ERROR(AndInto(shape, *one));
  }
  const JsonValue* list = schema_.Find("enum");
  if (list == nullptr) {
    return absl::OkStatus();
  }
  if (!list->is_array()) {
    return Error("enum", "expected a list");
  }
  Shape any = SchemaShapes::EmptyShape();
  std::vector<std::string> words;
  for (const JsonValue& value : list->items) {
    if (value.is_string()) {
      words.push_back(value.text);
      continue;
    }
    absl::StatusOr<Shape> one = shapes_.ConstShape(value);
    if (!one.ok()) {
      return Error("enum", std::string(one.status().message()));
    }
    RETURN_IF_ERROR(shapes_.OrInto(*one, &any));
  }
  if (!words.empty()) {
    any.strings.push_back({.strings = CharDfa::Words(words)});
  }
  return AndInto(shape, any);
}

absl::Status SchemaReader::ReadBound(std::string_view keyword, std::string_view exclusive_keyword,
                                     const std::function<DfaPtr(const Decimal&, bool)>& make,
                                     Shape* shape) {
  Decimal bound;
  const JsonValue* exclusive = schema_.Find(exclusive_keyword);
  const bool flag = exclusive != nullptr && exclusive->type == JsonValue::Type::kBoolean;
  const auto apply = [&](bool is_exclusive) -> absl::Status {
    ASSIGN_OR_RETURN(
        shape->numbers.plain,
        CharDfa::And(shape->numbers.plain, make(bound, is_exclusive), shapes_.budget()));
    shape->numbers.exponents = false;
    return absl::OkStatus();
  };
  ASSIGN_OR_RETURN(const bool inclusive_given, Number(keyword, &bound));
  if (inclusive_given) {
    RETURN_IF_ERROR(apply(flag && exclusive->boolean));  // Draft 4: the other is a flag of this.
  }
  if (exclusive != nullptr && !flag) {
    ASSIGN_OR_RETURN(const bool given, Number(exclusive_keyword, &bound));
    if (given) {
      RETURN_IF_ERROR(apply(true));
    }
  }
  return absl::OkStatus();
}

absl::Status SchemaReader::ReadNumbers(Shape* shape) {
  if (shape->numbers.plain->empty() && !shape->numbers.exponents) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(ReadBound("minimum", "exclusiveMinimum", NumbersAtLeast, shape));
  RETURN_IF_ERROR(ReadBound("maximum", "exclusiveMaximum", NumbersAtMost, shape));
  Decimal step;
  ASSIGN_OR_RETURN(const bool given, Number("multipleOf", &step));
  if (!given) {
    return absl::OkStatus();
  }
  if (step.negative || step.is_zero()) {
    return Error("multipleOf", "expected a number above 0");
  }
  absl::StatusOr<DfaPtr> multiples = MultiplesOf(step, shapes_.budget());
  if (!multiples.ok()) {
    return Error("multipleOf", std::string(multiples.status().message()));
  }
  ASSIGN_OR_RETURN(shape->numbers.plain,
                   CharDfa::And(shape->numbers.plain, *multiples, shapes_.budget()));
  shape->numbers.exponents = false;
  return absl::OkStatus();
}

absl::StatusOr<DfaPtr> SchemaReader::PatternDfa(std::string_view keyword,
                                                const std::string& pattern) {
  if (const auto it = shapes_.patterns_.find(pattern); it != shapes_.patterns_.end()) {
    return it->second;
  }
  absl::StatusOr<Regex> regex = ParseRegex(pattern);
  if (!regex.ok()) {
    return Error(keyword, std::string(regex.status().message()));
  }
  absl::StatusOr<DfaPtr> dfa = RegexSearchDfa(*regex, shapes_.budget());
  if (!dfa.ok()) {
    return Error(keyword, std::string(dfa.status().message()));
  }
  shapes_.patterns_[pattern] = *dfa;
  return *dfa;
}

absl::Status SchemaReader::ReadStrings(Shape* shape) {
  if (shape->strings.empty()) {
    return absl::OkStatus();
  }
  StringShape limits = {.strings = CharDfa::All()};
  RETURN_IF_ERROR(Count("minLength", &limits.min));
  RETURN_IF_ERROR(Count("maxLength", &limits.max));
  const auto restrict_to = [&](const DfaPtr& dfa) -> absl::Status {
    ASSIGN_OR_RETURN(limits.strings, CharDfa::And(limits.strings, dfa, shapes_.budget()));
    return absl::OkStatus();
  };
  if (const JsonValue* pattern = schema_.Find("pattern"); pattern != nullptr) {
    if (!pattern->is_string()) {
      return Error("pattern", "expected a string");
    }
    ASSIGN_OR_RETURN(const DfaPtr dfa, PatternDfa("pattern", pattern->text));
    RETURN_IF_ERROR(restrict_to(dfa));
  }
  if (const JsonValue* format = schema_.Find("format"); format != nullptr && format->is_string()) {
    if (const char* known = FormatPattern(format->text); known != nullptr) {
      ASSIGN_OR_RETURN(const DfaPtr dfa, PatternDfa("format", known));
      RETURN_IF_ERROR(restrict_to(dfa));
    } else if (IsUnsupportedFormat(format->text)) {
      return Error("format", absl::StrCat(QuoteJson(format->text), " is not supported"));
    }
  }
  std::vector<StringShape> both;
  RETURN_IF_ERROR(shapes_.AndStrings(shape->strings, {limits}, &both));
  shape->strings = std::move(both);
  return absl::OkStatus();
}

}  // namespace alcca
