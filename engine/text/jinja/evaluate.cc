// The value of an expression.

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/text/jinja/interpreter.h"
#include "engine/text/jinja/operations.h"

namespace alcca::jinja {

Interpreter::Result Interpreter::Evaluate(const Expression& expression, Scope* scope) {
  RETURN_IF_ERROR(runtime_.meter.Step());
  if (depth_ >= runtime_.meter.limits().depth) {
    return absl::ResourceExhaustedError(
        absl::StrCat("is nested more than ", runtime_.meter.limits().depth, " deep"));
  }
  ++depth_;
  Result value = EvaluateKind(expression, scope);
  --depth_;
  return value;
}

Interpreter::Result Interpreter::EvaluateKind(const Expression& expression, Scope* scope) {
  const auto& operands = expression.operands;
  switch (expression.kind) {
    case ExpressionKind::kConstant:
      return expression.constant;
    case ExpressionKind::kName:
      return EvaluateName(expression.name, scope);
    case ExpressionKind::kList:
    case ExpressionKind::kTuple:
      return EvaluateList(expression, scope);
    case ExpressionKind::kDict:
      return EvaluateDict(expression, scope);
    case ExpressionKind::kAttribute: {
      ASSIGN_OR_RETURN(const Value value, Evaluate(*operands[0], scope));
      return GetAttribute(value, expression.name, &runtime_);
    }
    case ExpressionKind::kItem:
      return EvaluateItem(expression, scope);
    case ExpressionKind::kCall: {
      ASSIGN_OR_RETURN(const Value callee, Evaluate(*operands[0], scope));
      ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(expression, scope));
      return Call(callee, arguments);
    }
    case ExpressionKind::kFilter:
      return ApplyFilter(expression, nullptr, scope);
    case ExpressionKind::kTest:
      return EvaluateTest(expression, scope);
    case ExpressionKind::kCompare:
      return EvaluateCompare(expression, scope);
    case ExpressionKind::kConcatenate:
      return EvaluateConcatenation(expression, scope);
    case ExpressionKind::kConditional: {
      ASSIGN_OR_RETURN(const Value condition, Evaluate(*operands[1], scope));
      if (condition.Truth()) {
        return Evaluate(*operands[0], scope);
      }
      return operands[2] != nullptr ? Evaluate(*operands[2], scope)
                                    : Value::UndefinedAs("an 'if' without 'else'");
    }
    default:
      break;
  }
  ASSIGN_OR_RETURN(Value first, Evaluate(*operands[0], scope));
  switch (expression.kind) {
    case ExpressionKind::kAnd:
      return first.Truth() ? Evaluate(*operands[1], scope) : std::move(first);
    case ExpressionKind::kOr:
      return first.Truth() ? std::move(first) : Evaluate(*operands[1], scope);
    case ExpressionKind::kNot:
      return Value::Bool(!first.Truth());
    case ExpressionKind::kNegate:
      return Negate(first);
    case ExpressionKind::kPlus:
      return Arithmetic("+", Value::Int(0), first, &runtime_.meter);
    default: {
      ASSIGN_OR_RETURN(const Value second, Evaluate(*operands[1], scope));
      return Arithmetic(expression.name, first, second, &runtime_.meter);
    }
  }
}

Interpreter::Result Interpreter::EvaluateName(std::string_view name, Scope* scope) {
  for (const Scope* at = scope; at != nullptr; at = at->outer) {
    if (const auto it = at->variables.find(name); it != at->variables.end()) {
      return it->second;
    }
    RETURN_IF_ERROR(runtime_.meter.Step());
  }
  if (const auto it = variables_.find(std::string(name)); it != variables_.end()) {
    return it->second;
  }
  if (IsFunction(name)) {
    RETURN_IF_ERROR(runtime_.meter.Take(sizeof(Callable)));
    Callable function;
    function.name = std::string(name);
    return Value(std::make_shared<const Callable>(std::move(function)));
  }
  return Value::UndefinedAs(absl::StrCat("'", absl::string_view(name.data(), name.size()), "'"));
}

Interpreter::Result Interpreter::EvaluateItem(const Expression& expression, Scope* scope) {
  ASSIGN_OR_RETURN(const Value value, Evaluate(*expression.operands[0], scope));
  const Expression& key = *expression.operands[1];
  if (key.kind != ExpressionKind::kSlice) {
    ASSIGN_OR_RETURN(const Value index, Evaluate(key, scope));
    return GetItem(value, index, &runtime_);
  }
  Value parts[3] = {Value::None(), Value::None(), Value::None()};
  for (size_t i = 0; i < 3; ++i) {
    if (key.operands[i] != nullptr) {
      ASSIGN_OR_RETURN(parts[i], Evaluate(*key.operands[i], scope));
    }
  }
  return Slice(value, parts[0], parts[1], parts[2], &runtime_.meter);
}

Interpreter::Result Interpreter::EvaluateList(const Expression& expression, Scope* scope) {
  std::vector<Value> items;
  for (const ExpressionPtr& operand : expression.operands) {
    ASSIGN_OR_RETURN(Value item, Evaluate(*operand, scope));
    items.push_back(std::move(item));
  }
  return MakeList(std::move(items), &runtime_.meter, expression.kind == ExpressionKind::kTuple);
}

