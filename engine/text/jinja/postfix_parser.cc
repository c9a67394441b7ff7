// What follows a value in an expression: attributes, items, calls, filters, tests.

#include <utility>

#include "base/status_macros.h"
#include "engine/text/jinja/parser.h"

namespace alcca::jinja {

using Expr = absl::StatusOr<ExpressionPtr>;

Expr ExpressionParser::ParsePostfix(ExpressionPtr value) {
  while (true) {
    if (tokens_.AtOperator(".") || tokens_.AtOperator("[")) {
      ASSIGN_OR_RETURN(value, ParseSubscript(std::move(value)));
    } else if (tokens_.AtOperator("(")) {
      ASSIGN_OR_RETURN(value, ParseCall(std::move(value)));
    } else {
      return value;
    }
  }
}

Expr ExpressionParser::ParseFiltersAndTests(ExpressionPtr value) {
  while (true) {
    if (tokens_.AtOperator("|")) {
      ASSIGN_OR_RETURN(value, ParseFilters(std::move(value), false));
    } else if (tokens_.AtName("is")) {
      ASSIGN_OR_RETURN(value, ParseTest(std::move(value)));
    } else if (tokens_.AtOperator("(")) {
      ASSIGN_OR_RETURN(value, ParseCall(std::move(value)));
    } else {
      return value;
    }
  }
}

Expr ExpressionParser::ParseSubscript(ExpressionPtr value) {
  std::vector<ExpressionPtr> operands;
  operands.push_back(std::move(value));
  if (tokens_.SkipOperator(".")) {
    if (tokens_.Peek().kind == TokenKind::kName) {
      return Join(Make(ExpressionKind::kAttribute, tokens_.Next().text), std::move(operands));
    }
    if (tokens_.Peek().kind != TokenKind::kInteger) {
      return tokens_.Fail("expected a name or a number after '.'");
    }
    ASSIGN_OR_RETURN(ExpressionPtr index, ParseConstant());
    operands.push_back(std::move(index));
    return Join(Make(ExpressionKind::kItem), std::move(operands));
  }
  tokens_.Next();
  std::vector<ExpressionPtr> arguments;
  while (!tokens_.AtOperator("]")) {
    if (!arguments.empty()) {
      RETURN_IF_ERROR(tokens_.Expect(TokenKind::kOperator, ","));
    }
    ASSIGN_OR_RETURN(ExpressionPtr argument, ParseSubscripted());
    arguments.push_back(std::move(argument));
  }
  RETURN_IF_ERROR(tokens_.Expect(TokenKind::kOperator, "]"));
  if (arguments.size() != 1) {
    return tokens_.Fail("expected one index");
  }
  operands.push_back(std::move(arguments[0]));
  return Join(Make(ExpressionKind::kItem), std::move(operands));
}

// An index, or start:stop:step.
Expr ExpressionParser::ParseSubscripted() {
  std::vector<ExpressionPtr> parts(3);
  const auto ends = [&] { return tokens_.AtOperator("]") || tokens_.AtOperator(","); };
  if (!tokens_.AtOperator(":")) {
    ASSIGN_OR_RETURN(parts[0], Parse());
    if (!tokens_.AtOperator(":")) {
      return std::move(parts[0]);
    }
  }
  tokens_.Next();
  if (!tokens_.AtOperator(":") && !ends()) {
    ASSIGN_OR_RETURN(parts[1], Parse());
  }
  if (tokens_.SkipOperator(":") && !ends()) {
    ASSIGN_OR_RETURN(parts[2], Parse());
  }
  return Join(Make(ExpressionKind::kSlice), std::move(parts));
}

Expr ExpressionParser::ParseCall(ExpressionPtr value) {
  std::vector<ExpressionPtr> operands;
  operands.push_back(std::move(value));
  ASSIGN_OR_RETURN(ExpressionPtr call, Join(Make(ExpressionKind::kCall), std::move(operands)));
  RETURN_IF_ERROR(ParseArguments(call.get()));
  return call;
}

// ( value, ..., name=value, ... )
absl::Status ExpressionParser::ParseArguments(Expression* call) {
  RETURN_IF_ERROR(tokens_.Expect(TokenKind::kOperator, "("));
  bool first = true;
  while (!tokens_.AtOperator(")")) {
    if (!first) {
      RETURN_IF_ERROR(tokens_.Expect(TokenKind::kOperator, ","));
      if (tokens_.AtOperator(")")) {
        break;
      }
    }
    first = false;
    if (tokens_.AtOperator("*") || tokens_.AtOperator("**")) {
      return tokens_.Fail("arguments from a list or dict (*, **) are not implemented");
    }
    const bool named = tokens_.Peek().kind == TokenKind::kName &&
                       tokens_.Peek(1).kind == TokenKind::kOperator && tokens_.Peek(1).text == "=";
    if (!named && !call->named.empty()) {
      return tokens_.Fail("an argument without a name follows one with a name");
    }
    std::string name = named ? tokens_.Next().text : std::string();
    if (named) {
      tokens_.Next();
    }
    ASSIGN_OR_RETURN(ExpressionPtr value, Parse());
    call->depth = std::max(call->depth, value->depth + 1);
    if (named) {
      call->named.emplace_back(std::move(name), std::move(value));
    } else {
      call->operands.push_back(std::move(value));
    }
  }
  return tokens_.Expect(TokenKind::kOperator, ")");
}

Expr ExpressionParser::ParseFilters(ExpressionPtr input, bool inline_start) {
  while (inline_start || tokens_.SkipOperator("|")) {
    inline_start = false;
    ASSIGN_OR_RETURN(const std::string name, tokens_.ExpectName());
    std::vector<ExpressionPtr> operands;
    operands.push_back(std::move(input));
    ASSIGN_OR_RETURN(input, Join(Make(ExpressionKind::kFilter, name), std::move(operands)));
    if (tokens_.AtOperator("(")) {
      RETURN_IF_ERROR(ParseArguments(input.get()));
    }
  }
  return input;
}

// is [not] name [argument | (arguments)]
Expr ExpressionParser::ParseTest(ExpressionPtr value) {
  tokens_.Next();
  const bool negated = tokens_.SkipName("not");
  ASSIGN_OR_RETURN(const std::string name, tokens_.ExpectName());
  std::vector<ExpressionPtr> operands;
  operands.push_back(std::move(value));
  ASSIGN_OR_RETURN(ExpressionPtr test,
                   Join(Make(ExpressionKind::kTest, name), std::move(operands)));
  const Token& token = tokens_.Peek();
  const bool has_argument = token.kind == TokenKind::kString || token.kind == TokenKind::kInteger ||
                            token.kind == TokenKind::kFloat || tokens_.AtOperator("[") ||
                            tokens_.AtOperator("{") ||
                            (token.kind == TokenKind::kName && token.text != "else" &&
                             token.text != "or" && token.text != "and");
  if (tokens_.AtOperator("(")) {
    RETURN_IF_ERROR(ParseArguments(test.get()));
  } else if (has_argument) {
    if (token.text == "is" && token.kind == TokenKind::kName) {
      return tokens_.Fail("tests do not chain with 'is'");
    }
    ASSIGN_OR_RETURN(ExpressionPtr argument, ParsePrimary());
    ASSIGN_OR_RETURN(argument, ParsePostfix(std::move(argument)));
    test->depth = std::max(test->depth, argument->depth + 1);
    test->operands.push_back(std::move(argument));
  }
  if (!negated) {
    return test;
  }
  std::vector<ExpressionPtr> tests;
  tests.push_back(std::move(test));
  return Join(Make(ExpressionKind::kNot), std::move(tests));
}

}  // namespace alcca::jinja
