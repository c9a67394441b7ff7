#pragma once

// Tokens to a tree, by the grammar of jinja2 3.1 with the extension loopcontrols and the tag
// `generation` of transformers. Tags that read other files (include, import, extends) are refused.

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/jinja/ast.h"
#include "engine/text/jinja/lexer.h"

namespace alcca::jinja {

// The tokens and where the parser stands; what both halves of the parser share.
class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& Peek(size_t ahead = 0) const {
    return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
  }
  Token Next() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool At(TokenKind kind, std::string_view text) const {
    return Peek().kind == kind && Peek().text == text;
  }
  bool AtOperator(std::string_view text) const { return At(TokenKind::kOperator, text); }
  bool AtName(std::string_view text) const { return At(TokenKind::kName, text); }
  bool SkipOperator(std::string_view text) { return AtOperator(text) && Advance(); }
  bool SkipName(std::string_view text) { return AtName(text) && Advance(); }
  absl::Status Expect(TokenKind kind, std::string_view text);
  absl::StatusOr<std::string> ExpectName();
  absl::Status Fail(std::string_view what) const;

 private:
  bool Advance() {
    Next();
    return true;
  }
  std::vector<Token> tokens_;  // The last is kEnd.
  size_t at_ = 0;
};

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream* tokens) : tokens_(*tokens) {}

  absl::StatusOr<ExpressionPtr> Parse() { return ParseConditional(); }
  // One expression, or several with commas as a kTuple. `conditional`: `a if b` is one expression.
  absl::StatusOr<ExpressionPtr> ParseTuple(bool conditional, bool parentheses = false);
  // | name(...) | name(...) on `input`, which may be null; the first without '|' if `inline_start`.
  absl::StatusOr<ExpressionPtr> ParseFilters(ExpressionPtr input, bool inline_start);

 private:
  absl::StatusOr<ExpressionPtr> ParseConditional();
  absl::StatusOr<ExpressionPtr> ParseOr();
  absl::StatusOr<ExpressionPtr> ParseAnd();
  absl::StatusOr<ExpressionPtr> ParseNot();
  absl::StatusOr<ExpressionPtr> ParseCompare();
  absl::StatusOr<ExpressionPtr> ParseSum();
  absl::StatusOr<ExpressionPtr> ParseConcatenation();
  absl::StatusOr<ExpressionPtr> ParseProduct();
  absl::StatusOr<ExpressionPtr> ParsePower();
  absl::StatusOr<ExpressionPtr> ParseUnary(bool with_filters);
  absl::StatusOr<ExpressionPtr> ParsePrimary();
  absl::StatusOr<ExpressionPtr> ParseConstant();
  absl::StatusOr<ExpressionPtr> ParseList();
  absl::StatusOr<ExpressionPtr> ParseDict();
  absl::StatusOr<ExpressionPtr> ParsePostfix(ExpressionPtr value);
  absl::StatusOr<ExpressionPtr> ParseFiltersAndTests(ExpressionPtr value);
  absl::StatusOr<ExpressionPtr> ParseTest(ExpressionPtr value);
  absl::StatusOr<ExpressionPtr> ParseSubscript(ExpressionPtr value);
  absl::StatusOr<ExpressionPtr> ParseSubscripted();
  absl::StatusOr<ExpressionPtr> ParseCall(ExpressionPtr value);
  absl::Status ParseArguments(Expression* call);

  ExpressionPtr Make(ExpressionKind kind, std::string name = {}) const;
  absl::StatusOr<ExpressionPtr> Join(ExpressionPtr parent, std::vector<ExpressionPtr> operands);
  absl::Status Enter();  // Before a rule that may recurse without end.

  TokenStream& tokens_;
  int nesting_ = 0;
};

absl::StatusOr<Body> Parse(std::string_view source);

}  // namespace alcca::jinja
