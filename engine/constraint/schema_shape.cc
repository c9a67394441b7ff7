#include "engine/constraint/schema_shape.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/constraint/schema_reader.h"

namespace alcca {

ObjectShape SchemaShapes::FullObject() {
  ObjectShape shape;
  shape.extras.push_back({CharDfa::All(), kAnyValue});
  return shape;
}

Shape SchemaShapes::EmptyShape() {
  Shape shape;
  shape.numbers.plain = CharDfa::None();
  return shape;
}

Shape SchemaShapes::FullShape() {
  Shape shape = {.null = true, .no = true, .yes = true};
  shape.numbers = {AllNumbers(), true};
  shape.strings.push_back({.strings = CharDfa::All()});
  shape.arrays.emplace_back();
  shape.objects.push_back(FullObject());
  return shape;
}

SchemaShapes::SchemaShapes(const JsonValue& root, const JsonSchemaOptions& options)
    : root_(root), options_(options), exprs_(2) {
  exprs_[kNoValue].kind = Kind::kNone;
  const JsonValue* dialect = root.Find("$schema");
  if (dialect != nullptr && dialect->is_string()) {
    for (const char* draft : {"draft-03", "draft-04", "draft-05", "draft-06", "draft-07"}) {
      refs_stand_alone_ = refs_stand_alone_ || dialect->text.find(draft) != std::string::npos;
    }
  }
}

ExprId SchemaShapes::Add(Kind kind, std::vector<ExprId> parts) {
  const auto [it, added] =
      by_parts_.emplace(std::pair(kind, parts), static_cast<ExprId>(exprs_.size()));
  if (added) {
    exprs_.push_back({.kind = kind, .parts = std::move(parts)});
  }
  return it->second;
}

ExprId SchemaShapes::Schema(const JsonValue& schema, const std::string& path) {
  if (schema.type == JsonValue::Type::kBoolean) {
    return schema.boolean ? kAnyValue : kNoValue;
  }
  if (schema.is_object() && SchemaReader::SaysNothing(schema)) {
    return kAnyValue;
  }
  const auto [it, added] = by_json_.emplace(&schema, static_cast<ExprId>(exprs_.size()));
  if (added) {
    exprs_.push_back({.kind = Kind::kSchema, .json = &schema, .path = path});
  }
  return it->second;
}

ExprId SchemaShapes::Const(const JsonValue& value) {
  const auto [it, added] = by_json_.emplace(&value, static_cast<ExprId>(exprs_.size()));
  if (added) {
    exprs_.push_back({.kind = Kind::kConst, .json = &value});
  }
  return it->second;
}

ExprId SchemaShapes::And(std::vector<ExprId> parts) {
  std::vector<ExprId> flat;
  for (const ExprId part : parts) {
    if (part == kNoValue) {
      return kNoValue;
    }
    if (exprs_[part].kind == Kind::kAnd) {
      flat.insert(flat.end(), exprs_[part].parts.begin(), exprs_[part].parts.end());
    } else if (part != kAnyValue) {
      flat.push_back(part);
    }
  }
  std::sort(flat.begin(), flat.end());
  flat.erase(std::unique(flat.begin(), flat.end()), flat.end());
  return flat.empty() ? kAnyValue : flat.size() == 1 ? flat[0] : Add(Kind::kAnd, std::move(flat));
}

ExprId SchemaShapes::Or(std::vector<ExprId> parts) {
  std::vector<ExprId> flat;
  for (const ExprId part : parts) {
    if (part == kAnyValue) {
      return kAnyValue;
    }
    if (exprs_[part].kind == Kind::kOr) {
      flat.insert(flat.end(), exprs_[part].parts.begin(), exprs_[part].parts.end());
    } else if (part != kNoValue) {
      flat.push_back(part);
    }
  }
  std::sort(flat.begin(), flat.end());
  flat.erase(std::unique(flat.begin(), flat.end()), flat.end());
  return flat.empty() ? kNoValue : flat.size() == 1 ? flat[0] : Add(Kind::kOr, std::move(flat));
}

ExprId SchemaShapes::Not(ExprId part) {
  if (part == kAnyValue || part == kNoValue) {
    return part == kAnyValue ? kNoValue : kAnyValue;
  }
  return exprs_[part].kind == Kind::kNot ? exprs_[part].parts[0] : Add(Kind::kNot, {part});
}

absl::StatusOr<const Shape*> SchemaShapes::Normalize(ExprId expr) {
  if (exprs_[expr].shape == nullptr) {
    if (exprs_[expr].open) {
      return absl::InvalidArgumentError(
          absl::StrCat(exprs_[expr].path, ": refers to itself without reading anything"));
    }
    if (exprs_.size() > options_.max_expressions) {
      return absl::InvalidArgumentError(absl::StrCat(
          "schema: needs more than ", options_.max_expressions, " combinations of its parts"));
    }
    exprs_[expr].open = true;
    absl::StatusOr<Shape> shape = Compute(expr);
    exprs_[expr].open = false;
    RETURN_IF_ERROR(shape.status());
    exprs_[expr].shape = std::make_unique<Shape>(*std::move(shape));
  }
  return exprs_[expr].shape.get();
}

absl::StatusOr<Shape> SchemaShapes::Compute(ExprId expr) {
  const std::vector<ExprId> parts = exprs_[expr].parts;
  switch (exprs_[expr].kind) {
    case Kind::kAny:
      return FullShape();
    case Kind::kNone:
      return EmptyShape();
    case Kind::kSchema:
      return SchemaReader(this, *exprs_[expr].json, exprs_[expr].path).Read();
    case Kind::kConst:
      return ConstShape(*exprs_[expr].json);
    case Kind::kAnd: {
      Shape all = FullShape();
      for (const ExprId part : parts) {
        ASSIGN_OR_RETURN(const Shape* shape, Normalize(part));
        ASSIGN_OR_RETURN(all, AndShapes(all, *shape));
      }
      return all;
    }
    case Kind::kOr: {
      Shape any = EmptyShape();
      for (const ExprId part : parts) {
        ASSIGN_OR_RETURN(const Shape* shape, Normalize(part));
        RETURN_IF_ERROR(OrInto(*shape, &any));
      }
      return any;
    }
    case Kind::kNot: {
      ASSIGN_OR_RETURN(const Shape* shape, Normalize(parts[0]));
      return NotShape(*shape);
    }
  }
  return EmptyShape();
}

absl::StatusOr<Shape> SchemaShapes::ConstShape(const JsonValue& value) {
  Shape shape = EmptyShape();
  switch (value.type) {
    case JsonValue::Type::kNull:
      shape.null = true;
      break;
    case JsonValue::Type::kBoolean:
      (value.boolean ? shape.yes : shape.no) = true;
      break;
    case JsonValue::Type::kNumber: {
      ASSIGN_OR_RETURN(const Decimal number, ParseDecimal(value.text));
      shape.numbers.plain = NumbersEqualTo(number);
      break;
    }
    case JsonValue::Type::kString:
      shape.strings.push_back({.strings = CharDfa::Words({&value.text, 1})});
      break;
    case JsonValue::Type::kArray: {
      const auto size = static_cast<uint32_t>(value.items.size());
      ArrayShape array = {.rest = kNoValue, .min = size, .max = size};
      for (const JsonValue& item : value.items) {
        array.prefix.push_back(Const(item));
      }
      shape.arrays.push_back(std::move(array));
      break;
    }
    case JsonValue::Type::kObject: {
      ObjectShape object;
      for (const auto& [name, member] : value.members) {
        object.members.push_back({name, Const(member), true});
      }
      object.extras.push_back({CharDfa::All(), kNoValue});
      shape.objects.push_back(std::move(object));
      break;
    }
  }
  return shape;
}

bool SchemaShapes::ProvablyEmpty(ExprId expr, int depth) {
  if (expr == kNoValue) {
    return true;
  }
  if (expr == kAnyValue || depth <= 0) {
    return false;
  }
  const auto [it, added] = provably_empty_.emplace(std::pair(expr, depth), false);
  if (!added) {
    return it->second;
  }
  const absl::StatusOr<const Shape*> normal = Normalize(expr);
  if (!normal.ok()) {
    return false;
  }
  const Shape& shape = **normal;
  const bool empty =
      !shape.null && !shape.no && !shape.yes && shape.numbers.plain->empty() &&
      !shape.numbers.exponents && shape.strings.empty() &&
      std::all_of(shape.arrays.begin(), shape.arrays.end(),
                  [&](const ArrayShape& array) { return EmptyArray(array, depth); }) &&
      std::all_of(shape.objects.begin(), shape.objects.end(),
                  [&](const ObjectShape& object) { return EmptyObject(object, depth); });
  provably_empty_[{expr, depth}] = empty;
  return empty;
}

absl::StatusOr<DfaPtr> SchemaShapes::StringsOf(const StringShape& shape) {
  if (shape.min == 0 && shape.max == kUnbounded) {
    return shape.strings;
  }
  const uint32_t max = FitsBelow(shape.strings, shape.max) ? kUnbounded : shape.max;
  DfaPtr& known = bounded_[{shape.strings, shape.min, max}];
  if (known == nullptr) {
    ASSIGN_OR_RETURN(const DfaPtr lengths, CharDfa::Lengths(shape.min, max, &budget_));
    ASSIGN_OR_RETURN(known, CharDfa::And(shape.strings, lengths, &budget_));
  }
  return known;
}

absl::StatusOr<DfaPtr> SchemaShapes::StringsOf(const Shape& shape) {
  DfaPtr all = CharDfa::None();
  for (const StringShape& strings : shape.strings) {
    ASSIGN_OR_RETURN(const DfaPtr one, StringsOf(strings));
    ASSIGN_OR_RETURN(all, CharDfa::Or(all, one, &budget_));
  }
  return all;
}

}  // namespace alcca
