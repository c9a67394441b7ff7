// input | name(...), for lists and dicts.

#include <algorithm>
#include <charconv>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/text/jinja/filters.h"
#include "engine/text/jinja/operations.h"
#include "engine/text/jinja/strings.h"
#include "engine/text/jinja/unicode.h"

namespace alcca::jinja {
namespace {

using SequenceResult = absl::StatusOr<Value>;

// item.a.0.b for "a.0.b", or item[3] for 3; `standard` for what is undefined, if there is one.
SequenceResult AttributeOf(Value item, const Value& path, const Value* standard, Runtime* runtime) {
  if (!path.Is(Kind::kString)) {
    ASSIGN_OR_RETURN(item, GetItem(item, path, runtime));
  } else {
    std::string_view rest = path.text().bytes();
    for (bool more = true; more;) {
      const size_t dot = rest.find('.');
      const std::string_view part = rest.substr(0, dot);
      more = dot != std::string_view::npos;
      rest = more ? rest.substr(dot + 1) : std::string_view();
      int64_t index = 0;
      const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
      const bool number =
          error == std::errc() && end == part.data() + part.size() && !part.starts_with('-');
      const Value key = number ? Value::Int(index) : Value(Text(part, Origin::kTemplate));
      RETURN_IF_ERROR(runtime->meter.Step());
      ASSIGN_OR_RETURN(item, GetItem(item, key, runtime));
      if (standard != nullptr && item.Is(Kind::kUndefined)) {
        item = *standard;
      }
    }
  }
  return standard != nullptr && item.Is(Kind::kUndefined) ? *standard : item;
}

// What an item is compared by: an attribute if `path` is given, in lower case if `folds`.
SequenceResult KeyOf(const Value& item, const Value* path, bool folds, Runtime* runtime) {
  Value key = item;
  if (path != nullptr && !path->Is(Kind::kNone)) {
    ASSIGN_OR_RETURN(key, AttributeOf(item, *path, nullptr, runtime));
  }
  if (folds && key.Is(Kind::kString)) {
    RETURN_IF_ERROR(runtime->meter.Take(3 * key.text().cost()));
    key = Value(Lower(key.text()));
  }
  return key;
}

struct Keyed {
  Value key;
  Value item;
};

absl::StatusOr<std::vector<Keyed>> WithKeys(const Value& input, const Value* path, bool folds,
                                            Runtime* runtime) {
  ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(input, &runtime->meter));
  std::vector<Keyed> keyed;
  for (const Value& item : items) {
    RETURN_IF_ERROR(runtime->meter.Take(sizeof(Keyed)));
    ASSIGN_OR_RETURN(Value key, KeyOf(item, path, folds, runtime));
    keyed.push_back({std::move(key), item});
  }
  return keyed;
}

absl::Status SortByKey(bool reverse, Runtime* runtime, std::vector<Keyed>* items) {
  absl::Status status;
  std::stable_sort(items->begin(), items->end(), [&](const Keyed& a, const Keyed& b) {
    if (!status.ok()) {
      return false;
    }
    if (a.key.Is(Kind::kUndefined) && b.key.Is(Kind::kUndefined)) {
      return false;  // jinja2 compares lists of keys, and equal parts of lists are not ordered.
    }
    const absl::StatusOr<bool> less =
        reverse ? Less(b.key, a.key, &runtime->meter) : Less(a.key, b.key, &runtime->meter);
    status.Update(less.status());
    return less.ok() && *less;
  });
  return status;
}

std::vector<Value> ItemsOf(std::vector<Keyed> keyed) {
  std::vector<Value> items;
  items.reserve(keyed.size());
  for (Keyed& entry : keyed) {
    items.push_back(std::move(entry.item));
  }
  return items;
}

SequenceResult Sort(const Value& input, const Arguments& arguments, Runtime* runtime) {
  ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"reverse", "case_sensitive", "attribute"}));
  if (bound[2] != nullptr && bound[2]->Is(Kind::kString) &&
      bound[2]->text().bytes().find(',') != std::string::npos) {
    return absl::InvalidArgumentError("sorting by several attributes is not implemented");
  }
  ASSIGN_OR_RETURN(std::vector<Keyed> keyed, WithKeys(input, bound[2], !AsBool(bound[1]), runtime));
  RETURN_IF_ERROR(SortByKey(AsBool(bound[0]), runtime, &keyed));
  return MakeList(ItemsOf(std::move(keyed)), &runtime->meter);
}

