// The expressions of the grammar, loosest binding first.

#include <algorithm>
#include <charconv>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/text/jinja/parser.h"

namespace alcca::jinja {

using Expr = absl::StatusOr<ExpressionPtr>;

absl::Status TokenStream::Fail(std::string_view what) const {
  return absl::InvalidArgumentError(
      absl::StrCat("line ", Peek().line, ": ", absl::string_view(what.data(), what.size())));
}

absl::Status TokenStream::Expect(TokenKind kind, std::string_view text) {
  if (Peek().kind != kind || (!text.empty() && Peek().text != text)) {
    const std::string_view wanted = kind == TokenKind::kBlockEnd      ? "the end of the tag"
                                    : kind == TokenKind::kVariableEnd ? "}}"
                                                                      : text;
    return Fail(absl::StrCat("expected ", absl::string_view(wanted.data(), wanted.size())));
  }
  Next();
  return absl::OkStatus();
}

absl::StatusOr<std::string> TokenStream::ExpectName() {
  if (Peek().kind != TokenKind::kName) {
    return Fail("expected a name");
  }
  return Next().text;
}

ExpressionPtr ExpressionParser::Make(ExpressionKind kind, std::string name) const {
  auto expression = std::make_unique<Expression>();
  expression->kind = kind;
  expression->line = tokens_.Peek().line;
  expression->name = std::move(name);
  return expression;
}

Expr ExpressionParser::Join(ExpressionPtr parent, std::vector<ExpressionPtr> operands) {
  for (ExpressionPtr& operand : operands) {
    if (operand != nullptr) {
      parent->depth = std::max(parent->depth, operand->depth + 1);
    }
    parent->operands.push_back(std::move(operand));
  }
  if (parent->depth > kMaxTreeDepth) {
    return tokens_.Fail("an expression is nested too deeply");
  }
  return parent;
}

// Moves its arguments into a vector, which an initializer list cannot.
template <typename... Operands>
std::vector<ExpressionPtr> List(Operands... operands) {
  std::vector<ExpressionPtr> list;
  (list.push_back(std::move(operands)), ...);
  return list;
}

absl::Status ExpressionParser::Enter() {
  if (nesting_ >= kMaxTreeDepth / 2) {
    return tokens_.Fail("an expression is nested too deeply");
  }
  ++nesting_;
  return absl::OkStatus();
}

Expr ExpressionParser::ParseConditional() {
  RETURN_IF_ERROR(Enter());
  ASSIGN_OR_RETURN(ExpressionPtr value, ParseOr());
  while (tokens_.SkipName("if")) {
    ASSIGN_OR_RETURN(ExpressionPtr condition, ParseOr());
    ExpressionPtr other;
    if (tokens_.SkipName("else")) {
      ASSIGN_OR_RETURN(other, ParseConditional());
    }
    ASSIGN_OR_RETURN(value, Join(Make(ExpressionKind::kConditional),
                                 List(std::move(value), std::move(condition), std::move(other))));
  }
  --nesting_;
  return value;
}

Expr ExpressionParser::ParseOr() {
  ASSIGN_OR_RETURN(ExpressionPtr left, ParseAnd());
  while (tokens_.SkipName("or")) {
    ASSIGN_OR_RETURN(ExpressionPtr right, ParseAnd());
    ASSIGN_OR_RETURN(left,
                     Join(Make(ExpressionKind::kOr), List(std::move(left), std::move(right))));
  }
  return left;
}

Expr ExpressionParser::ParseAnd() {
  ASSIGN_OR_RETURN(ExpressionPtr left, ParseNot());
  while (tokens_.SkipName("and")) {
    ASSIGN_OR_RETURN(ExpressionPtr right, ParseNot());
    ASSIGN_OR_RETURN(left,
                     Join(Make(ExpressionKind::kAnd), List(std::move(left), std::move(right))));
  }
  return left;
}

Expr ExpressionParser::ParseNot() {
  if (!tokens_.SkipName("not")) {
    return ParseCompare();
  }
  RETURN_IF_ERROR(Enter());
  ASSIGN_OR_RETURN(ExpressionPtr value, ParseNot());
  --nesting_;
  return Join(Make(ExpressionKind::kNot), List(std::move(value)));
}

Expr ExpressionParser::ParseCompare() {
  ASSIGN_OR_RETURN(ExpressionPtr first, ParseSum());
  std::vector<std::string> operators;
  std::vector<ExpressionPtr> operands = List(std::move(first));
  while (true) {
    const Token& token = tokens_.Peek();
    if (token.kind == TokenKind::kOperator &&
        (token.text == "==" || token.text == "!=" || token.text == "<" || token.text == "<=" ||
         token.text == ">" || token.text == ">=")) {
      operators.push_back(tokens_.Next().text);
    } else if (tokens_.SkipName("in")) {
      operators.push_back("in");
    } else if (tokens_.AtName("not") && tokens_.Peek(1).kind == TokenKind::kName &&
               tokens_.Peek(1).text == "in") {
      tokens_.Next();
      tokens_.Next();
      operators.push_back("not in");
    } else {
      break;
    }
    ASSIGN_OR_RETURN(ExpressionPtr next, ParseSum());
    operands.push_back(std::move(next));
  }
  if (operators.empty()) {
    return std::move(operands[0]);
  }
  ExpressionPtr compare = Make(ExpressionKind::kCompare);
  compare->operators = std::move(operators);
  return Join(std::move(compare), std::move(operands));
}

Expr ExpressionParser::ParseSum() {
  ASSIGN_OR_RETURN(ExpressionPtr left, ParseConcatenation());
  while (tokens_.AtOperator("+") || tokens_.AtOperator("-")) {
    ExpressionPtr sum = Make(ExpressionKind::kBinary, tokens_.Next().text);
    ASSIGN_OR_RETURN(ExpressionPtr right, ParseConcatenation());
    ASSIGN_OR_RETURN(left, Join(std::move(sum), List(std::move(left), std::move(right))));
  }
  return left;
}

Expr ExpressionParser::ParseConcatenation() {
  ASSIGN_OR_RETURN(ExpressionPtr first, ParseProduct());
  if (!tokens_.AtOperator("~")) {
    return first;
  }
  std::vector<ExpressionPtr> operands = List(std::move(first));
  while (tokens_.SkipOperator("~")) {
    ASSIGN_OR_RETURN(ExpressionPtr next, ParseProduct());
    operands.push_back(std::move(next));
  }
  return Join(Make(ExpressionKind::kConcatenate), std::move(operands));
}

Expr ExpressionParser::ParseProduct() {
  ASSIGN_OR_RETURN(ExpressionPtr left, ParsePower());
  while (tokens_.AtOperator("*") || tokens_.AtOperator("/") || tokens_.AtOperator("//") ||
         tokens_.AtOperator("%")) {
    ExpressionPtr product = Make(ExpressionKind::kBinary, tokens_.Next().text);
    ASSIGN_OR_RETURN(ExpressionPtr right, ParsePower());
    ASSIGN_OR_RETURN(left, Join(std::move(product), List(std::move(left), std::move(right))));
  }
  return left;
}

Expr ExpressionParser::ParsePower() {
  ASSIGN_OR_RETURN(ExpressionPtr left, ParseUnary(true));
  while (tokens_.AtOperator("**")) {
    ExpressionPtr power = Make(ExpressionKind::kBinary, tokens_.Next().text);
    ASSIGN_OR_RETURN(ExpressionPtr right, ParseUnary(true));
    ASSIGN_OR_RETURN(left, Join(std::move(power), List(std::move(left), std::move(right))));
  }
  return left;
}

Expr ExpressionParser::ParseUnary(bool with_filters) {
  ExpressionPtr value;
  if (tokens_.AtOperator("-") || tokens_.AtOperator("+")) {
    const bool minus = tokens_.Next().text == "-";
    RETURN_IF_ERROR(Enter());
    ASSIGN_OR_RETURN(ExpressionPtr operand, ParseUnary(false));
    --nesting_;
    ASSIGN_OR_RETURN(value, Join(Make(minus ? ExpressionKind::kNegate : ExpressionKind::kPlus),
                                 List(std::move(operand))));
  } else {
    ASSIGN_OR_RETURN(value, ParsePrimary());
  }
  ASSIGN_OR_RETURN(value, ParsePostfix(std::move(value)));
  return with_filters ? ParseFiltersAndTests(std::move(value)) : std::move(value);
}

Expr ExpressionParser::ParseConstant() {
  ExpressionPtr constant = Make(ExpressionKind::kConstant);
  const Token token = tokens_.Next();
  if (token.kind == TokenKind::kString) {
    std::string text = token.text;
    while (tokens_.Peek().kind == TokenKind::kString) {
      text += tokens_.Next().text;
    }
    constant->constant = Value(Text(text, Origin::kTemplate));
    return constant;
  }
  const char* end = token.text.data() + token.text.size();
  int64_t integer = 0;
  double real = 0;
  if (token.kind == TokenKind::kFloat) {
    if (std::from_chars(token.text.data(), end, real).ec != std::errc()) {
      return tokens_.Fail("a number is out of range");
    }
    constant->constant = Value::Float(real);
    return constant;
  }
  if (std::from_chars(token.text.data(), end, integer).ec != std::errc()) {
    return tokens_.Fail("a number is out of range");
  }
  constant->constant = Value::Int(integer);
  return constant;
}

Expr ExpressionParser::ParsePrimary() {
  const Token& token = tokens_.Peek();
  switch (token.kind) {
    case TokenKind::kName: {
      ExpressionPtr constant = Make(ExpressionKind::kConstant);
      const std::string name = tokens_.Next().text;
      if (name == "true" || name == "True" || name == "false" || name == "False") {
        constant->constant = Value::Bool(name == "true" || name == "True");
      } else if (name == "none" || name == "None") {
        constant->constant = Value::None();
      } else {
        return Make(ExpressionKind::kName, name);
      }
      return constant;
    }
    case TokenKind::kString:
    case TokenKind::kInteger:
    case TokenKind::kFloat:
      return ParseConstant();
    default:
      if (tokens_.SkipOperator("(")) {
        ASSIGN_OR_RETURN(ExpressionPtr tuple, ParseTuple(true, true));
        RETURN_IF_ERROR(tokens_.Expect(TokenKind::kOperator, ")"));
        return tuple;
      }
      if (tokens_.SkipOperator("[")) {
        return ParseList();
      }
      if (tokens_.SkipOperator("{")) {
        return ParseDict();
      }
      return tokens_.Fail("expected an expression");
  }
}

Expr ExpressionParser::ParseTuple(bool conditional, bool parentheses) {
  std::vector<ExpressionPtr> items;
  bool is_tuple = false;
  const auto ends = [&] {
    const TokenKind kind = tokens_.Peek().kind;
    return kind == TokenKind::kBlockEnd || kind == TokenKind::kVariableEnd ||
           tokens_.AtOperator(")") || tokens_.AtName("recursive");
  };
  while (true) {
    if (!items.empty() && !tokens_.SkipOperator(",")) {
      break;
    }
    is_tuple = !items.empty();
    if (ends()) {
      break;
    }
    ASSIGN_OR_RETURN(ExpressionPtr item, conditional ? ParseConditional() : ParseOr());
    items.push_back(std::move(item));
  }
  if (!is_tuple && !items.empty()) {
    return std::move(items[0]);
  }
  if (items.empty() && !parentheses) {
    return tokens_.Fail("expected an expression");
  }
  return Join(Make(ExpressionKind::kTuple), std::move(items));
}

Expr ExpressionParser::ParseList() {
  std::vector<ExpressionPtr> items;
  while (!tokens_.AtOperator("]")) {
    if (!items.empty()) {
      RETURN_IF_ERROR(tokens_.Expect(TokenKind::kOperator, ","));
      if (tokens_.AtOperator("]")) {
        break;
      }
    }
    ASSIGN_OR_RETURN(ExpressionPtr item, Parse());
    items.push_back(std::move(item));
  }
  RETURN_IF_ERROR(tokens_.Expect(TokenKind::kOperator, "]"));
  return Join(Make(ExpressionKind::kList), std::move(items));
}

Expr ExpressionParser::ParseDict() {
  std::vector<ExpressionPtr> items;
  while (!tokens_.AtOperator("}")) {
    if (!items.empty()) {
      RETURN_IF_ERROR(tokens_.Expect(TokenKind::kOperator, ","));
      if (tokens_.AtOperator("}")) {
        break;
      }
    }
    ASSIGN_OR_RETURN(ExpressionPtr key, Parse());
    RETURN_IF_ERROR(tokens_.Expect(TokenKind::kOperator, ":"));
    ASSIGN_OR_RETURN(ExpressionPtr value, Parse());
    items.push_back(std::move(key));
    items.push_back(std::move(value));
  }
  RETURN_IF_ERROR(tokens_.Expect(TokenKind::kOperator, "}"));
  return Join(Make(ExpressionKind::kDict), std::move(items));
}

}  // namespace alcca::jinja
