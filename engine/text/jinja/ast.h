#pragma once

// A parsed template.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/text/jinja/value.h"

namespace alcca::jinja {

enum class ExpressionKind {
  kConstant,
  kName,
  kList,  // operands = items
  kTuple,
  kDict,       // operands = key, value, key, value, ...
  kAttribute,  // operands[0].name
  kItem,       // operands[0][operands[1]]
  kSlice,      // operands[1] of a kItem; start, stop, step, each may be null
  kCall,       // operands[0](operands[1...], named)
  kFilter,     // operands[0] | name(operands[1...], named); null in a filter block
  kTest,       // operands[0] is name(operands[1...], named)
  kNegate,     // unary minus
  kPlus,       // unary plus
  kNot,
  kAnd,
  kOr,
  kConcatenate,  // operands joined by ~
  kBinary,       // name = the operator
  kCompare,      // operands[0] op operands[1] op ...; operators in `operators`
  kConditional,  // operands[0] if operands[1] else operands[2], which may be null
};

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Expression {
  ExpressionKind kind;
  int line = 0;
  int depth = 1;  // Of the tree below.
  std::string name;
  Value constant;
  std::vector<ExpressionPtr> operands;
  std::vector<std::pair<std::string, ExpressionPtr>> named;  // Keyword arguments.
  std::vector<std::string> operators;
};

enum class StatementKind {
  kData,      // text
  kOutput,    // expressions
  kIf,        // if expressions[i] then bodies[i]; one more body is the else
  kFor,       // for targets in expressions[0] if expressions[1]: bodies[0] else bodies[1]
  kSet,       // targets = expressions[0]
  kSetBlock,  // targets = bodies[0], through filter expressions[0] (may be null)
  kMacro,     // name(parameters): bodies[0]
  kCall,      // expressions[0], a kCall, with bodies[0] as caller(parameters)
  kFilter,    // bodies[0] through expressions[0], a kFilter
  kWith,      // targets[i] = expressions[i] in bodies[0]
  kScope,     // bodies[0], with variables of its own
  kBreak,
  kContinue,
};

// What an assignment assigns to: a variable, or `space`.name of a namespace.
struct Target {
  std::string name;
  std::string space;
};

struct Parameter {
  std::string name;
  ExpressionPtr standard;  // The default; may be null.
};

struct Statement {
  Statement(StatementKind kind, int line) : kind(kind), line(line) {}

  StatementKind kind;
  int line;
  std::string name;
  Value text;  // Of kData.
  std::vector<ExpressionPtr> expressions;
  std::vector<std::vector<Statement>> bodies;
  std::vector<Target> targets;  // More than one = the value is unpacked.
  std::vector<Parameter> parameters;
};

using Body = std::vector<Statement>;

// Trees deeper than this are refused, so that walking and destroying one by recursion is safe.
inline constexpr int kMaxTreeDepth = 150;

}  // namespace alcca::jinja
