#include "engine/text/jinja/string_literal.h"

#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/text/jinja/text.h"

namespace alcca::jinja {
namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// The `digits` hexadecimal digits at *at.
absl::StatusOr<char32_t> Hex(std::string_view s, size_t digits, size_t* at) {
  char32_t code = 0;
  for (size_t i = 0; i < digits; ++i, ++*at) {
    const int digit = *at < s.size() ? HexDigit(s[*at]) : -1;
    if (digit < 0) {
      return absl::InvalidArgumentError("a string has a cut escape");
    }
    code = code << 4 | static_cast<char32_t>(digit);
  }
  if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
    return absl::InvalidArgumentError("a string has an escape that is no character");
  }
  return code;
}

char32_t Octal(std::string_view s, size_t* at) {
  char32_t code = 0;
  for (size_t i = 0; i < 3 && *at < s.size() && s[*at] >= '0' && s[*at] <= '7'; ++i, ++*at) {
    code = code * 8 + static_cast<char32_t>(s[*at] - '0');
  }
  return code;
}

}  // namespace

absl::StatusOr<std::string> Unescape(std::string_view s) {
  constexpr std::string_view kLetters = "abfnrtv\\'\"";
  constexpr std::string_view kValues = "\a\b\f\n\r\t\v\\'\"";
  std::string out;
  for (size_t at = 0; at < s.size();) {
    if (s[at] != '\\' || at + 1 == s.size()) {
      out += s[at++];
      continue;
    }
    const char c = s[at + 1];
    if (const size_t simple = kLetters.find(c); simple != std::string_view::npos) {
      out += kValues[simple];
      at += 2;
    } else if (c == '\n') {
      at += 2;
    } else if (c == 'x' || c == 'u' || c == 'U') {
      at += 2;
      ASSIGN_OR_RETURN(const char32_t code, Hex(s, c == 'x' ? 2 : c == 'u' ? 4 : 8, &at));
      AppendUtf8(code, &out);
    } else if (c >= '0' && c <= '7') {
      AppendUtf8(Octal(s, &++at), &out);
    } else if (c == 'N') {
      return absl::InvalidArgumentError("a string has \\N{...}, which is not implemented");
    } else {
      out += '\\';
      ++at;
    }
  }
  return out;
}

}  // namespace alcca::jinja
