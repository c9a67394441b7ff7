// value.name(...)

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/text/jinja/format.h"
#include "engine/text/jinja/operations.h"
#include "engine/text/jinja/runtime.h"
#include "engine/text/jinja/strings.h"
#include "engine/text/jinja/unicode.h"

namespace alcca::jinja {
namespace {

using MethodResult = absl::StatusOr<Value>;
using Method = MethodResult (*)(const Value&, const Arguments&, Runtime*);
using Methods = std::unordered_map<std::string_view, Method>;

template <Side side>
MethodResult StripMethod(const Value& self, const Arguments& arguments, Runtime* runtime) {
  ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"chars"}));
  ASSIGN_OR_RETURN(const Text characters, AsText(bound[0], ""));
  const bool given = bound[0] != nullptr && !bound[0]->Is(Kind::kNone);
  return Strip(self.text(), given ? &characters : nullptr, side, &runtime->meter);
}

template <bool right>
MethodResult SplitMethod(const Value& self, const Arguments& arguments, Runtime* runtime) {
  ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"sep", "maxsplit"}));
  ASSIGN_OR_RETURN(const Text separator, AsText(bound[0], ""));
  ASSIGN_OR_RETURN(const int64_t limit, AsInteger(bound[1], -1));
  const bool given = bound[0] != nullptr && !bound[0]->Is(Kind::kNone);
  return Split(self.text(), given ? &separator : nullptr, limit, right, &runtime->meter);
}

// startswith and endswith: of a string, or of any in a tuple.
template <bool end>
MethodResult Affix(const Value& self, const Arguments& arguments, Runtime* runtime) {
  ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"prefix"}, 1));
  std::vector<Value> affixes = {*bound[0]};
  if (bound[0]->Is(Kind::kList) && bound[0]->list().tuple) {
    ASSIGN_OR_RETURN(affixes, Iterate(*bound[0], &runtime->meter));
  }
  const std::string& bytes = self.text().bytes();
  for (const Value& affix : affixes) {
    ASSIGN_OR_RETURN(const Text text, AsText(&affix, ""));
    RETURN_IF_ERROR(runtime->meter.Step(1 + text.size() / 64));
    if (end ? bytes.ends_with(text.bytes()) : bytes.starts_with(text.bytes())) {
      return Value::Bool(true);
    }
  }
  return Value::Bool(false);
}

template <bool end>
MethodResult RemoveAffix(const Value& self, const Arguments& arguments, Runtime* runtime) {
  ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"affix"}, 1));
  ASSIGN_OR_RETURN(const Text affix, AsText(bound[0], ""));
  const Text& text = self.text();
  if (!(end ? text.bytes().ends_with(affix.bytes()) : text.bytes().starts_with(affix.bytes()))) {
    return self;
  }
  const size_t rest = text.size() - affix.size();
  return MakeString(end ? text.Slice(0, rest) : text.Slice(affix.size(), text.size()),
                    &runtime->meter);
}

MethodResult ReplaceMethod(const Value& self, const Arguments& arguments, Runtime* runtime) {
  ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"old", "new", "count"}, 2));
  ASSIGN_OR_RETURN(const Text old, AsText(bound[0], ""));
  ASSIGN_OR_RETURN(const Text replacement, AsText(bound[1], ""));
  ASSIGN_OR_RETURN(const int64_t count, AsInteger(bound[2], -1));
  return Replace(self.text(), old, replacement, count, &runtime->meter);
}

template <Text (*convert)(const Text&)>
MethodResult ConvertMethod(const Value& self, const Arguments& arguments, Runtime* runtime) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  RETURN_IF_ERROR(runtime->meter.Take(3 * self.text().cost()));
  RETURN_IF_ERROR(runtime->meter.Step(self.text().size() / 4));
  return Value(convert(self.text()));
}

