// Arrays, objects and references of a schema object.

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "engine/constraint/schema_reader.h"

namespace alcca {
namespace {

// What %XX stands for.
std::string PercentDecode(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    uint32_t byte = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        absl::SimpleHexAtoi(std::string(text.substr(i + 1, 2)), &byte)) {
      out += static_cast<char>(byte);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

// The schema with this anchor: "$anchor", or "$id"/"id" that is "#name".
const JsonValue* FindAnchor(const JsonValue& value, const std::string& name) {
  const auto is = [&value](const char* key, const std::string& text) {
    const JsonValue* found = value.Find(key);
    return found != nullptr && found->is_string() && found->text == text;
  };
  if (is("$anchor", name) || is("$id", "#" + name) || is("id", "#" + name)) {
    return &value;
  }
  for (const JsonValue& item : value.items) {
    if (const JsonValue* found = FindAnchor(item, name); found != nullptr) {
      return found;
    }
  }
  for (const auto& [key, member] : value.members) {
    if (key != "enum" && key != "const") {
      if (const JsonValue* found = FindAnchor(member, name); found != nullptr) {
        return found;
      }
    }
  }
  return nullptr;
}

}  // namespace

absl::StatusOr<ExprId> SchemaReader::Resolve(const std::string& reference) {
  std::string fragment = reference;
  if (!reference.starts_with('#')) {
    const JsonValue* id = shapes_.root_.Find("$id");
    id = id != nullptr ? id : shapes_.root_.Find("id");
    std::string base = id != nullptr && id->is_string() ? id->text : "";
    base = base.substr(0, base.find('#'));
    if (base.empty() || !reference.starts_with(base) ||
        (reference.size() > base.size() && reference[base.size()] != '#')) {
      return Error("$ref", absl::StrCat(QuoteJson(reference),
                                        " is not in the schema: only \"#...\" is followed"));
    }
    fragment = reference.substr(base.size());
  }
  fragment = PercentDecode(fragment.empty() ? fragment : fragment.substr(1));
  if (!fragment.empty() && !fragment.starts_with('/')) {
    const JsonValue* found = FindAnchor(shapes_.root_, fragment);
    if (found == nullptr) {
      return Error("$ref", absl::StrCat(QuoteJson(reference), " is not in the schema"));
    }
    return Sub(*found, "#" + fragment);
  }
  const JsonValue* at = &shapes_.root_;
  if (!fragment.empty()) {
    for (const absl::string_view part : absl::StrSplit(fragment.substr(1), '/')) {
      const std::string key = absl::StrReplaceAll(std::string(part), {{"~1", "/"}, {"~0", "~"}});
      uint32_t index = 0;
      if (at->is_array()) {
        at =
            absl::SimpleAtoi(key, &index) && index < at->items.size() ? &at->items[index] : nullptr;
      } else {
        at = at->Find(key);
      }
      if (at == nullptr) {
        return Error("$ref", absl::StrCat(QuoteJson(reference), " is not in the schema"));
      }
    }
  }
  return Sub(*at, "#" + fragment);
}

absl::Status SchemaReader::ReadContains(ArrayShape* array) {
  const JsonValue* contains = schema_.Find("contains");
  if (contains == nullptr) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const ExprId item, Sub(*contains, Path("contains")));
  ArrayShape::Contains found = {.item = item};
  RETURN_IF_ERROR(Count("minContains", &found.min));
  RETURN_IF_ERROR(Count("maxContains", &found.max));
  if (found.min > 0 || found.max != kUnbounded) {
    array->contains.push_back(found);
  }
  return absl::OkStatus();
}

absl::Status SchemaReader::ReadArrays(Shape* shape) {
  if (shape->arrays.empty()) {
    return absl::OkStatus();
  }
  ArrayShape array;
  const JsonValue* items = schema_.Find("items");
  const JsonValue* prefix = schema_.Find("prefixItems");
  const char* prefix_keyword = "prefixItems";
  const char* rest_keyword = "items";
  if (prefix == nullptr && items != nullptr && items->is_array()) {  // Up to 2019-09.
    prefix = items;
    prefix_keyword = "items";
    items = schema_.Find("additionalItems");
    rest_keyword = "additionalItems";
  }
  if (prefix != nullptr) {
    if (!prefix->is_array()) {
      return Error(prefix_keyword, "expected a list");
    }
    for (size_t i = 0; i < prefix->items.size(); ++i) {
      ASSIGN_OR_RETURN(const ExprId item,
                       Sub(prefix->items[i], Path(prefix_keyword, absl::StrCat(i))));
      array.prefix.push_back(item);
    }
  }
  if (items != nullptr) {
    ASSIGN_OR_RETURN(array.rest, Sub(*items, Path(rest_keyword)));
  }
  RETURN_IF_ERROR(Count("minItems", &array.min));
  RETURN_IF_ERROR(Count("maxItems", &array.max));
  RETURN_IF_ERROR(ReadContains(&array));
  if (const JsonValue* unique = schema_.Find("uniqueItems"); unique != nullptr) {
    if (unique->type != JsonValue::Type::kBoolean) {
      return Error("uniqueItems", "expected true or false");
    }
    array.unique = unique->boolean;
  }
  std::vector<ArrayShape> both;
  RETURN_IF_ERROR(shapes_.AndArrays(shape->arrays, {array}, &both));
  shape->arrays = std::move(both);
  return absl::OkStatus();
}

absl::Status SchemaReader::ReadExtras(ObjectShape* object, bool* says_something) {
  ExprId additional = kAnyValue;
  if (const JsonValue* value = schema_.Find("additionalProperties"); value != nullptr) {
    ASSIGN_OR_RETURN(additional, Sub(*value, Path("additionalProperties")));
    *says_something = true;
  }
  struct Class {
    ObjectShape::KeyClass keys;
    bool matched;
  };
  std::vector<Class> classes = {{{CharDfa::All(), kAnyValue}, false}};
  if (const JsonValue* patterns = schema_.Find("patternProperties"); patterns != nullptr) {
    if (!patterns->is_object()) {
      return Error("patternProperties", "expected an object");
    }
    *says_something = true;
    for (const auto& [pattern, value] : patterns->members) {
      ASSIGN_OR_RETURN(const ExprId expr, Sub(value, Path("patternProperties", pattern)));
      ASSIGN_OR_RETURN(const DfaPtr dfa, PatternDfa("patternProperties", pattern));
      std::vector<Class> split;
      for (const Class& old : classes) {
        ASSIGN_OR_RETURN(DfaPtr in, CharDfa::And(old.keys.keys, dfa, shapes_.budget()));
        ASSIGN_OR_RETURN(DfaPtr out, CharDfa::Minus(old.keys.keys, dfa, shapes_.budget()));
        if (!in->empty()) {
          split.push_back({{std::move(in), shapes_.And({old.keys.value, expr})}, true});
        }
        if (!out->empty()) {
          split.push_back({{std::move(out), old.keys.value}, old.matched});
        }
      }
      classes = std::move(split);
    }
  }
  for (Class& key_class : classes) {
    object->extras.push_back(
        {key_class.keys.keys, key_class.matched ? key_class.keys.value : additional});
  }
  return absl::OkStatus();
}

absl::Status SchemaReader::ReadProperties(ObjectShape* object, bool* says_something) {
  const JsonValue* patterns = schema_.Find("patternProperties");
  if (const JsonValue* properties = schema_.Find("properties"); properties != nullptr) {
    if (!properties->is_object()) {
      return Error("properties", "expected an object");
    }
    *says_something = true;
    for (const auto& [name, value] : properties->members) {
      ASSIGN_OR_RETURN(ExprId expr, Sub(value, Path("properties", name)));
      if (patterns != nullptr) {
        for (const auto& [pattern, other] : patterns->members) {
          ASSIGN_OR_RETURN(const DfaPtr dfa, PatternDfa("patternProperties", pattern));
          if (dfa->Accepts(name)) {
            ASSIGN_OR_RETURN(const ExprId also, Sub(other, Path("patternProperties", pattern)));
            expr = shapes_.And({expr, also});
          }
        }
      }
      object->members.push_back({name, expr, false});
    }
  }
  const JsonValue* required = schema_.Find("required");
  if (required == nullptr ||
      required->type == JsonValue::Type::kBoolean) {  // Draft 3's is no list.
    return absl::OkStatus();
  }
  if (!required->is_array()) {
    return Error("required", "expected a list of strings");
  }
  *says_something = true;
  for (const JsonValue& name : required->items) {
    if (!name.is_string()) {
      return Error("required", "expected a list of strings");
    }
    const auto member = std::find_if(object->members.begin(), object->members.end(),
                                     [&](const auto& m) { return m.name == name.text; });
    if (member != object->members.end()) {
      member->required = true;
    } else {
      object->members.push_back({name.text, object->ValueOf(name.text), true});
    }
  }
  return absl::OkStatus();
}

absl::Status SchemaReader::ReadObjects(Shape* shape) {
  if (shape->objects.empty()) {
    return absl::OkStatus();
  }
  ObjectShape object;
  bool says_something =
      schema_.Find("minProperties") != nullptr || schema_.Find("maxProperties") != nullptr;
  RETURN_IF_ERROR(ReadExtras(&object, &says_something));
  RETURN_IF_ERROR(ReadProperties(&object, &says_something));
  RETURN_IF_ERROR(Count("minProperties", &object.min));
  RETURN_IF_ERROR(Count("maxProperties", &object.max));
  if (says_something) {
    std::vector<ObjectShape> both;
    RETURN_IF_ERROR(shapes_.AndObjects(shape->objects, {object}, &both));
    shape->objects = std::move(both);
  }
  return ReadPropertyNames(shape);
}

absl::Status SchemaReader::ReadPropertyNames(Shape* shape) {
  const JsonValue* names = schema_.Find("propertyNames");
  if (names == nullptr) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const ExprId expr, Sub(*names, Path("propertyNames")));
  ASSIGN_OR_RETURN(const Shape* normal, shapes_.Normalize(expr));
  const absl::StatusOr<DfaPtr> allowed = shapes_.StringsOf(*normal);
  if (!allowed.ok()) {
    return Error("propertyNames", std::string(allowed.status().message()));
  }
  ObjectShape object;
  ASSIGN_OR_RETURN(DfaPtr others, CharDfa::Minus(CharDfa::All(), *allowed, shapes_.budget()));
  for (auto& [keys, value] : {std::pair{*allowed, kAnyValue}, std::pair{others, kNoValue}}) {
    if (!keys->empty()) {
      object.extras.push_back({keys, value});
    }
  }
  std::vector<ObjectShape> both;
  RETURN_IF_ERROR(shapes_.AndObjects(shape->objects, {object}, &both));
  shape->objects = std::move(both);
  return absl::OkStatus();
}

