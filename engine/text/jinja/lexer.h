#pragma once

// A template's source cut into tokens, with the white space that transformers' settings remove
// (trim_blocks, lstrip_blocks, and '-' and '+' in the tags) gone. The rules are those of jinja2's
// lexer, 3.1.

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace alcca::jinja {

enum class TokenKind {
  kData,  // Text between tags.
  kVariableBegin,
  kVariableEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,  // `text` is the value: quotes and escapes are gone.
  kInteger,
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  int line = 0;
  std::string text;
};

inline constexpr size_t kMaxTemplateBytes = size_t{1} << 20;
inline constexpr size_t kMaxTemplateTokens = 200'000;

// Ends with kEnd. INVALID_ARGUMENT: "line 3: unexpected character '?'".
absl::StatusOr<std::vector<Token>> Tokenize(std::string_view source);

}  // namespace alcca::jinja
