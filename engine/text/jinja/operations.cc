#include "engine/text/jinja/operations.h"

#include <algorithm>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace alcca::jinja {
namespace {

absl::Status NotIterable(const Value& value) {
  return absl::InvalidArgumentError(absl::StrCat(
      "a value of type ", absl::string_view(value.TypeName().data(), value.TypeName().size()),
      " has no items"));
}

absl::Status Unordered(const Value& a, const Value& b) {
  RETURN_IF_ERROR(CheckDefined(a));
  RETURN_IF_ERROR(CheckDefined(b));
  return absl::InvalidArgumentError(
      absl::StrCat("cannot order ", std::string(a.TypeName()), " and ", std::string(b.TypeName())));
}

absl::StatusOr<bool> EqualLists(const std::vector<Value>& a, const std::vector<Value>& b,
                                Meter* meter) {
  if (a.size() != b.size()) {
    return false;
  }
  for (size_t i = 0; i < a.size(); ++i) {
    ASSIGN_OR_RETURN(const bool equal, Equal(a[i], b[i], meter));
    if (!equal) {
      return false;
    }
  }
  return true;
}

absl::StatusOr<bool> EqualDicts(const Dict& a, const Dict& b, Meter* meter) {
  if (a.items.size() != b.items.size()) {
    return false;
  }
  for (const auto& [key, value] : a.items) {
    const Value* other = b.Find(key);
    if (other == nullptr) {
      return false;
    }
    ASSIGN_OR_RETURN(const bool equal, Equal(value, *other, meter));
    if (!equal) {
      return false;
    }
  }
  return true;
}

bool EqualNumbers(const Value& a, const Value& b) {
  return a.Is(Kind::kFloat) || b.Is(Kind::kFloat) ? a.AsDouble() == b.AsDouble()
                                                  : a.AsInt() == b.AsInt();
}

// Python's rule for the parts of a slice: `start` and `stop` clipped to the size.
struct Range {
  int64_t start, stop, step, count;
};

absl::StatusOr<Range> SliceRange(int64_t size, const Value& start, const Value& stop,
                                 const Value& step) {
  for (const Value* part : {&start, &stop, &step}) {
    if (!part->Is(Kind::kInt) && !part->Is(Kind::kBool) && !part->Is(Kind::kNone)) {
      RETURN_IF_ERROR(CheckDefined(*part));
      return absl::InvalidArgumentError("slice indices must be integers");
    }
  }
  Range range{};
  range.step = step.Is(Kind::kNone) ? 1 : step.AsInt();
  if (range.step == 0) {
    return absl::InvalidArgumentError("slice step cannot be zero");
  }
  range.step = std::clamp(range.step, -std::numeric_limits<int64_t>::max(),
                          std::numeric_limits<int64_t>::max());
  const bool backward = range.step < 0;
  const int64_t low = backward ? -1 : 0, high = backward ? size - 1 : size;
  const auto clip = [&](const Value& part, int64_t standard) {
    if (part.Is(Kind::kNone)) {
      return standard;
    }
    const int64_t at = part.AsInt();
    return std::clamp(at < 0 ? at + size : at, low, high);
  };
  range.start = clip(start, backward ? high : low);
  range.stop = clip(stop, backward ? low : high);
  const int64_t distance = backward ? range.start - range.stop : range.stop - range.start;
  const int64_t stride = backward ? -range.step : range.step;
  range.count = distance <= 0 ? 0 : (distance - 1) / stride + 1;
  return range;
}

}  // namespace

absl::Status CheckDefined(const Value& value) {
  if (!value.Is(Kind::kUndefined)) {
    return absl::OkStatus();
  }
  const std::string_view what = value.undefined_what();
  return absl::InvalidArgumentError(
      absl::StrCat(absl::string_view(what.data(), what.size()), " is undefined"));
}

absl::StatusOr<bool> Equal(const Value& a, const Value& b, Meter* meter) {
  RETURN_IF_ERROR(meter->Step());
  if (a.IsNumber() && b.IsNumber()) {
    return EqualNumbers(a, b);
  }
  if (a.kind() != b.kind()) {
    return false;
  }
  switch (a.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kString:
      RETURN_IF_ERROR(meter->Step(std::min(a.text().size(), b.text().size()) / 64));
      return a.text().bytes() == b.text().bytes();
    case Kind::kBigInt:
      return a.digits().bytes() == b.digits().bytes();
    case Kind::kList:
      if (a.list().tuple != b.list().tuple) {
        return false;
      }
      return EqualLists(a.list().items, b.list().items, meter);
    case Kind::kDict:
      return EqualDicts(a.dict(), b.dict(), meter);
    default:
      return a.identity() == b.identity();
  }
}

absl::StatusOr<bool> Less(const Value& a, const Value& b, Meter* meter) {
  RETURN_IF_ERROR(meter->Step());
  if (a.IsNumber() && b.IsNumber()) {
    return a.Is(Kind::kFloat) || b.Is(Kind::kFloat) ? a.AsDouble() < b.AsDouble()
                                                    : a.AsInt() < b.AsInt();
  }
  if (a.Is(Kind::kString) && b.Is(Kind::kString)) {
    RETURN_IF_ERROR(meter->Step(std::min(a.text().size(), b.text().size()) / 64));
    return a.text().bytes() < b.text().bytes();  // The order of UTF-8 is that of code points.
  }
  if (!a.Is(Kind::kList) || !b.Is(Kind::kList) || a.list().tuple != b.list().tuple) {
    return Unordered(a, b);
  }
  const auto& left = a.list().items;
  const auto& right = b.list().items;
  for (size_t i = 0; i < std::min(left.size(), right.size()); ++i) {
    ASSIGN_OR_RETURN(const bool equal, Equal(left[i], right[i], meter));
    if (!equal) {
      return Less(left[i], right[i], meter);
    }
  }
  return left.size() < right.size();
}

