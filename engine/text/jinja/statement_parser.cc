// The tags of the grammar.

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/text/jinja/parser.h"

namespace alcca::jinja {
namespace {

class StatementParser {
 public:
  explicit StatementParser(std::vector<Token> tokens)
      : tokens_(std::move(tokens)), expressions_(&tokens_) {}

  absl::StatusOr<Body> ParseTemplate() { return ParseBody({}); }

 private:
  using Ends = std::initializer_list<std::string_view>;

  // Up to the tag of one of `ends`, whose name is the next token then; else to the end.
  absl::StatusOr<Body> ParseBody(Ends ends);
  // A body that ends with the tag `end`, which is consumed but for its end.
  absl::Status ParseLastBody(std::string_view end, Statement* statement);
  absl::StatusOr<Statement> ParseTag();
  absl::Status ParseOutput(Body* body);
  absl::Status ParseIf(Statement* statement);
  absl::Status ParseFor(Statement* statement);
  absl::Status ParseSet(Statement* statement);
  absl::Status ParseMacro(Statement* statement);
  absl::Status ParseCallBlock(Statement* statement);
  absl::Status ParseFilterBlock(Statement* statement);
  absl::Status ParseWith(Statement* statement);
  absl::Status ParseSignature(Statement* statement);
  absl::Status ParseTargets(bool with_namespace, Statement* statement);
  absl::StatusOr<Target> ParseTarget(bool with_namespace);

