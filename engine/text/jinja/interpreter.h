#pragma once

// Walks a parsed template.

#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "absl/status/statusor.h"
#include "engine/text/jinja/ast.h"
#include "engine/text/jinja/runtime.h"
#include "engine/text/jinja/text.h"

namespace alcca::jinja {

using Variables = std::unordered_map<std::string, Value>;

class Interpreter {
 public:
  // `body` and `variables` outlive the interpreter.
  Interpreter(const Body& body, const Variables& variables, Runtime* runtime)
      : body_(body), variables_(variables), runtime_(*runtime) {}

  absl::StatusOr<Text> Run();

 private:
  enum class Flow { kNext, kBreak, kContinue };
  // Variables of the template, a loop's turn, a macro's call or a block.
  struct Scope {
    std::unordered_map<std::string_view, Value> variables;  // Names live in the tree.
    Scope* outer = nullptr;
  };
  using Result = absl::StatusOr<Value>;

  // Statements.
  absl::StatusOr<Flow> Execute(const Body& body, Scope* scope, Text* out);
  absl::StatusOr<Flow> ExecuteOne(const Statement& statement, Scope* scope, Text* out);
  absl::StatusOr<Flow> ExecuteIf(const Statement& statement, Scope* scope, Text* out);
  absl::StatusOr<Flow> ExecuteFor(const Statement& statement, Scope* scope, Text* out);
  absl::Status ExecuteBlock(const Statement& statement, Scope* scope, Text* out);
  absl::Status ExecuteWith(const Statement& statement, Scope* scope, Text* out);
  absl::Status ExecuteCallBlock(const Statement& statement, Scope* scope, Text* out);
  // The output of a body with variables of its own, as a string.
  Result Capture(const Body& body, Scope* scope);
  absl::Status Assign(const Statement& statement, const Value& value, Scope* scope);
  absl::Status AssignOne(const Target& target, const Value& value, Scope* scope);
  Result MakeMacro(const Statement& statement, Scope* scope);
  Result CallMacro(const Callable& macro, const Arguments& arguments);
  absl::Status CheckOutput(const Text& out) const;

  // Expressions.
  Result Evaluate(const Expression& expression, Scope* scope);
  Result EvaluateKind(const Expression& expression, Scope* scope);
  Result EvaluateName(std::string_view name, Scope* scope);
  Result EvaluateItem(const Expression& expression, Scope* scope);
  Result EvaluateList(const Expression& expression, Scope* scope);
  Result EvaluateDict(const Expression& expression, Scope* scope);
  Result EvaluateCompare(const Expression& expression, Scope* scope);
  Result EvaluateConcatenation(const Expression& expression, Scope* scope);
  Result EvaluateTest(const Expression& expression, Scope* scope);
  Result Call(const Value& callee, const Arguments& arguments);
  // A chain of filters from the inside out; `input` stands for an operand that is null.
  Result ApplyFilter(const Expression& filter, const Value* input, Scope* scope);
  absl::StatusOr<Arguments> EvaluateArguments(const Expression& call, Scope* scope);
  absl::StatusOr<bool> Holds(std::string_view op, const Value& a, const Value& b);

  const Body& body_;
  const Variables& variables_;
  Runtime& runtime_;
  Scope root_;
  int depth_ = 0;
};

}  // namespace alcca::jinja
