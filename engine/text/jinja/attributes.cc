// Attributes and items of values, functions, and the binding of arguments.

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/text/jinja/format.h"
#include "engine/text/jinja/operations.h"
#include "engine/text/jinja/runtime.h"

namespace alcca::jinja {
namespace {

constexpr int64_t kMaxRange = 100'000;  // As jinja2's sandbox.

Value Missing(const Value& value, std::string_view name) {
  return Value::UndefinedAs(absl::StrCat("'", absl::CHexEscape(std::string(name.substr(0, 60))),
                                         "' of a ", std::string(value.TypeName())));
}

absl::StatusOr<Value> FindMethod(const Value& self, std::string_view name, Runtime* runtime) {
  RETURN_IF_ERROR(runtime->meter.Take(sizeof(Callable)));
  if (self.depth() >= kMaxNesting) {
    return absl::InvalidArgumentError("values are nested too deeply");
  }
  Callable method;
  method.name = std::string(name);
  method.method = true;
  method.self = self;
  method.depth = self.depth() + 1;
  return Value(std::make_shared<const Callable>(std::move(method)));
}

Value LoopAttribute(const Value& value, std::string_view name) {
  const Loop& loop = value.loop();
  const auto index = static_cast<int64_t>(loop.index);
  const auto size = static_cast<int64_t>(loop.items.size());
  if (name == "index" || name == "index0") {
    return Value::Int(index + (name == "index" ? 1 : 0));
  }
  if (name == "revindex" || name == "revindex0") {
    return Value::Int(size - index - (name == "revindex" ? 0 : 1));
  }
  if (name == "first" || name == "last") {
    return Value::Bool(name == "first" ? index == 0 : index + 1 == size);
  }
  if (name == "length") {
    return Value::Int(size);
  }
  if (name == "depth" || name == "depth0") {
    return Value::Int(name == "depth" ? 1 : 0);  // Recursive loops are not implemented.
  }
  if (name == "previtem") {
    return index > 0 ? loop.items[loop.index - 1] : Value::UndefinedAs("there is no previous item");
  }
  if (name == "nextitem") {
    return index + 1 < size ? loop.items[loop.index + 1]
                            : Value::UndefinedAs("there is no next item");
  }
  return Missing(value, name);
}

absl::StatusOr<Value> MakeRange(const Arguments& arguments, Runtime* runtime) {
  int64_t bounds[3] = {0, 0, 1};
  const auto& given = arguments.positional;
  if (given.empty() || given.size() > 3 || !arguments.named.empty()) {
    return absl::InvalidArgumentError("range needs one to three integers");
  }
  for (size_t i = 0; i < given.size(); ++i) {
    ASSIGN_OR_RETURN(bounds[given.size() == 1 ? 1 : i], AsInteger(&given[i], 0));
  }
  const auto [start, stop, step] = bounds;
  if (step == 0) {
    return absl::InvalidArgumentError("range: the step is 0");
  }
  std::vector<Value> items;
  for (int64_t at = start; step > 0 ? at < stop : at > stop;) {
    if (static_cast<int64_t>(items.size()) == kMaxRange) {
      return absl::InvalidArgumentError(
          absl::StrCat("a range has more than ", kMaxRange, " items"));
    }
    items.push_back(Value::Int(at));
    if (__builtin_add_overflow(at, step, &at)) {
      break;
    }
  }
  RETURN_IF_ERROR(runtime->meter.Step(items.size()));
  return MakeList(std::move(items), &runtime->meter);
}

// The items of an optional dict, then the named arguments.
absl::StatusOr<Dict> DictOf(const Arguments& arguments, Runtime* runtime) {
  Dict dict;
  if (arguments.positional.size() > 1 ||
      (arguments.positional.size() == 1 && !arguments.positional[0].Is(Kind::kDict))) {
    return absl::InvalidArgumentError("expected a dict or named arguments");
  }
  if (!arguments.positional.empty()) {
    dict = arguments.positional[0].dict();
    RETURN_IF_ERROR(runtime->meter.Take(dict.items.size() * (2 * sizeof(Value) + 64)));
  }
  for (const auto& [name, value] : arguments.named) {
    dict.Add(Value(Text(name, Origin::kTemplate)), value);
  }
  return dict;
}

absl::StatusOr<Value> MakeNamespace(const Arguments& arguments, Runtime* runtime) {
  ASSIGN_OR_RETURN(const Dict dict, DictOf(arguments, runtime));
  auto space = std::make_shared<Namespace>();
  RETURN_IF_ERROR(runtime->meter.Take(sizeof(Namespace) + dict.items.size() * 128));
  for (const auto& [key, value] : dict.items) {
    if (key.Is(Kind::kString)) {
      space->values[key.text().bytes()] = value;
    }
  }
  runtime->namespaces.push_back(space);
  return Value(std::move(space));
}

}  // namespace

absl::StatusOr<Value> GetAttribute(const Value& value, std::string_view name, Runtime* runtime) {
  RETURN_IF_ERROR(CheckDefined(value));
  if (HasMethod(value, name)) {
    return FindMethod(value, name, runtime);
  }
  if (value.Is(Kind::kDict)) {
    const Value* item = value.dict().Find(name);
    return item == nullptr ? Missing(value, name) : *item;
  }
  if (value.Is(Kind::kNamespace)) {
    const auto it = value.space().values.find(std::string(name));
    return it == value.space().values.end() ? Missing(value, name) : it->second;
  }
  return value.Is(Kind::kLoop) ? LoopAttribute(value, name) : Missing(value, name);
}

absl::StatusOr<Value> GetItem(const Value& value, const Value& key, Runtime* runtime) {
  RETURN_IF_ERROR(CheckDefined(value));
  if (value.Is(Kind::kDict)) {
    if (const Value* item = value.dict().Find(key)) {
      return *item;
    }
  }
  if ((value.Is(Kind::kList) || value.Is(Kind::kString)) &&
      (key.Is(Kind::kInt) || key.Is(Kind::kBool))) {
    return Index(value, key.AsInt(), &runtime->meter);
  }
  if (key.Is(Kind::kString)) {
    return GetAttribute(value, key.text().bytes(), runtime);
  }
  return Missing(value, key.TypeName());
}

bool IsFunction(std::string_view name) {
  constexpr std::string_view kFunctions[] = {"range", "dict", "namespace", "raise_exception",
                                             "strftime_now"};
  return std::find(std::begin(kFunctions), std::end(kFunctions), name) != std::end(kFunctions);
}

absl::StatusOr<Value> CallFunction(std::string_view name, const Arguments& arguments,
                                   Runtime* runtime) {
  if (name == "range") {
    return MakeRange(arguments, runtime);
  }
  if (name == "dict") {
    ASSIGN_OR_RETURN(Dict dict, DictOf(arguments, runtime));
    return MakeDict(std::move(dict), &runtime->meter);
  }
  if (name == "namespace") {
    return MakeNamespace(arguments, runtime);
  }
  if (name == "strftime_now") {
    ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"format"}, 1));
    return FormatTime(*bound[0], runtime->now, &runtime->meter);
  }
  ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"message"}, 1));
  ASSIGN_OR_RETURN(const Value message, ToStringValue(*bound[0], &runtime->meter));
  return absl::InvalidArgumentError(
      absl::StrCat("it refuses: ", message.text().bytes().substr(0, 1000)));
}