  TokenStream tokens_;
  ExpressionParser expressions_;
  int nesting_ = 0;  // Tags around.
  int loops_ = 0;    // Loops around, within the macro.
};

absl::StatusOr<Body> StatementParser::ParseBody(Ends ends) {
  if (++nesting_ > kMaxTreeDepth / 2) {
    return tokens_.Fail("tags are nested too deeply");
  }
  Body body;
  while (tokens_.Peek().kind != TokenKind::kEnd) {
    const Token token = tokens_.Next();
    if (token.kind == TokenKind::kData) {
      Statement data(StatementKind::kData, token.line);
      data.text = Value(Text(token.text, Origin::kTemplate));
      body.push_back(std::move(data));
    } else if (token.kind == TokenKind::kVariableBegin) {
      RETURN_IF_ERROR(ParseOutput(&body));
    } else {
      if (std::any_of(ends.begin(), ends.end(),
                      [this](std::string_view end) { return tokens_.AtName(end); })) {
        --nesting_;
        return body;
      }
      ASSIGN_OR_RETURN(Statement statement, ParseTag());
      RETURN_IF_ERROR(tokens_.Expect(TokenKind::kBlockEnd, ""));
      body.push_back(std::move(statement));
    }
  }
  if (ends.size() > 0) {
    const std::string_view end = *(ends.end() - 1);
    return tokens_.Fail(
        absl::StrCat("the template ends before '", absl::string_view(end.data(), end.size()), "'"));
  }
  --nesting_;
  return body;
}

absl::Status StatementParser::ParseOutput(Body* body) {
  Statement output(StatementKind::kOutput, tokens_.Peek().line);
  ASSIGN_OR_RETURN(ExpressionPtr value, expressions_.ParseTuple(true));
  output.expressions.push_back(std::move(value));
  body->push_back(std::move(output));
  return tokens_.Expect(TokenKind::kVariableEnd, "");
}

absl::Status StatementParser::ParseLastBody(std::string_view end, Statement* statement) {
  RETURN_IF_ERROR(tokens_.Expect(TokenKind::kBlockEnd, ""));
  ASSIGN_OR_RETURN(Body body, ParseBody({end}));
  statement->bodies.push_back(std::move(body));
  tokens_.Next();
  return absl::OkStatus();
}

absl::StatusOr<Statement> StatementParser::ParseTag() {
  ASSIGN_OR_RETURN(const std::string tag, tokens_.ExpectName());
  Statement statement(StatementKind::kScope, tokens_.Peek().line);
  absl::Status status;
  if (tag == "if") {
    status = ParseIf(&statement);
  } else if (tag == "for") {
    status = ParseFor(&statement);
  } else if (tag == "set") {
    status = ParseSet(&statement);
  } else if (tag == "macro") {
    status = ParseMacro(&statement);
  } else if (tag == "call") {
    status = ParseCallBlock(&statement);
  } else if (tag == "filter") {
    status = ParseFilterBlock(&statement);
  } else if (tag == "with") {
    status = ParseWith(&statement);
  } else if (tag == "generation") {
    status = ParseLastBody("endgeneration", &statement);
  } else if (tag == "break" || tag == "continue") {
    statement.kind = tag == "break" ? StatementKind::kBreak : StatementKind::kContinue;
    status = loops_ > 0 ? absl::OkStatus() : tokens_.Fail(absl::StrCat("'", tag, "' in no loop"));
  } else {
    status = tokens_.Fail(absl::StrCat("the tag '", tag, "' is not implemented"));
  }
  if (!status.ok()) {
    return status;
  }
  return statement;
}

absl::Status StatementParser::ParseIf(Statement* statement) {
  statement->kind = StatementKind::kIf;
  while (true) {
    ASSIGN_OR_RETURN(ExpressionPtr condition, expressions_.ParseTuple(false));
    statement->expressions.push_back(std::move(condition));
    RETURN_IF_ERROR(tokens_.Expect(TokenKind::kBlockEnd, ""));
    ASSIGN_OR_RETURN(Body body, ParseBody({"elif", "else", "endif"}));
    statement->bodies.push_back(std::move(body));
    const std::string tag = tokens_.Next().text;
    if (tag == "else") {
      return ParseLastBody("endif", statement);
    }
    if (tag == "endif") {
      return absl::OkStatus();
    }
  }
}

absl::Status StatementParser::ParseFor(Statement* statement) {
  statement->kind = StatementKind::kFor;
  RETURN_IF_ERROR(ParseTargets(false, statement));
  RETURN_IF_ERROR(tokens_.Expect(TokenKind::kName, "in"));
  ASSIGN_OR_RETURN(ExpressionPtr sequence, expressions_.ParseTuple(false));
  statement->expressions.push_back(std::move(sequence));
  statement->expressions.emplace_back();
  if (tokens_.SkipName("if")) {
    ASSIGN_OR_RETURN(statement->expressions[1], expressions_.Parse());
  }
  if (tokens_.AtName("recursive")) {
    return tokens_.Fail("recursive loops are not implemented");
  }
  RETURN_IF_ERROR(tokens_.Expect(TokenKind::kBlockEnd, ""));
  ++loops_;
  ASSIGN_OR_RETURN(Body body, ParseBody({"else", "endfor"}));
  --loops_;
  statement->bodies.push_back(std::move(body));
  if (tokens_.Next().text == "else") {
    return ParseLastBody("endfor", statement);
  }
  statement->bodies.emplace_back();
  return absl::OkStatus();
}

// name, or space.name of a namespace.
absl::StatusOr<Target> StatementParser::ParseTarget(bool with_namespace) {
  Target target;
  ASSIGN_OR_RETURN(target.name, tokens_.ExpectName());
  if (with_namespace && tokens_.SkipOperator(".")) {
    target.space = std::move(target.name);
    ASSIGN_OR_RETURN(target.name, tokens_.ExpectName());
    return target;
  }
  for (const std::string_view word : {"true", "false", "none", "True", "False", "None"}) {
    if (target.name == word) {
      return tokens_.Fail(absl::StrCat("cannot assign to '", target.name, "'"));
    }
  }
  return target;
}

absl::Status StatementParser::ParseTargets(bool with_namespace, Statement* statement) {
  const bool parentheses = tokens_.SkipOperator("(");
  bool comma = false;
  do {
    ASSIGN_OR_RETURN(Target target, ParseTarget(with_namespace));
    statement->targets.push_back(std::move(target));
    comma = tokens_.SkipOperator(",");
  } while (comma);
  return parentheses ? tokens_.Expect(TokenKind::kOperator, ")") : absl::OkStatus();
}

absl::Status StatementParser::ParseSet(Statement* statement) {
  statement->kind = StatementKind::kSet;
  RETURN_IF_ERROR(ParseTargets(true, statement));
  if (tokens_.SkipOperator("=")) {
    ASSIGN_OR_RETURN(ExpressionPtr value, expressions_.ParseTuple(true));
    statement->expressions.push_back(std::move(value));
    return absl::OkStatus();
  }
  statement->kind = StatementKind::kSetBlock;
  ASSIGN_OR_RETURN(ExpressionPtr filter, expressions_.ParseFilters(nullptr, false));
  statement->expressions.push_back(std::move(filter));
  return ParseLastBody("endset", statement);
}

absl::Status StatementParser::ParseSignature(Statement* statement) {
  RETURN_IF_ERROR(tokens_.Expect(TokenKind::kOperator, "("));
  while (!tokens_.AtOperator(")")) {
    if (!statement->parameters.empty()) {
      RETURN_IF_ERROR(tokens_.Expect(TokenKind::kOperator, ","));
    }
    Parameter parameter;
    ASSIGN_OR_RETURN(parameter.name, tokens_.ExpectName());
    if (tokens_.SkipOperator("=")) {
      ASSIGN_OR_RETURN(parameter.standard, expressions_.Parse());
    } else if (!statement->parameters.empty() && statement->parameters.back().standard != nullptr) {
      return tokens_.Fail("a parameter without a default follows one with a default");
    }
    statement->parameters.push_back(std::move(parameter));
  }
  return tokens_.Expect(TokenKind::kOperator, ")");
}

absl::Status StatementParser::ParseMacro(Statement* statement) {
  statement->kind = StatementKind::kMacro;
  ASSIGN_OR_RETURN(statement->name, tokens_.ExpectName());
  RETURN_IF_ERROR(ParseSignature(statement));
  const int loops = std::exchange(loops_, 0);
  RETURN_IF_ERROR(ParseLastBody("endmacro", statement));
  loops_ = loops;
  return absl::OkStatus();
}

absl::Status StatementParser::ParseCallBlock(Statement* statement) {
  statement->kind = StatementKind::kCall;
  statement->name = "caller";
  if (tokens_.AtOperator("(")) {
    RETURN_IF_ERROR(ParseSignature(statement));
  }
  ASSIGN_OR_RETURN(ExpressionPtr call, expressions_.Parse());
  if (call->kind != ExpressionKind::kCall) {
    return tokens_.Fail("expected a call");
  }
  statement->expressions.push_back(std::move(call));
  const int loops = std::exchange(loops_, 0);
  RETURN_IF_ERROR(ParseLastBody("endcall", statement));
  loops_ = loops;
  return absl::OkStatus();
}

absl::Status StatementParser::ParseFilterBlock(Statement* statement) {
  statement->kind = StatementKind::kFilter;
  ASSIGN_OR_RETURN(ExpressionPtr filter, expressions_.ParseFilters(nullptr, true));
  statement->expressions.push_back(std::move(filter));
  return ParseLastBody("endfilter", statement);
}

absl::Status StatementParser::ParseWith(Statement* statement) {
  statement->kind = StatementKind::kWith;
  while (tokens_.Peek().kind != TokenKind::kBlockEnd) {
    if (!statement->targets.empty()) {
      RETURN_IF_ERROR(tokens_.Expect(TokenKind::kOperator, ","));
    }
    ASSIGN_OR_RETURN(Target target, ParseTarget(false));
    RETURN_IF_ERROR(tokens_.Expect(TokenKind::kOperator, "="));
    ASSIGN_OR_RETURN(ExpressionPtr value, expressions_.Parse());
    statement->targets.push_back(std::move(target));
    statement->expressions.push_back(std::move(value));
  }
  return ParseLastBody("endwith", statement);
}

}  // namespace

absl::StatusOr<Body> Parse(std::string_view source) {
  ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(source));
  return StatementParser(std::move(tokens)).ParseTemplate();
}

}  // namespace alcca::jinja