SequenceResult DictSort(const Value& input, const Arguments& arguments, Runtime* runtime) {
  ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"case_sensitive", "by", "reverse"}));
  ASSIGN_OR_RETURN(const Text by, AsText(bound[1], "key"));
  if (!input.Is(Kind::kDict) || (by.bytes() != "key" && by.bytes() != "value")) {
    return absl::InvalidArgumentError("needs a dict, by 'key' or 'value'");
  }
  ASSIGN_OR_RETURN(const Value pairs, CallMethod(input, "items", {}, runtime));
  const Value position = Value::Int(by.bytes() == "key" ? 0 : 1);
  ASSIGN_OR_RETURN(std::vector<Keyed> keyed,
                   WithKeys(pairs, &position, !AsBool(bound[0]), runtime));
  RETURN_IF_ERROR(SortByKey(AsBool(bound[2]), runtime, &keyed));
  return MakeList(ItemsOf(std::move(keyed)), &runtime->meter);
}

// The first of the least or greatest; undefined of none.
template <bool greatest>
SequenceResult Extreme(const Value& input, const Arguments& arguments, Runtime* runtime) {
  ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"case_sensitive", "attribute"}));
  ASSIGN_OR_RETURN(const std::vector<Keyed> keyed,
                   WithKeys(input, bound[1], !AsBool(bound[0]), runtime));
  if (keyed.empty()) {
    return Value::UndefinedAs("an item of an empty sequence");
  }
  size_t best = 0;
  for (size_t i = 1; i < keyed.size(); ++i) {
    ASSIGN_OR_RETURN(const bool better, greatest
                                            ? Less(keyed[best].key, keyed[i].key, &runtime->meter)
                                            : Less(keyed[i].key, keyed[best].key, &runtime->meter));
    best = better ? i : best;
  }
  return keyed[best].item;
}

SequenceResult Unique(const Value& input, const Arguments& arguments, Runtime* runtime) {
  ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"case_sensitive", "attribute"}));
  ASSIGN_OR_RETURN(const std::vector<Keyed> keyed,
                   WithKeys(input, bound[1], !AsBool(bound[0]), runtime));
  Dict seen;
  std::vector<Value> items;
  for (const Keyed& entry : keyed) {
    RETURN_IF_ERROR(runtime->meter.Take(128));
    if (seen.Find(entry.key) == nullptr) {
      if (!seen.Add(entry.key, Value())) {
        return absl::InvalidArgumentError("an item that cannot be a key of a dict");
      }
      items.push_back(entry.item);
    }
  }
  return MakeGenerator(std::move(items), &runtime->meter);
}

SequenceResult First(const Value& input, const Arguments& arguments, Runtime* runtime) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  if (input.Is(Kind::kString) || input.Is(Kind::kList)) {
    return Index(input, 0, &runtime->meter);
  }
  ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(input, &runtime->meter));
  return items.empty() ? Value::UndefinedAs("the first item of an empty sequence") : items[0];
}

SequenceResult Last(const Value& input, const Arguments& arguments, Runtime* runtime) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  if (input.Is(Kind::kString) || input.Is(Kind::kList)) {
    return Index(input, -1, &runtime->meter);
  }
  ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(input, &runtime->meter));
  return items.empty() ? Value::UndefinedAs("the last item of an empty sequence") : items.back();
}

SequenceResult ListFilter(const Value& input, const Arguments& arguments, Runtime* runtime) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  ASSIGN_OR_RETURN(std::vector<Value> items, Iterate(input, &runtime->meter));
  return MakeList(std::move(items), &runtime->meter);
}

SequenceResult Reverse(const Value& input, const Arguments& arguments, Runtime* runtime) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  if (input.Is(Kind::kString)) {
    return Slice(input, Value::None(), Value::None(), Value::Int(-1), &runtime->meter);
  }
  ASSIGN_OR_RETURN(std::vector<Value> items, Iterate(input, &runtime->meter));
  std::reverse(items.begin(), items.end());
  return MakeGenerator(std::move(items), &runtime->meter);
}

SequenceResult Items(const Value& input, const Arguments& arguments, Runtime* runtime) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  if (input.Is(Kind::kUndefined)) {
    return MakeGenerator({}, &runtime->meter);
  }
  if (!input.Is(Kind::kDict)) {
    return absl::InvalidArgumentError("can only get item pairs from a mapping");
  }
  ASSIGN_OR_RETURN(const Value pairs, CallMethod(input, "items", {}, runtime));
  return MakeGenerator(pairs.list().items, &runtime->meter);
}

SequenceResult Sum(const Value& input, const Arguments& arguments, Runtime* runtime) {
  ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"attribute", "start"}));
  ASSIGN_OR_RETURN(const std::vector<Keyed> keyed, WithKeys(input, bound[0], false, runtime));
  Value sum = bound[1] == nullptr ? Value::Int(0) : *bound[1];
  for (const Keyed& entry : keyed) {
    ASSIGN_OR_RETURN(sum, Arithmetic("+", sum, entry.key, &runtime->meter));
  }
  return sum;
}