Interpreter::Result Interpreter::EvaluateDict(const Expression& expression, Scope* scope) {
  Dict dict;
  for (size_t i = 0; i + 1 < expression.operands.size(); i += 2) {
    ASSIGN_OR_RETURN(Value key, Evaluate(*expression.operands[i], scope));
    ASSIGN_OR_RETURN(Value value, Evaluate(*expression.operands[i + 1], scope));
    if (key.Is(Kind::kString)) {
      RETURN_IF_ERROR(runtime_.meter.Take(key.text().size()));
    }
    if (!dict.Add(std::move(key), std::move(value))) {
      return absl::InvalidArgumentError("a value that cannot be a key of a dict");
    }
  }
  return MakeDict(std::move(dict), &runtime_.meter);
}

absl::StatusOr<bool> Interpreter::Holds(std::string_view op, const Value& a, const Value& b) {
  Meter* meter = &runtime_.meter;
  if (op == "in" || op == "not in") {
    ASSIGN_OR_RETURN(const bool contains, Contains(b, a, meter));
    return contains == (op == "in");
  }
  if (op == "==" || op == "!=") {
    ASSIGN_OR_RETURN(const bool equal, Equal(a, b, meter));
    return equal == (op == "==");
  }
  const bool swaps = op == ">" || op == ">=";
  ASSIGN_OR_RETURN(const bool less, Less(swaps ? b : a, swaps ? a : b, meter));
  return less || op == "<" || op == ">" ? less : Equal(a, b, meter);
}

Interpreter::Result Interpreter::EvaluateCompare(const Expression& expression, Scope* scope) {
  ASSIGN_OR_RETURN(Value left, Evaluate(*expression.operands[0], scope));
  for (size_t i = 0; i < expression.operators.size(); ++i) {
    ASSIGN_OR_RETURN(Value right, Evaluate(*expression.operands[i + 1], scope));
    ASSIGN_OR_RETURN(const bool holds, Holds(expression.operators[i], left, right));
    if (!holds) {
      return Value::Bool(false);
    }
    left = std::move(right);
  }
  return Value::Bool(true);
}

Interpreter::Result Interpreter::EvaluateConcatenation(const Expression& expression, Scope* scope) {
  Text text;
  for (const ExpressionPtr& operand : expression.operands) {
    ASSIGN_OR_RETURN(const Value value, Evaluate(*operand, scope));
    RETURN_IF_ERROR(AppendString(value, &runtime_.meter, &text));
  }
  return MakeString(std::move(text), &runtime_.meter);
}

Interpreter::Result Interpreter::EvaluateTest(const Expression& expression, Scope* scope) {
  ASSIGN_OR_RETURN(const Value value, Evaluate(*expression.operands[0], scope));
  ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(expression, scope));
  ASSIGN_OR_RETURN(const bool passes, CallTest(expression.name, value, arguments, &runtime_));
  return Value::Bool(passes);
}

// Arguments of a call, filter or test stand behind the operand that it is about.
absl::StatusOr<Arguments> Interpreter::EvaluateArguments(const Expression& call, Scope* scope) {
  Arguments arguments;
  for (size_t i = 1; i < call.operands.size(); ++i) {
    ASSIGN_OR_RETURN(Value value, Evaluate(*call.operands[i], scope));
    arguments.positional.push_back(std::move(value));
  }
  for (const auto& [name, expression] : call.named) {
    ASSIGN_OR_RETURN(Value value, Evaluate(*expression, scope));
    arguments.named.emplace_back(name, std::move(value));
  }
  return arguments;
}

Interpreter::Result Interpreter::ApplyFilter(const Expression& filter, const Value* input,
                                             Scope* scope) {
  Value value;
  if (const Expression* operand = filter.operands[0].get(); operand == nullptr) {
    value = *input;
  } else if (operand->kind == ExpressionKind::kFilter) {
    RETURN_IF_ERROR(runtime_.meter.Step());
    ASSIGN_OR_RETURN(value, ApplyFilter(*operand, input, scope));
  } else {
    ASSIGN_OR_RETURN(value, Evaluate(*operand, scope));
  }
  ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(filter, scope));
  return CallFilter(filter.name, value, arguments, &runtime_);
}

Interpreter::Result Interpreter::Call(const Value& callee, const Arguments& arguments) {
  if (!callee.Is(Kind::kCallable)) {
    RETURN_IF_ERROR(CheckDefined(callee));
    return absl::InvalidArgumentError(
        absl::StrCat("a value of type ", std::string(callee.TypeName()), " cannot be called"));
  }
  const Callable& callable = callee.callable();
  if (callable.macro != nullptr) {
    return CallMacro(callable, arguments);
  }
  const Result result = callable.method
                            ? CallMethod(callable.self, callable.name, arguments, &runtime_)
                            : CallFunction(callable.name, arguments, &runtime_);
  if (absl::IsInvalidArgument(result.status()) && callable.name != "raise_exception") {
    return absl::InvalidArgumentError(absl::StrCat(callable.name, ": ", result.status().message()));
  }
  return result;
}

}  // namespace alcca::jinja