// All values but objects without the member, or with it.
Shape SchemaReader::RequireMember(const std::string& name, bool present) {
  Shape shape = SchemaShapes::FullShape();
  shape.objects[0].members.push_back({name, present ? kAnyValue : kNoValue, present});
  return shape;
}

// Each: the member is absent, or more holds.
absl::Status SchemaReader::ReadDependencies(Shape* shape) {
  for (const char* keyword : {"dependencies", "dependentRequired", "dependentSchemas"}) {
    const JsonValue* all = schema_.Find(keyword);
    if (all == nullptr || shape->objects.empty()) {
      continue;
    }
    if (!all->is_object()) {
      return Error(keyword, "expected an object");
    }
    for (const auto& [name, condition] : all->members) {
      Shape holds = RequireMember(name, true);
      if (condition.is_array() || condition.is_string()) {  // A string: draft 3.
        const std::vector<JsonValue> one = {condition};
        for (const JsonValue& other : condition.is_array() ? condition.items : one) {
          if (!other.is_string()) {
            return Error(keyword, "expected a list of strings");
          }
          RETURN_IF_ERROR(AndInto(&holds, RequireMember(other.text, true)));
        }
      } else {
        ASSIGN_OR_RETURN(const ExprId expr, Sub(condition, Path(keyword, name)));
        ASSIGN_OR_RETURN(const Shape* normal, shapes_.Normalize(expr));
        RETURN_IF_ERROR(AndInto(&holds, *normal));
      }
      const Shape absent = RequireMember(name, false);
      Shape either = SchemaShapes::FullShape();
      either.objects = holds.objects;
      either.objects.insert(either.objects.end(), absent.objects.begin(), absent.objects.end());
      RETURN_IF_ERROR(AndInto(shape, either));
    }
  }
  return absl::OkStatus();
}

}  // namespace alcca