SequenceResult Join(const Value& input, const Arguments& arguments, Runtime* runtime) {
  ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"d", "attribute"}));
  ASSIGN_OR_RETURN(const std::vector<Keyed> keyed, WithKeys(input, bound[1], false, runtime));
  std::vector<Value> texts;
  for (const Keyed& entry : keyed) {
    ASSIGN_OR_RETURN(Value text, ToStringValue(entry.key, &runtime->meter));
    texts.push_back(std::move(text));
  }
  Value separator{Text()};
  if (bound[0] != nullptr) {
    ASSIGN_OR_RETURN(separator, ToStringValue(*bound[0], &runtime->meter));
  }
  return JoinTexts(separator.text(), texts, &runtime->meter);
}

// The name of a filter or test, and the rest of the arguments for it.
absl::StatusOr<std::pair<std::string, Arguments>> Inner(const Arguments& arguments, size_t skip) {
  if (arguments.positional.size() <= skip || !arguments.positional[skip].Is(Kind::kString)) {
    return absl::InvalidArgumentError("needs a name");
  }
  Arguments rest;
  rest.positional.assign(arguments.positional.begin() + static_cast<std::ptrdiff_t>(skip) + 1,
                         arguments.positional.end());
  rest.named = arguments.named;
  return std::make_pair(arguments.positional[skip].text().bytes(), std::move(rest));
}

SequenceResult Map(const Value& input, const Arguments& arguments, Runtime* runtime) {
  std::vector<Value> items;
  if (arguments.positional.empty()) {
    ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"attribute", "default"}, 1));
    ASSIGN_OR_RETURN(const std::vector<Value> inputs, Iterate(input, &runtime->meter));
    for (const Value& item : inputs) {
      ASSIGN_OR_RETURN(Value value, AttributeOf(item, *bound[0], bound[1], runtime));
      items.push_back(std::move(value));
    }
    return MakeGenerator(std::move(items), &runtime->meter);
  }
  ASSIGN_OR_RETURN(const auto inner, Inner(arguments, 0));
  // A filter of filters of filters ends nowhere else.
  if (inner.first == "map") {
    return absl::InvalidArgumentError("map of map is not implemented");
  }
  ASSIGN_OR_RETURN(const std::vector<Value> inputs, Iterate(input, &runtime->meter));
  for (const Value& item : inputs) {
    RETURN_IF_ERROR(runtime->meter.Step());
    ASSIGN_OR_RETURN(Value value, CallFilter(inner.first, item, inner.second, runtime));
    items.push_back(std::move(value));
  }
  return MakeGenerator(std::move(items), &runtime->meter);
}

// select, reject, selectattr, rejectattr: items that pass a test, or that are true.
template <bool keeps, bool by_attribute>
SequenceResult Select(const Value& input, const Arguments& arguments, Runtime* runtime) {
  constexpr size_t kSkip = by_attribute ? 1 : 0;
  if (by_attribute && arguments.positional.empty()) {
    return absl::InvalidArgumentError("needs the name of an attribute");
  }
  const bool tests = arguments.positional.size() > kSkip;
  std::pair<std::string, Arguments> inner;
  if (tests) {
    ASSIGN_OR_RETURN(inner, Inner(arguments, kSkip));
  }
  ASSIGN_OR_RETURN(const std::vector<Value> inputs, Iterate(input, &runtime->meter));
  std::vector<Value> items;
  for (const Value& item : inputs) {
    RETURN_IF_ERROR(runtime->meter.Step());
    Value value = item;
    if (by_attribute) {
      ASSIGN_OR_RETURN(value, AttributeOf(item, arguments.positional[0], nullptr, runtime));
    }
    bool passes = value.Truth();
    if (tests) {
      ASSIGN_OR_RETURN(passes, CallTest(inner.first, value, inner.second, runtime));
    }
    if (passes == keeps) {
      items.push_back(item);
    }
  }
  return MakeGenerator(std::move(items), &runtime->meter);
}

}  // namespace

const Filters& SequenceFilters() {
  static const auto* const filters = new Filters{
      {"dictsort", DictSort},
      {"first", First},
      {"items", Items},
      {"join", Join},
      {"last", Last},
      {"list", ListFilter},
      {"map", Map},
      {"max", Extreme<true>},
      {"min", Extreme<false>},
      {"reject", Select<false, false>},
      {"rejectattr", Select<false, true>},
      {"reverse", Reverse},
      {"select", Select<true, false>},
      {"selectattr", Select<true, true>},
      {"sort", Sort},
      {"sum", Sum},
      {"unique", Unique},
  };
  return *filters;
}

}  // namespace alcca::jinja
