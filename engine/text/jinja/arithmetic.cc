#include <cmath>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/text/jinja/format.h"
#include "engine/text/jinja/operations.h"

namespace alcca::jinja {
namespace {

absl::Status Overflow() {
  return absl::InvalidArgumentError("an integer has more than 64 bits");
}

absl::Status ByZero() {
  return absl::InvalidArgumentError("division by zero");
}

absl::StatusOr<Value> Power(const Value& a, const Value& b, Origin origin) {
  if (a.Is(Kind::kFloat) || b.Is(Kind::kFloat) || b.AsInt() < 0) {
    if (a.AsDouble() == 0 && b.AsDouble() < 0) {
      return ByZero();
    }
    return Value::Float(std::pow(a.AsDouble(), b.AsDouble()), origin);
  }
  int64_t result = 1, base = a.AsInt();
  for (int64_t exponent = b.AsInt(); exponent > 0; exponent >>= 1) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) {
      return Overflow();
    }
    if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) {
      return Overflow();
    }
  }
  return Value::Int(result, origin);
}

absl::StatusOr<Value> OfFloats(std::string_view op, double a, double b, Origin origin) {
  if (op == "+" || op == "-" || op == "*") {
    return Value::Float(op == "+" ? a + b : op == "-" ? a - b : a * b, origin);
  }
  if (b == 0) {
    return ByZero();
  }
  if (op == "/") {
    return Value::Float(a / b, origin);
  }
  // As Python: the remainder has the divisor's sign.
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) {
    rest += b;
  }
  if (op == "%") {
    return Value::Float(rest == 0 ? std::copysign(0.0, b) : rest, origin);
  }
  return Value::Float(std::nearbyint((a - rest) / b), origin);
}

absl::StatusOr<Value> OfInts(std::string_view op, int64_t a, int64_t b, Origin origin) {
  int64_t result = 0;
  if (op == "+" || op == "-" || op == "*") {
    const bool overflow = op == "+"   ? __builtin_add_overflow(a, b, &result)
                          : op == "-" ? __builtin_sub_overflow(a, b, &result)
                                      : __builtin_mul_overflow(a, b, &result);
    if (overflow) {
      return Overflow();
    }
    return Value::Int(result, origin);
  }
  if (b == 0) {
    return ByZero();
  }
  if (op == "/") {
    return Value::Float(static_cast<double>(a) / static_cast<double>(b), origin);
  }
  if (b == -1) {  // INT64_MIN / -1 overflows.
    return op == "%" ? Value::Int(0, origin) : OfInts("-", 0, a, origin);
  }
  const int64_t rest = a % b;
  const bool moves = rest != 0 && (rest < 0) != (b < 0);
  return Value::Int(op == "%" ? rest + (moves ? b : 0) : a / b - (moves ? 1 : 0), origin);
}

absl::StatusOr<Value> AddStrings(const Value& a, const Value& b, Meter* meter) {
  const bool markup = a.markup() || b.markup();
  RETURN_IF_ERROR(meter->Take(sizeof(Text) + a.text().cost() + b.text().cost()));
  Text sum = markup && !a.markup() ? EscapeHtml(a.text()) : a.text();
  sum.Append(markup && !b.markup() ? EscapeHtml(b.text()) : b.text());
  return Value(std::make_shared<const Text>(std::move(sum)), markup);
}

absl::StatusOr<Value> Repeat(const Value& value, int64_t times, Meter* meter) {
  const auto count = static_cast<uint64_t>(std::max<int64_t>(times, 0));
  const uint64_t cost =
      value.Is(Kind::kString) ? value.text().cost() : value.list().items.size() * sizeof(Value);
  // Each time is a step as well, so that the product below cannot overflow.
  RETURN_IF_ERROR(meter->Step(cost == 0 ? 0 : count));
  RETURN_IF_ERROR(meter->Take(cost * (cost == 0 ? 0 : count)));
  if (value.Is(Kind::kString)) {
    Text text;
    for (uint64_t i = 0; i < count && cost > 0; ++i) {
      text.Append(value.text());
    }
    return Value(std::move(text));
  }
  std::vector<Value> items;
  for (uint64_t i = 0; i < count && cost > 0; ++i) {
    items.insert(items.end(), value.list().items.begin(), value.list().items.end());
  }
  return MakeList(std::move(items), meter, value.list().tuple);
}

bool IsInteger(const Value& value) {
  return value.Is(Kind::kInt) || value.Is(Kind::kBool);
}

bool IsSequence(const Value& value) {
  return value.Is(Kind::kString) || value.Is(Kind::kList);
}

}  // namespace

absl::StatusOr<Value> Arithmetic(std::string_view op, const Value& a, const Value& b,
                                 Meter* meter) {
  if (a.IsNumber() && b.IsNumber()) {
    const Origin origin = Joined(a, b);
    if (op == "**") {
      return Power(a, b, origin);
    }
    return a.Is(Kind::kFloat) || b.Is(Kind::kFloat)
               ? OfFloats(op, a.AsDouble(), b.AsDouble(), origin)
               : OfInts(op, a.AsInt(), b.AsInt(), origin);
  }
  if (op == "+" && a.Is(Kind::kString) && b.Is(Kind::kString)) {
    return AddStrings(a, b, meter);
  }
  if (op == "+" && a.Is(Kind::kList) && b.Is(Kind::kList) && a.list().tuple == b.list().tuple) {
    RETURN_IF_ERROR(meter->Take((a.list().items.size() + b.list().items.size()) * sizeof(Value)));
    std::vector<Value> items = a.list().items;
    items.insert(items.end(), b.list().items.begin(), b.list().items.end());
    return MakeList(std::move(items), meter, a.list().tuple);
  }
  if (op == "*" && IsSequence(a) && IsInteger(b)) {
    return Repeat(a, b.AsInt(), meter);
  }
  if (op == "*" && IsInteger(a) && IsSequence(b)) {
    return Repeat(b, a.AsInt(), meter);
  }
  if (op == "%" && a.Is(Kind::kString)) {
    return PercentFormat(a.text(), b, meter);
  }
  RETURN_IF_ERROR(CheckDefined(a));
  RETURN_IF_ERROR(CheckDefined(b));
  return absl::InvalidArgumentError(absl::StrCat("cannot compute ", std::string(a.TypeName()), " ",
                                                 std::string(op), " ", std::string(b.TypeName())));
}

absl::StatusOr<Value> Negate(const Value& value) {
  if (value.Is(Kind::kFloat)) {
    return Value::Float(-value.real(), value.origin());
  }
  if (IsInteger(value)) {
    return OfInts("-", 0, value.AsInt(), value.origin());
  }
  RETURN_IF_ERROR(CheckDefined(value));
  return absl::InvalidArgumentError(
      absl::StrCat("cannot negate a ", std::string(value.TypeName())));
}

}  // namespace alcca::jinja