absl::StatusOr<std::vector<const Value*>> Bind(const Arguments& arguments,
                                               std::initializer_list<std::string_view> parameters,
                                               size_t required) {
  if (arguments.positional.size() > parameters.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "takes at most ", parameters.size(), " arguments, found ", arguments.positional.size()));
  }
  std::vector<const Value*> bound(parameters.size(), nullptr);
  for (size_t i = 0; i < arguments.positional.size(); ++i) {
    bound[i] = &arguments.positional[i];
  }
  for (const auto& [name, value] : arguments.named) {
    const auto it = std::find(parameters.begin(), parameters.end(), name);
    if (it == parameters.end() || bound[static_cast<size_t>(it - parameters.begin())] != nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("unexpected argument '", name, "'"));
    }
    bound[static_cast<size_t>(it - parameters.begin())] = &value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (bound[i] == nullptr) {
      return absl::InvalidArgumentError("an argument is missing");
    }
  }
  return bound;
}

absl::StatusOr<int64_t> AsInteger(const Value* value, int64_t standard) {
  if (value == nullptr || value->Is(Kind::kNone)) {
    return standard;
  }
  if (!value->Is(Kind::kInt) && !value->Is(Kind::kBool)) {
    RETURN_IF_ERROR(CheckDefined(*value));
    return absl::InvalidArgumentError(
        absl::StrCat("expected an integer, found a ", std::string(value->TypeName())));
  }
  return value->AsInt();
}

absl::StatusOr<Text> AsText(const Value* value, std::string_view standard) {
  if (value == nullptr || value->Is(Kind::kNone)) {
    return Text(standard, Origin::kTemplate);
  }
  if (!value->Is(Kind::kString)) {
    RETURN_IF_ERROR(CheckDefined(*value));
    return absl::InvalidArgumentError(
        absl::StrCat("expected a string, found a ", std::string(value->TypeName())));
  }
  return value->text();
}

}  // namespace alcca::jinja
