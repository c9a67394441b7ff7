#include "engine/text/jinja/interpreter.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/text/jinja/operations.h"

namespace alcca::jinja {
namespace {

// Names the line where an error arose; outer lines are not added.
absl::Status AtLine(int line, const absl::Status& status) {
  if (std::string_view(status.message().data(), status.message().size()).starts_with("line ")) {
    return status;
  }
  return absl::Status(status.code(), absl::StrCat("line ", line, ": ", status.message()));
}

}  // namespace

absl::StatusOr<Text> Interpreter::Run() {
  Text out;
  RETURN_IF_ERROR(Execute(body_, &root_, &out).status());
  return out;
}

absl::Status Interpreter::CheckOutput(const Text& out) const {
  if (out.size() > runtime_.meter.limits().output_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("writes more than ", runtime_.meter.limits().output_bytes, " bytes"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Interpreter::Flow> Interpreter::Execute(const Body& body, Scope* scope, Text* out) {
  if (depth_ >= runtime_.meter.limits().depth) {
    return absl::ResourceExhaustedError(
        absl::StrCat("is nested more than ", runtime_.meter.limits().depth, " deep"));
  }
  ++depth_;
  for (const Statement& statement : body) {
    absl::Status status = runtime_.meter.Step();
    if (status.ok()) {
      const absl::StatusOr<Flow> flow = ExecuteOne(statement, scope, out);
      if (flow.ok() && *flow != Flow::kNext) {
        --depth_;
        return *flow;
      }
      status = flow.status();
    }
    if (!status.ok()) {
      return AtLine(statement.line, status);
    }
  }
  --depth_;
  return Flow::kNext;
}

absl::StatusOr<Interpreter::Flow> Interpreter::ExecuteOne(const Statement& statement, Scope* scope,
                                                          Text* out) {
  switch (statement.kind) {
    case StatementKind::kData:
      RETURN_IF_ERROR(AppendString(statement.text, &runtime_.meter, out));
      RETURN_IF_ERROR(CheckOutput(*out));
      return Flow::kNext;
    case StatementKind::kOutput: {
      ASSIGN_OR_RETURN(const Value value, Evaluate(*statement.expressions[0], scope));
      RETURN_IF_ERROR(AppendString(value, &runtime_.meter, out));
      RETURN_IF_ERROR(CheckOutput(*out));
      return Flow::kNext;
    }
    case StatementKind::kIf:
      return ExecuteIf(statement, scope, out);
    case StatementKind::kFor:
      return ExecuteFor(statement, scope, out);
    case StatementKind::kSet: {
      ASSIGN_OR_RETURN(const Value value, Evaluate(*statement.expressions[0], scope));
      RETURN_IF_ERROR(Assign(statement, value, scope));
      return Flow::kNext;
    }
    case StatementKind::kMacro: {
      ASSIGN_OR_RETURN(Value macro, MakeMacro(statement, scope));
      scope->variables[statement.name] = std::move(macro);
      return Flow::kNext;
    }
    case StatementKind::kScope: {
      Scope inner{{}, scope};
      return Execute(statement.bodies[0], &inner, out);
    }
    case StatementKind::kWith:
      RETURN_IF_ERROR(ExecuteWith(statement, scope, out));
      return Flow::kNext;
    case StatementKind::kCall:
      RETURN_IF_ERROR(ExecuteCallBlock(statement, scope, out));
      return Flow::kNext;
    case StatementKind::kSetBlock:
    case StatementKind::kFilter:
      RETURN_IF_ERROR(ExecuteBlock(statement, scope, out));
      return Flow::kNext;
    case StatementKind::kBreak:
      return Flow::kBreak;
    case StatementKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

absl::StatusOr<Interpreter::Flow> Interpreter::ExecuteIf(const Statement& statement, Scope* scope,
                                                         Text* out) {
  for (size_t i = 0; i < statement.bodies.size(); ++i) {
    if (i == statement.expressions.size()) {
      return Execute(statement.bodies[i], scope, out);
    }
    ASSIGN_OR_RETURN(const Value condition, Evaluate(*statement.expressions[i], scope));
    if (condition.Truth()) {
      return Execute(statement.bodies[i], scope, out);
    }
  }
  return Flow::kNext;
}

absl::StatusOr<Interpreter::Flow> Interpreter::ExecuteFor(const Statement& statement, Scope* scope,
                                                          Text* out) {
  ASSIGN_OR_RETURN(const Value sequence, Evaluate(*statement.expressions[0], scope));
  ASSIGN_OR_RETURN(std::vector<Value> items, Iterate(sequence, &runtime_.meter));
  if (const Expression* condition = statement.expressions[1].get()) {
    std::vector<Value> kept;
    for (Value& item : items) {
      RETURN_IF_ERROR(runtime_.meter.Step());
      Scope turn{{}, scope};
      RETURN_IF_ERROR(Assign(statement, item, &turn));
      ASSIGN_OR_RETURN(const Value keeps, Evaluate(*condition, &turn));
      if (keeps.Truth()) {
        kept.push_back(std::move(item));
      }
    }
    items = std::move(kept);
  }
  if (items.empty()) {
    Scope inner{{}, scope};
    return Execute(statement.bodies[1], &inner, out);
  }
  // Its depth is that of a list of the same items.
  ASSIGN_OR_RETURN(const Value list, MakeList(items, &runtime_.meter));
  auto loop = std::make_shared<Loop>();
  loop->items = std::move(items);
  loop->depth = list.depth();
  for (; loop->index < loop->items.size(); ++loop->index) {
    RETURN_IF_ERROR(runtime_.meter.Step());
    Scope turn{{}, scope};
    turn.variables["loop"] = Value(loop);
    RETURN_IF_ERROR(Assign(statement, loop->items[loop->index], &turn));
    ASSIGN_OR_RETURN(const Flow flow, Execute(statement.bodies[0], &turn, out));
    if (flow == Flow::kBreak) {
      break;
    }
  }
  return Flow::kNext;
}

Interpreter::Result Interpreter::Capture(const Body& body, Scope* scope) {
  Scope inner{{}, scope};
  Text text;
  RETURN_IF_ERROR(Execute(body, &inner, &text).status());
  return MakeString(std::move(text), &runtime_.meter);
}

// {% set x %}...{% endset %} and {% filter f %}...{% endfilter %}
absl::Status Interpreter::ExecuteBlock(const Statement& statement, Scope* scope, Text* out) {
  ASSIGN_OR_RETURN(Value value, Capture(statement.bodies[0], scope));
  if (statement.expressions[0] != nullptr) {
    ASSIGN_OR_RETURN(value, ApplyFilter(*statement.expressions[0], &value, scope));
  }
  if (statement.kind == StatementKind::kSetBlock) {
    return Assign(statement, value, scope);
  }
  RETURN_IF_ERROR(AppendString(value, &runtime_.meter, out));
  return CheckOutput(*out);
}

absl::Status Interpreter::ExecuteWith(const Statement& statement, Scope* scope, Text* out) {
  Scope inner{{}, scope};
  for (size_t i = 0; i < statement.targets.size(); ++i) {
    ASSIGN_OR_RETURN(const Value value, Evaluate(*statement.expressions[i], scope));
    RETURN_IF_ERROR(AssignOne(statement.targets[i], value, &inner));
  }
  return Execute(statement.bodies[0], &inner, out).status();
}

absl::Status Interpreter::ExecuteCallBlock(const Statement& statement, Scope* scope, Text* out) {
  const Expression& call = *statement.expressions[0];
  ASSIGN_OR_RETURN(const Value callee, Evaluate(*call.operands[0], scope));
  ASSIGN_OR_RETURN(Arguments arguments, EvaluateArguments(call, scope));
  ASSIGN_OR_RETURN(Value caller, MakeMacro(statement, scope));
  arguments.named.emplace_back("caller", std::move(caller));
  ASSIGN_OR_RETURN(const Value value, Call(callee, arguments));
  RETURN_IF_ERROR(AppendString(value, &runtime_.meter, out));
  return CheckOutput(*out);
}

absl::Status Interpreter::Assign(const Statement& statement, const Value& value, Scope* scope) {
  if (statement.targets.size() == 1) {
    return AssignOne(statement.targets[0], value, scope);
  }
  ASSIGN_OR_RETURN(const std::vector<Value> parts, Iterate(value, &runtime_.meter));
  if (parts.size() != statement.targets.size()) {
    return absl::InvalidArgumentError(absl::StrCat("cannot assign ", parts.size(), " values to ",
                                                   statement.targets.size(), " names"));
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    RETURN_IF_ERROR(AssignOne(statement.targets[i], parts[i], scope));
  }
  return absl::OkStatus();
}

absl::Status Interpreter::AssignOne(const Target& target, const Value& value, Scope* scope) {
  RETURN_IF_ERROR(runtime_.meter.Take(sizeof(Value) + 64));
  if (target.space.empty()) {
    scope->variables[target.name] = value;
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const Value space, EvaluateName(target.space, scope));
  if (!space.Is(Kind::kNamespace)) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", target.space, "' is no namespace, so its attributes cannot be set"));
  }
  space.space().values[target.name] = value;
  return absl::OkStatus();
}

Interpreter::Result Interpreter::MakeMacro(const Statement& statement, Scope* scope) {
  Callable macro;
  macro.name = statement.name;
  macro.macro = &statement;
  for (const Scope* outer = scope; outer != &root_ && outer != nullptr; outer = outer->outer) {
    for (const auto& [name, value] : outer->variables) {
      RETURN_IF_ERROR(runtime_.meter.Take(name.size() + sizeof(Value) + 64));
      if (macro.closure.emplace(name, value).second) {
        macro.depth = std::max(macro.depth, value.depth() + 1);
      }
    }
  }
  if (macro.depth > kMaxNesting) {
    return absl::InvalidArgumentError("values are nested too deeply");
  }
  RETURN_IF_ERROR(runtime_.meter.Take(sizeof(Callable)));
  return Value(std::make_shared<const Callable>(std::move(macro)));
}

Interpreter::Result Interpreter::CallMacro(const Callable& macro, const Arguments& arguments) {
  const std::vector<Parameter>& parameters = macro.macro->parameters;
  Scope closure{{}, &root_};
  for (const auto& [name, value] : macro.closure) {
    RETURN_IF_ERROR(runtime_.meter.Step());
    closure.variables[name] = value;
  }
  Scope scope{{}, &closure};
  for (const auto& [name, value] : arguments.named) {
    bool known = name == "caller";
    for (size_t i = 0; i < parameters.size(); ++i) {
      known |= parameters[i].name == name && i >= arguments.positional.size();
    }
    if (!known) {
      return absl::InvalidArgumentError(
          absl::StrCat("macro ", macro.name, ": unexpected argument '", name, "'"));
    }
    scope.variables[name] = value;
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (i < arguments.positional.size()) {
      scope.variables[parameters[i].name] = arguments.positional[i];
    } else if (!scope.variables.contains(parameters[i].name)) {
      Value value = Value::UndefinedAs(absl::StrCat("parameter '", parameters[i].name, "'"));
      if (parameters[i].standard != nullptr) {
        ASSIGN_OR_RETURN(value, Evaluate(*parameters[i].standard, &scope));
      }
      scope.variables[parameters[i].name] = std::move(value);
    }
  }
  if (arguments.positional.size() > parameters.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("macro ", macro.name, " takes at most ", parameters.size(), " arguments"));
  }
  Text text;
  RETURN_IF_ERROR(Execute(macro.macro->bodies[0], &scope, &text).status());
  return MakeString(std::move(text), &runtime_.meter);
}

}  // namespace alcca::jinja
