// x is name(...)

#include <unordered_map>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/text/jinja/operations.h"
#include "engine/text/jinja/runtime.h"
#include "engine/text/jinja/unicode.h"

namespace alcca::jinja {
namespace {

using Test = absl::StatusOr<bool> (*)(const Value&, const std::vector<Value>&, Runtime*);

using TestResult = absl::StatusOr<bool>;
using A = std::vector<Value>;

template <Kind kind>
TestResult IsKind(const Value& v, const A&, Runtime*) {
  return v.Is(kind);
}

TestResult IsDefined(const Value& v, const A&, Runtime*) {
  return !v.Is(Kind::kUndefined);
}

template <bool wanted>
TestResult IsBool(const Value& v, const A&, Runtime*) {
  return v.Is(Kind::kBool) && v.boolean() == wanted;
}

TestResult IsInteger(const Value& v, const A&, Runtime*) {
  return v.Is(Kind::kInt) || v.Is(Kind::kBigInt);
}

TestResult IsNumber(const Value& v, const A&, Runtime*) {
  return v.IsNumber() || v.Is(Kind::kBigInt);
}

TestResult IsSequence(const Value& v, const A&, Runtime*) {
  return v.Is(Kind::kString) || v.Is(Kind::kList) || v.Is(Kind::kDict) || v.Is(Kind::kUndefined);
}

TestResult IsIterable(const Value& v, const A& arguments, Runtime* runtime) {
  return v.Is(Kind::kGenerator) || v.Is(Kind::kLoop) ? true : IsSequence(v, arguments, runtime);
}

TestResult IsEscaped(const Value& v, const A&, Runtime*) {
  return v.markup();
}

// v % by == rest
TestResult Modulo(const Value& v, const Value& by, int64_t rest, Runtime* runtime) {
  ASSIGN_OR_RETURN(const Value remainder, Arithmetic("%", v, by, &runtime->meter));
  return Equal(remainder, Value::Int(rest), &runtime->meter);
}

template <int64_t rest>
TestResult IsParity(const Value& v, const A&, Runtime* runtime) {
  return Modulo(v, Value::Int(2), rest, runtime);
}

TestResult IsDivisible(const Value& v, const A& arguments, Runtime* runtime) {
  return Modulo(v, arguments[0], 0, runtime);
}

template <bool wanted>
TestResult Equals(const Value& v, const A& arguments, Runtime* runtime) {
  ASSIGN_OR_RETURN(const bool equal, Equal(v, arguments[0], &runtime->meter));
  return equal == wanted;
}

// v < argument; v > argument if `swaps`; their negations if not `wanted`.
template <bool swaps, bool wanted>
TestResult IsLess(const Value& v, const A& arguments, Runtime* runtime) {
  ASSIGN_OR_RETURN(const bool less, swaps ? Less(arguments[0], v, &runtime->meter)
                                          : Less(v, arguments[0], &runtime->meter));
  return less == wanted;
}

TestResult IsIn(const Value& v, const A& arguments, Runtime* runtime) {
  return Contains(arguments[0], v, &runtime->meter);
}

TestResult IsSame(const Value& v, const A& arguments, Runtime* runtime) {
  const Value& other = arguments[0];
  if (v.identity() != nullptr || other.identity() != nullptr || v.kind() != other.kind()) {
    return v.identity() == other.identity() && v.kind() == other.kind();
  }
  return Equal(v, other, &runtime->meter);
}

template <bool (*holds)(const Text&)>
TestResult IsCase(const Value& v, const A&, Runtime* runtime) {
  ASSIGN_OR_RETURN(const Value text, ToStringValue(v, &runtime->meter));
  RETURN_IF_ERROR(runtime->meter.Step(text.text().size() / 4));
  return holds(text.text());
}

struct Entry {
  size_t arguments;
  Test test;
};

const std::unordered_map<std::string_view, Entry>& Tests() {
  static const auto* const tests = new std::unordered_map<std::string_view, Entry>{
      {"boolean", {0, IsKind<Kind::kBool>}},
      {"callable", {0, IsKind<Kind::kCallable>}},
      {"defined", {0, IsDefined}},
      {"divisibleby", {1, IsDivisible}},
      {"eq", {1, Equals<true>}},
      {"escaped", {0, IsEscaped}},
      {"even", {0, IsParity<0>}},
      {"false", {0, IsBool<false>}},
      {"float", {0, IsKind<Kind::kFloat>}},
      {"ge", {1, IsLess<false, false>}},
      {"gt", {1, IsLess<true, true>}},
      {"in", {1, IsIn}},
      {"integer", {0, IsInteger}},
      {"iterable", {0, IsIterable}},
      {"le", {1, IsLess<true, false>}},
      {"lower", {0, IsCase<IsLower>}},
      {"lt", {1, IsLess<false, true>}},
      {"mapping", {0, IsKind<Kind::kDict>}},
      {"ne", {1, Equals<false>}},
      {"none", {0, IsKind<Kind::kNone>}},
      {"number", {0, IsNumber}},
      {"odd", {0, IsParity<1>}},
      {"sameas", {1, IsSame}},
      {"sequence", {0, IsSequence}},
      {"string", {0, IsKind<Kind::kString>}},
      {"true", {0, IsBool<true>}},
      {"undefined", {0, IsKind<Kind::kUndefined>}},
      {"upper", {0, IsCase<IsUpper>}},
  };
  return *tests;
}

std::string_view PlainName(std::string_view name) {
  static const auto* const names = new std::unordered_map<std::string_view, std::string_view>{
      {"equalto", "eq"},  {"==", "eq"}, {"!=", "ne"}, {"greaterthan", "gt"}, {">", "gt"},
      {"lessthan", "lt"}, {"<", "lt"},  {">=", "ge"}, {"<=", "le"}};
  const auto it = names->find(name);
  return it == names->end() ? name : it->second;
}

}  // namespace

absl::StatusOr<bool> CallTest(std::string_view name, const Value& input, const Arguments& arguments,
                              Runtime* runtime) {
  const auto it = Tests().find(PlainName(name));
  if (it == Tests().end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the test '", std::string(name.substr(0, 60)), "' is not implemented"));
  }
  if (arguments.positional.size() != it->second.arguments || !arguments.named.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("the test '", std::string(name), "' takes ",
                                                   it->second.arguments, " arguments"));
  }
  return it->second.test(input, arguments.positional, runtime);
}

}  // namespace alcca::jinja
