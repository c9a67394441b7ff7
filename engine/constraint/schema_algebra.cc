// And, or, not of shapes.

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/constraint/schema_shape.h"

namespace alcca {
namespace {

absl::Status TooMany(size_t limit) {
  return absl::InvalidArgumentError(
      absl::StrCat("its combinations need more than ", limit, " alternatives"));
}

std::vector<std::string> NamesOf(const ObjectShape& shape) {
  std::vector<std::string> names;
  for (const auto& member : shape.members) {
    names.push_back(member.name);
  }
  return names;
}

}  // namespace

const ObjectShape::Member* ObjectShape::Find(std::string_view name) const {
  const auto it = std::find_if(members.begin(), members.end(),
                               [name](const Member& member) { return member.name == name; });
  return it == members.end() ? nullptr : &*it;
}

ExprId ObjectShape::ValueOf(std::string_view name) const {
  if (const Member* member = Find(name); member != nullptr) {
    return member->value;
  }
  for (const KeyClass& extra : extras) {
    if (extra.keys->all() || extra.keys->Accepts(name)) {
      return extra.value;
    }
  }
  return kNoValue;
}

absl::Status SchemaShapes::AndStrings(const std::vector<StringShape>& a,
                                      const std::vector<StringShape>& b,
                                      std::vector<StringShape>* out) {
  for (const StringShape& x : a) {
    for (const StringShape& y : b) {
      StringShape both = {.min = std::max(x.min, y.min), .max = std::min(x.max, y.max)};
      if (both.min > both.max) {
        continue;
      }
      ASSIGN_OR_RETURN(both.strings, CharDfa::And(x.strings, y.strings, &budget_));
      if (!both.strings->empty()) {
        out->push_back(std::move(both));
      }
      if (out->size() > options_.max_alternatives) {
        return TooMany(options_.max_alternatives);
      }
    }
  }
  return absl::OkStatus();
}

absl::Status SchemaShapes::AndArrays(const std::vector<ArrayShape>& a,
                                     const std::vector<ArrayShape>& b,
                                     std::vector<ArrayShape>* out) {
  for (const ArrayShape& x : a) {
    for (const ArrayShape& y : b) {
      if (x.full() || y.full()) {
        out->push_back(x.full() ? y : x);
      } else {
        ArrayShape both = {.rest = And({x.rest, y.rest}),
                           .min = std::max(x.min, y.min),
                           .max = std::min(x.max, y.max),
                           .contains = x.contains,
                           .unique = x.unique || y.unique};
        const size_t prefix = std::max(x.prefix.size(), y.prefix.size());
        for (size_t i = 0; i < prefix; ++i) {
          both.prefix.push_back(And({i < x.prefix.size() ? x.prefix[i] : x.rest,
                                     i < y.prefix.size() ? y.prefix[i] : y.rest}));
        }
        both.contains.insert(both.contains.end(), y.contains.begin(), y.contains.end());
        if (both.min <= both.max) {
          out->push_back(std::move(both));
        }
      }
      if (out->size() > options_.max_alternatives) {
        return TooMany(options_.max_alternatives);
      }
    }
  }
  return absl::OkStatus();
}

absl::Status SchemaShapes::AndObject(const ObjectShape& a, const ObjectShape& b,
                                     std::vector<ObjectShape>* out) {
  if (a.full() || b.full()) {
    out->push_back(a.full() ? b : a);
    return absl::OkStatus();
  }
  ObjectShape both = {.min = std::max(a.min, b.min), .max = std::min(a.max, b.max)};
  if (both.min > both.max) {
    return absl::OkStatus();
  }
  for (const auto& member : a.members) {
    const ObjectShape::Member* other = b.Find(member.name);
    both.members.push_back({member.name, And({member.value, b.ValueOf(member.name)}),
                            member.required || (other != nullptr && other->required)});
  }
  for (const auto& member : b.members) {
    if (a.Find(member.name) == nullptr) {
      both.members.push_back(
          {member.name, And({member.value, a.ValueOf(member.name)}), member.required});
    }
  }
  for (const auto& member : both.members) {
    if (member.required && member.value == kNoValue) {
      return absl::OkStatus();
    }
  }
  for (const auto& x : a.extras) {
    for (const auto& y : b.extras) {
      ASSIGN_OR_RETURN(DfaPtr keys, CharDfa::And(x.keys, y.keys, &budget_));
      if (!keys->empty()) {
        both.extras.push_back({std::move(keys), And({x.value, y.value})});
      }
    }
  }
  both.exist = a.exist;
  both.exist.insert(both.exist.end(), b.exist.begin(), b.exist.end());
  // What must exist under some key may exist under a key that is a member now.
  std::vector<ObjectShape> variants = {both};
  for (size_t e = 0; e < both.exist.size(); ++e) {
    const auto& exist = both.exist[e];
    const ObjectShape& without = e < a.exist.size() ? b : a;
    const ObjectShape& with = e < a.exist.size() ? a : b;
    if (both.exist.size() > 1) {
      return absl::InvalidArgumentError(
          "two negated conditions on the unnamed properties of one object are not supported");
    }
    for (const auto& member : without.members) {
      if (with.Find(member.name) == nullptr && exist.keys->Accepts(member.name)) {
        ObjectShape variant = both;
        variant.exist.clear();
        for (auto& named : variant.members) {
          if (named.name == member.name) {
            named.required = true;
            named.value = And({named.value, exist.value});
          }
        }
        variants.push_back(std::move(variant));
      }
    }
  }
  out->insert(out->end(), variants.begin(), variants.end());
  return absl::OkStatus();
}

absl::Status SchemaShapes::AndObjects(const std::vector<ObjectShape>& a,
                                      const std::vector<ObjectShape>& b,
                                      std::vector<ObjectShape>* out) {
  for (const ObjectShape& x : a) {
    for (const ObjectShape& y : b) {
      RETURN_IF_ERROR(AndObject(x, y, out));
      if (!out->empty() && out->size() > 1 && EmptyObject(out->back(), 2)) {
        out->pop_back();
      }
      if (out->size() > options_.max_alternatives) {
        return TooMany(options_.max_alternatives);
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Shape> SchemaShapes::AndShapes(const Shape& a, const Shape& b) {
  Shape both;
  both.null = a.null && b.null;
  both.no = a.no && b.no;
  both.yes = a.yes && b.yes;
  ASSIGN_OR_RETURN(both.numbers.plain, CharDfa::And(a.numbers.plain, b.numbers.plain, &budget_));
  both.numbers.exponents = a.numbers.exponents && b.numbers.exponents;
  RETURN_IF_ERROR(AndStrings(a.strings, b.strings, &both.strings));
  RETURN_IF_ERROR(AndArrays(a.arrays, b.arrays, &both.arrays));
  RETURN_IF_ERROR(AndObjects(a.objects, b.objects, &both.objects));
  return both;
}

absl::Status SchemaShapes::OrInto(const Shape& b, Shape* a) {
  a->null = a->null || b.null;
  a->no = a->no || b.no;
  a->yes = a->yes || b.yes;
  a->numbers.exponents = a->numbers.exponents || b.numbers.exponents;
  ASSIGN_OR_RETURN(a->numbers.plain, CharDfa::Or(a->numbers.plain, b.numbers.plain, &budget_));
  for (const StringShape& shape : b.strings) {
    const auto plain = [](const StringShape& s) { return s.min == 0 && s.max == kUnbounded; };
    const auto same = std::find_if(a->strings.begin(), a->strings.end(), [&](const auto& other) {
      return other.min == shape.min && other.max == shape.max &&
             (plain(other) || other.strings == shape.strings);
    });
    if (same == a->strings.end()) {
      a->strings.push_back(shape);
    } else if (same->strings != shape.strings) {
      ASSIGN_OR_RETURN(same->strings, CharDfa::Or(same->strings, shape.strings, &budget_));
    }
  }
  a->arrays.insert(a->arrays.end(), b.arrays.begin(), b.arrays.end());
  a->objects.insert(a->objects.end(), b.objects.begin(), b.objects.end());
  // Anything is no less than anything and something.
  if (std::any_of(a->arrays.begin(), a->arrays.end(), [](const auto& s) { return s.full(); })) {
    a->arrays.assign(1, ArrayShape());
  }
  if (std::any_of(a->objects.begin(), a->objects.end(), [](const auto& s) { return s.full(); })) {
    a->objects.assign(1, FullObject());
  }
  if (std::max({a->strings.size(), a->arrays.size(), a->objects.size()}) >
      options_.max_alternatives) {
    return TooMany(options_.max_alternatives);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<StringShape>> SchemaShapes::NotString(const StringShape& a) {
  std::vector<StringShape> out;
  ASSIGN_OR_RETURN(DfaPtr others, CharDfa::Minus(CharDfa::All(), a.strings, &budget_));
  if (!others->empty()) {
    out.push_back({.strings = std::move(others)});
  }
  if (a.min > 0) {
    out.push_back({.strings = CharDfa::All(), .max = a.min - 1});
  }
  if (a.max != kUnbounded) {
    out.push_back({.strings = CharDfa::All(), .min = a.max + 1});
  }
  return out;
}

absl::StatusOr<std::vector<ArrayShape>> SchemaShapes::NotArray(const ArrayShape& a) {
  std::vector<ArrayShape> out;
  if (a.unique) {
    return absl::InvalidArgumentError("the negation of uniqueItems is not supported");
  }
  if (a.min > 0) {
    out.push_back({.max = a.min - 1});
  }
  if (a.max != kUnbounded) {
    out.push_back({.min = a.max + 1});
  }
  for (size_t i = 0; i < a.prefix.size(); ++i) {
    if (const ExprId other = Not(a.prefix[i]); other != kNoValue) {
      ArrayShape shape = {.min = static_cast<uint32_t>(i + 1)};
      shape.prefix.assign(i, kAnyValue);
      shape.prefix.push_back(other);
      out.push_back(std::move(shape));
    }
  }
  if (const ExprId other = Not(a.rest); other != kNoValue) {
    ArrayShape shape;
    shape.contains.push_back({.item = other, .from = static_cast<uint32_t>(a.prefix.size())});
    out.push_back(std::move(shape));
  }
  for (const auto& contains : a.contains) {
    if (contains.min > 0) {
      ArrayShape shape;
      if (contains.min == 1) {
        shape.prefix.assign(contains.from, kAnyValue);
        shape.rest = Not(contains.item);
      } else {
        shape.contains.push_back({contains.item, 0, contains.min - 1, contains.from});
      }
      out.push_back(std::move(shape));
    }
    if (contains.max != kUnbounded) {
      ArrayShape shape;
      shape.contains.push_back({contains.item, contains.max + 1, kUnbounded, contains.from});
      out.push_back(std::move(shape));
    }
  }
  return out;
}

absl::StatusOr<std::vector<ObjectShape>> SchemaShapes::NotObject(const ObjectShape& a) {
  std::vector<ObjectShape> out;
  const auto with_member = [&out](const std::string& name, ExprId value, bool required) {
    out.push_back(FullObject());
    out.back().members.push_back({name, value, required});
  };
  for (const auto& member : a.members) {
    if (member.required) {
      with_member(member.name, kNoValue, false);
    }
    if (const ExprId other = Not(member.value); other != kNoValue) {
      with_member(member.name, other, true);
    }
  }
  const std::vector<std::string> names = NamesOf(a);
  const DfaPtr named = CharDfa::Words(names);
  for (const auto& extra : a.extras) {
    if (const ExprId other = Not(extra.value); other != kNoValue) {
      ASSIGN_OR_RETURN(DfaPtr keys, CharDfa::Minus(extra.keys, named, &budget_));
      if (!keys->empty()) {
        out.push_back(FullObject());
        out.back().exist.push_back({std::move(keys), other});
      }
    }
  }
  for (const auto& exist : a.exist) {
    ObjectShape shape;
    shape.extras.push_back({exist.keys, Not(exist.value)});
    for (const std::string& name : names) {
      shape.members.push_back({name, kAnyValue, false});
    }
    ASSIGN_OR_RETURN(DfaPtr others, CharDfa::Minus(CharDfa::All(), exist.keys, &budget_));
    shape.extras.push_back({std::move(others), kAnyValue});
    out.push_back(std::move(shape));
  }
  if (a.min > 0) {
    out.push_back(FullObject());
    out.back().max = a.min - 1;
  }
  if (a.max != kUnbounded) {
    out.push_back(FullObject());
    out.back().min = a.max + 1;
  }
  return out;
}

absl::StatusOr<Shape> SchemaShapes::NotShape(const Shape& a) {
  Shape out = FullShape();
  out.null = !a.null;
  out.no = !a.no;
  out.yes = !a.yes;
  ASSIGN_OR_RETURN(out.numbers.plain, CharDfa::Minus(AllNumbers(), a.numbers.plain, &budget_));
  // Of numbers with exponents `a` may allow more than it says.
  out.numbers.exponents = a.numbers.plain->empty() && !a.numbers.exponents;
  for (const StringShape& shape : a.strings) {
    ASSIGN_OR_RETURN(const std::vector<StringShape> others, NotString(shape));
    std::vector<StringShape> both;
    RETURN_IF_ERROR(AndStrings(out.strings, others, &both));
    out.strings = std::move(both);
  }
  for (const ArrayShape& shape : a.arrays) {
    ASSIGN_OR_RETURN(const std::vector<ArrayShape> others, NotArray(shape));
    std::vector<ArrayShape> both;
    RETURN_IF_ERROR(AndArrays(out.arrays, others, &both));
    out.arrays = std::move(both);
  }
  for (const ObjectShape& shape : a.objects) {
    ASSIGN_OR_RETURN(const std::vector<ObjectShape> others, NotObject(shape));
    std::vector<ObjectShape> both;
    RETURN_IF_ERROR(AndObjects(out.objects, others, &both));
    out.objects = std::move(both);
  }
  return out;
}

bool SchemaShapes::EmptyArray(const ArrayShape& shape, int depth) {
  if (shape.min > shape.max) {
    return true;
  }
  for (uint32_t i = 0; i < std::min<size_t>(shape.min, shape.prefix.size()); ++i) {
    if (ProvablyEmpty(shape.prefix[i], depth - 1)) {
      return true;
    }
  }
  return shape.min > shape.prefix.size() && ProvablyEmpty(shape.rest, depth - 1);
}

bool SchemaShapes::EmptyObject(const ObjectShape& shape, int depth) {
  return shape.min > shape.max ||
         std::any_of(shape.members.begin(), shape.members.end(), [&](const auto& member) {
           return member.required && ProvablyEmpty(member.value, depth - 1);
         });
}

}  // namespace alcca