// find, rfind (-1 if there is none), index, rindex (an error): in code points.
template <bool right, bool must>
MethodResult FindMethod(const Value& self, const Arguments& arguments, Runtime* runtime) {
  ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"sub"}, 1));
  ASSIGN_OR_RETURN(const Text sub, AsText(bound[0], ""));
  const std::string& bytes = self.text().bytes();
  RETURN_IF_ERROR(runtime->meter.Step(1 + bytes.size() / 64));
  if (right) {
    RETURN_IF_ERROR(runtime->meter.Step(bytes.size() / 64 * (1 + sub.size())));
  }
  const size_t at = right ? bytes.rfind(sub.bytes()) : Find(bytes, sub.bytes());
  if (at == std::string::npos) {
    if (must) {
      return absl::InvalidArgumentError("index: the substring is not there");
    }
    return Value::Int(-1);
  }
  return Value::Int(static_cast<int64_t>(CodePoints(std::string_view(bytes).substr(0, at))));
}

MethodResult CountMethod(const Value& self, const Arguments& arguments, Runtime* runtime) {
  ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"sub"}, 1));
  ASSIGN_OR_RETURN(const Text sub, AsText(bound[0], ""));
  const std::string& bytes = self.text().bytes();
  RETURN_IF_ERROR(runtime->meter.Step(1 + bytes.size() / 64));
  if (sub.empty()) {
    return Value::Int(static_cast<int64_t>(CodePoints(bytes)) + 1);
  }
  int64_t count = 0;
  for (size_t at = Find(bytes, sub.bytes()); at != std::string::npos;
       at = Find(bytes, sub.bytes(), at + sub.size())) {
    ++count;
    RETURN_IF_ERROR(runtime->meter.Step());
  }
  return Value::Int(count);
}

MethodResult JoinMethod(const Value& self, const Arguments& arguments, Runtime* runtime) {
  ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"iterable"}, 1));
  ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(*bound[0], &runtime->meter));
  return JoinTexts(self.text(), items, &runtime->meter);
}

MethodResult SplitLinesMethod(const Value& self, const Arguments& arguments, Runtime* runtime) {
  ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"keepends"}));
  ASSIGN_OR_RETURN(std::vector<Text> lines,
                   SplitLines(self.text(), AsBool(bound[0]), &runtime->meter));
  std::vector<Value> items;
  for (Text& line : lines) {
    items.emplace_back(std::move(line));
  }
  return MakeList(std::move(items), &runtime->meter);
}

// True if there are characters and all of them are `holds`; only ASCII letters and digits count.
template <bool (*holds)(char32_t)>
MethodResult All(const Value& self, const Arguments& arguments, Runtime* runtime) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  const std::string& bytes = self.text().bytes();
  RETURN_IF_ERROR(runtime->meter.Step(bytes.size() / 16));
  for (size_t at = 0; at < bytes.size();) {
    if (!holds(NextCodePoint(bytes, &at))) {
      return Value::Bool(false);
    }
  }
  return Value::Bool(!bytes.empty());
}

bool IsDigit(char32_t c) {
  return c >= '0' && c <= '9';
}
bool IsAlpha(char32_t c) {
  return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}
bool IsAlnum(char32_t c) {
  return IsDigit(c) || IsAlpha(c);
}

template <bool (*holds)(const Text&)>
MethodResult Cased(const Value& self, const Arguments& arguments, Runtime* runtime) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  RETURN_IF_ERROR(runtime->meter.Step(self.text().size() / 4));
  return Value::Bool(holds(self.text()));
}

const Methods& StringMethods() {
  static const auto* const methods = new Methods{
      {"strip", StripMethod<Side::kBoth>},
      {"lstrip", StripMethod<Side::kLeft>},
      {"rstrip", StripMethod<Side::kRight>},
      {"split", SplitMethod<false>},
      {"rsplit", SplitMethod<true>},
      {"splitlines", SplitLinesMethod},
      {"startswith", Affix<false>},
      {"endswith", Affix<true>},
      {"removeprefix", RemoveAffix<false>},
      {"removesuffix", RemoveAffix<true>},
      {"replace", ReplaceMethod},
      {"lower", ConvertMethod<Lower>},
      {"upper", ConvertMethod<Upper>},
      {"title", ConvertMethod<Title>},
      {"capitalize", ConvertMethod<Capitalize>},
      {"find", FindMethod<false, false>},
      {"rfind", FindMethod<true, false>},
      {"index", FindMethod<false, true>},
      {"rindex", FindMethod<true, true>},
      {"count", CountMethod},
      {"join", JoinMethod},
      {"format",
       [](const Value& self, const Arguments& arguments, Runtime* runtime) {
         return BraceFormat(self.text(), arguments, &runtime->meter);
       }},
      {"isdigit", All<IsDigit>},
      {"isdecimal", All<IsDigit>},
      {"isnumeric", All<IsDigit>},
      {"isalpha", All<IsAlpha>},
      {"isalnum", All<IsAlnum>},
      {"isspace", All<IsSpace>},
      {"isupper", Cased<IsUpper>},
      {"islower", Cased<IsLower>},
  };
  return *methods;
}