absl::StatusOr<bool> Contains(const Value& container, const Value& item, Meter* meter) {
  switch (container.kind()) {
    case Kind::kString:
      if (!item.Is(Kind::kString)) {
        RETURN_IF_ERROR(CheckDefined(item));
        return absl::InvalidArgumentError(
            absl::StrCat("'in' a string needs a string, found ", std::string(item.TypeName())));
      }
      RETURN_IF_ERROR(meter->Step(container.text().size() / 64));
      return Find(container.text().bytes(), item.text().bytes()) != std::string_view::npos;
    case Kind::kDict:
      return container.dict().Find(item) != nullptr;
    default: {
      ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(container, meter));
      for (const Value& other : items) {
        ASSIGN_OR_RETURN(const bool equal, Equal(other, item, meter));
        if (equal) {
          return true;
        }
      }
      return false;
    }
  }
}

absl::StatusOr<std::vector<Value>> Iterate(const Value& value, Meter* meter) {
  std::vector<Value> items;
  switch (value.kind()) {
    case Kind::kUndefined:
      return items;
    case Kind::kList:
      RETURN_IF_ERROR(meter->Take(value.list().items.size() * sizeof(Value)));
      return value.list().items;
    case Kind::kGenerator:
      if (value.generator().read) {
        return items;
      }
      value.generator().read = true;
      return std::move(value.generator().items);
    case Kind::kDict:
      RETURN_IF_ERROR(meter->Take(value.dict().items.size() * sizeof(Value)));
      for (const auto& [key, unused] : value.dict().items) {
        items.push_back(key);
      }
      return items;
    case Kind::kString: {
      const Text& text = value.text();
      RETURN_IF_ERROR(meter->Take(text.size() * (sizeof(Value) + sizeof(Text) + 16)));
      for (size_t at = 0; at < text.size();) {
        const size_t begin = at;
        NextCodePoint(text.bytes(), &at);
        items.emplace_back(text.Slice(begin, at));
      }
      return items;
    }
    default:
      return NotIterable(value);
  }
}

absl::StatusOr<int64_t> Length(const Value& value, Meter* meter) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kString:
      RETURN_IF_ERROR(meter->Step(value.text().size() / 64));
      return static_cast<int64_t>(CodePoints(value.text().bytes()));
    case Kind::kList:
      return static_cast<int64_t>(value.list().items.size());
    case Kind::kDict:
      return static_cast<int64_t>(value.dict().items.size());
    case Kind::kLoop:
      return static_cast<int64_t>(value.loop().items.size());
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("a value of type ", std::string(value.TypeName()), " has no length"));
  }
}

absl::StatusOr<Value> Index(const Value& value, int64_t index, Meter* meter) {
  if (value.Is(Kind::kList)) {
    const auto& items = value.list().items;
    const int64_t at = index < 0 ? index + static_cast<int64_t>(items.size()) : index;
    return at < 0 || at >= static_cast<int64_t>(items.size())
               ? Value::UndefinedAs(absl::StrCat("item ", index, " of a list"))
               : items[static_cast<size_t>(at)];
  }
  const Text& text = value.text();
  RETURN_IF_ERROR(meter->Take(text.size() * sizeof(size_t)));
  const std::vector<size_t> offsets = CodePointOffsets(text.bytes());
  const auto size = static_cast<int64_t>(offsets.size()) - 1;
  const int64_t at = index < 0 ? index + size : index;
  if (at < 0 || at >= size) {
    return Value::UndefinedAs(absl::StrCat("character ", index, " of a string"));
  }
  return MakeString(
      text.Slice(offsets[static_cast<size_t>(at)], offsets[static_cast<size_t>(at) + 1]), meter);
}

absl::StatusOr<Value> Slice(const Value& value, const Value& start, const Value& stop,
                            const Value& step, Meter* meter) {
  if (value.Is(Kind::kList)) {
    const auto& items = value.list().items;
    ASSIGN_OR_RETURN(const Range range,
                     SliceRange(static_cast<int64_t>(items.size()), start, stop, step));
    std::vector<Value> slice;
    RETURN_IF_ERROR(meter->Take(static_cast<uint64_t>(range.count) * sizeof(Value)));
    for (int64_t i = 0; i < range.count; ++i) {
      slice.push_back(items[static_cast<size_t>(range.start + i * range.step)]);
    }
    return MakeList(std::move(slice), meter, value.list().tuple);
  }
  if (!value.Is(Kind::kString)) {
    RETURN_IF_ERROR(CheckDefined(value));
    return absl::InvalidArgumentError(
        absl::StrCat("a value of type ", std::string(value.TypeName()), " has no slices"));
  }
  const Text& text = value.text();
  RETURN_IF_ERROR(meter->Take(text.size() * sizeof(size_t)));
  const std::vector<size_t> offsets = CodePointOffsets(text.bytes());
  ASSIGN_OR_RETURN(const Range range,
                   SliceRange(static_cast<int64_t>(offsets.size()) - 1, start, stop, step));
  if (range.step == 1) {
    const auto first = static_cast<size_t>(range.start);
    return MakeString(text.Slice(offsets[first], offsets[first + static_cast<size_t>(range.count)]),
                      meter);
  }
  Text slice;
  for (int64_t i = 0; i < range.count; ++i) {
    const auto at = static_cast<size_t>(range.start + i * range.step);
    slice.AppendSlice(text, offsets[at], offsets[at + 1]);
  }
  return MakeString(std::move(slice), meter);
}

}  // namespace alcca::jinja