enum class DictPart { kKeys, kValues, kItems };

template <DictPart part>
MethodResult DictView(const Value& self, const Arguments& arguments, Runtime* runtime) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  std::vector<Value> items;
  for (const auto& [key, value] : self.dict().items) {
    RETURN_IF_ERROR(runtime->meter.Take(sizeof(Value)));
    if (part == DictPart::kItems) {
      ASSIGN_OR_RETURN(Value pair, MakeList({key, value}, &runtime->meter, /*tuple=*/true));
      items.push_back(std::move(pair));
    } else {
      items.push_back(part == DictPart::kKeys ? key : value);
    }
  }
  return MakeList(std::move(items), &runtime->meter);
}

const Methods& DictMethods() {
  static const auto* const methods = new Methods{
      {"keys", DictView<DictPart::kKeys>},
      {"values", DictView<DictPart::kValues>},
      {"items", DictView<DictPart::kItems>},
      {"copy", [](const Value& self, const Arguments&, Runtime*) -> MethodResult { return self; }},
      {"get",
       [](const Value& self, const Arguments& arguments, Runtime*) -> MethodResult {
         ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"key", "default"}, 1));
         const Value* item = self.dict().Find(*bound[0]);
         return item != nullptr ? *item : bound[1] != nullptr ? *bound[1] : Value::None();
       }},
  };
  return *methods;
}

// index (an error if there is none) and count of a list.
template <bool count>
MethodResult ListSearch(const Value& self, const Arguments& arguments, Runtime* runtime) {
  ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"value"}, 1));
  int64_t found = 0;
  const auto& items = self.list().items;
  for (size_t i = 0; i < items.size(); ++i) {
    ASSIGN_OR_RETURN(const bool equal, Equal(items[i], *bound[0], &runtime->meter));
    if (equal && !count) {
      return Value::Int(static_cast<int64_t>(i));
    }
    found += equal ? 1 : 0;
  }
  if (!count) {
    return absl::InvalidArgumentError("index: the value is not in the list");
  }
  return Value::Int(found);
}

const Methods& ListMethods() {
  static const auto* const methods = new Methods{
      {"index", ListSearch<false>},
      {"count", ListSearch<true>},
      {"copy", [](const Value& self, const Arguments&, Runtime*) -> MethodResult { return self; }},
  };
  return *methods;
}

const Methods& LoopMethods() {
  static const auto* const methods = new Methods{
      {"cycle",
       [](const Value& self, const Arguments& arguments, Runtime*) -> MethodResult {
         if (arguments.positional.empty() || !arguments.named.empty()) {
           return absl::InvalidArgumentError("loop.cycle needs items");
         }
         return arguments.positional[self.loop().index % arguments.positional.size()];
       }},
  };
  return *methods;
}

const Methods* MethodsOf(const Value& value) {
  switch (value.kind()) {
    case Kind::kString:
      return &StringMethods();
    case Kind::kDict:
      return &DictMethods();
    case Kind::kList:
      return &ListMethods();
    case Kind::kLoop:
      return &LoopMethods();
    default:
      return nullptr;
  }
}

}  // namespace

bool HasMethod(const Value& self, std::string_view name) {
  const Methods* methods = MethodsOf(self);
  return methods != nullptr && methods->contains(name);
}

absl::StatusOr<Value> CallMethod(const Value& self, std::string_view name,
                                 const Arguments& arguments, Runtime* runtime) {
  return MethodsOf(self)->at(name)(self, arguments, runtime);
}

}  // namespace alcca::jinja
