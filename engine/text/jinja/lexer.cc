#include "engine/text/jinja/lexer.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/text/jinja/string_literal.h"
#include "engine/text/jinja/unicode.h"

namespace alcca::jinja {
namespace {

bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}
bool IsNameStart(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

// One kind of line end, and no line end at the end of the file.
std::string NormalizeNewlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
    } else {
      out += '\n';
      i += i + 1 < source.size() && source[i + 1] == '\n' ? 1 : 0;
    }
  }
  if (out.ends_with('\n')) {
    out.pop_back();
  }
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  absl::StatusOr<std::vector<Token>> Run() {
    while (at_ < source_.size()) {
      RETURN_IF_ERROR(ReadData());
    }
    Add(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  absl::Status Fail(std::string_view what) const {
    return absl::InvalidArgumentError(
        absl::StrCat("line ", line_, ": ", absl::string_view(what.data(), what.size())));
  }
  std::string_view Rest() const { return std::string_view(source_).substr(at_); }
  void Add(TokenKind kind, std::string_view text) {
    tokens_.push_back({kind, line_, std::string(text)});
  }
  // Moves on by `bytes`, and counts lines.
  void Skip(size_t bytes) {
    const auto begin = source_.begin() + static_cast<std::ptrdiff_t>(at_);
    line_ += static_cast<int>(std::count(begin, begin + static_cast<std::ptrdiff_t>(bytes), '\n'));
    at_ += bytes;
    if (bytes > 0) {
      line_starting_ = source_[at_ - 1] == '\n';
    }
  }
  size_t SpaceAt(size_t at) const {
    size_t end = at;
    while (end < source_.size()) {
      size_t next = end;
      if (!IsSpace(NextCodePoint(source_, &next))) {
        break;
      }
      end = next;
    }
    return end - at;
  }

  absl::Status ReadData();
  absl::Status ReadTag(char kind);
  absl::Status ReadComment();
  absl::StatusOr<bool> ReadRaw();
  absl::Status ReadExpression(TokenKind end_kind, std::string_view end);
  absl::Status ReadToken();
  absl::Status ReadNumber();
  absl::Status ReadString();
  absl::Status ReadOperator();
  void AddData(std::string_view text, char sign, bool strips_line);
  size_t SkipKeyword(size_t at, std::string_view keyword) const;

  const std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // The last thing read ended a line.
  std::string open_;           // Closing brackets that are due, innermost last.
  std::vector<Token> tokens_;
};

// `sign` is what follows the tag's beginning; `strips_line`: lstrip_blocks concerns this tag.
void Lexer::AddData(std::string_view text, char sign, bool strips_line) {
  if (sign == '-') {
    size_t keep = 0;
    for (size_t at = 0; at < text.size();) {
      if (!IsSpace(NextCodePoint(text, &at))) {
        keep = at;
      }
    }
    text = text.substr(0, keep);
  } else if (sign != '+' && strips_line) {
    const size_t newline = text.rfind('\n');
    const size_t line = newline == std::string_view::npos ? 0 : newline + 1;
    if (line > 0 || line_starting_) {
      size_t at = line;
      bool blank = true;
      while (at < text.size() && blank) {
        blank = IsSpace(NextCodePoint(text, &at));
      }
      if (blank) {
        text = text.substr(0, line);
      }
    }
  }
  if (!text.empty()) {
    Add(TokenKind::kData, text);
  }
}

// Text up to the next tag, and that tag.
absl::Status Lexer::ReadData() {
  size_t tag = at_;
  while (true) {
    tag = source_.find('{', tag);
    if (tag == std::string::npos || tag + 1 >= source_.size()) {
      AddData(Rest(), '+', false);
      at_ = source_.size();
      return absl::OkStatus();
    }
    if (source_[tag + 1] == '{' || source_[tag + 1] == '%' || source_[tag + 1] == '#') {
      break;
    }
    ++tag;
  }
  const char kind = source_[tag + 1];
  const char after = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
  const char sign = after == '-' || after == '+' ? after : '\0';
  AddData(Rest().substr(0, tag - at_), sign, kind != '{');
  Skip(tag - at_);
  if (tokens_.size() > kMaxTemplateTokens) {
    return Fail("too many tokens");
  }
  return ReadTag(kind);
}

absl::Status Lexer::ReadTag(char kind) {
  if (kind == '#') {
    return ReadComment();
  }
  if (kind == '%') {
    ASSIGN_OR_RETURN(const bool raw, ReadRaw());
    if (raw) {
      return absl::OkStatus();
    }
  }
  Add(kind == '{' ? TokenKind::kVariableBegin : TokenKind::kBlockBegin, "");
  Skip(2);
  if (!Rest().empty() && (Rest()[0] == '-' || Rest()[0] == '+')) {
    Skip(1);
  }
  return kind == '{' ? ReadExpression(TokenKind::kVariableEnd, "}}")
                     : ReadExpression(TokenKind::kBlockEnd, "%}");
}

absl::Status Lexer::ReadComment() {
  size_t begin = at_ + 2;
  begin += begin < source_.size() && (source_[begin] == '-' || source_[begin] == '+') ? 1 : 0;
  const size_t end = source_.find("#}", begin);
  if (begin >= source_.size()) {  // Which jinja2 takes for a comment.
    at_ = source_.size();
    return absl::OkStatus();
  }
  if (end == std::string::npos) {
    return Fail("a comment does not end");
  }
  const char sign = end > begin ? source_[end - 1] : '\0';
  Skip(end + 2 - at_);
  if (sign == '-') {
    Skip(SpaceAt(at_));
  } else if (sign != '+' && Rest().starts_with('\n')) {
    Skip(1);
  }
  return absl::OkStatus();
}

// Where `keyword` ends that may have blanks before it; npos if it is not there.
size_t Lexer::SkipKeyword(size_t at, std::string_view keyword) const {
  at += SpaceAt(at);
  return std::string_view(source_).substr(at).starts_with(keyword) ? at + keyword.size()
                                                                   : std::string::npos;
}

// {% raw %} ... {% endraw %}, if it stands here.
absl::StatusOr<bool> Lexer::ReadRaw() {
  size_t at = at_ + 2;
  at += at < source_.size() && (source_[at] == '-' || source_[at] == '+') ? 1 : 0;
  at = SkipKeyword(at, "raw");
  if (at == std::string::npos) {
    return false;
  }
  at += SpaceAt(at);
  const std::string_view rest = std::string_view(source_).substr(at);
  if (!rest.starts_with("%}") && !rest.starts_with("-%}")) {
    return false;
  }
  const bool strips = rest[0] == '-';
  Skip(at + (strips ? 3 : 2) - at_);
  if (strips) {
    Skip(SpaceAt(at_));
  }
  for (size_t tag = source_.find("{%", at_); tag != std::string::npos;
       tag = source_.find("{%", tag + 2)) {
    size_t end = tag + 2;
    const char sign = end < source_.size() ? source_[end] : '\0';
    end += sign == '-' || sign == '+' ? 1 : 0;
    end = SkipKeyword(end, "endraw");
    if (end == std::string::npos) {
      continue;
    }
    end += SpaceAt(end);
    const char end_sign = end < source_.size() ? source_[end] : '\0';
    end += end_sign == '-' || end_sign == '+' ? 1 : 0;
    if (!std::string_view(source_).substr(end).starts_with("%}")) {
      continue;
    }
    AddData(Rest().substr(0, tag - at_), sign, true);
    Skip(end + 2 - at_);
    if (end_sign == '-') {
      Skip(SpaceAt(at_));
    } else if (end_sign != '+' && Rest().starts_with('\n')) {
      Skip(1);
    }
    return true;
  }
  return Fail("'raw' has no 'endraw'");
}

absl::Status Lexer::ReadExpression(TokenKind end_kind, std::string_view end) {
  open_.clear();
  while (at_ < source_.size()) {
    if (tokens_.size() > kMaxTemplateTokens) {
      return Fail("too many tokens");
    }
    if (open_.empty()) {
      const std::string_view rest = Rest();
      const bool block = end_kind == TokenKind::kBlockEnd;
      const bool strips = rest.starts_with('-') && rest.substr(1).starts_with(end);
      const bool keeps = block && rest.starts_with('+') && rest.substr(1).starts_with(end);
      if (strips || keeps || rest.starts_with(end)) {
        Add(end_kind, "");
        Skip(end.size() + (strips || keeps ? 1 : 0));
        if (strips) {
          Skip(SpaceAt(at_));
        } else if (block && !keeps && Rest().starts_with('\n')) {
          Skip(1);
        }
        return absl::OkStatus();
      }
    }
    RETURN_IF_ERROR(ReadToken());
  }
  return Fail(
      absl::StrCat("a tag does not end with '", absl::string_view(end.data(), end.size()), "'"));
}

absl::Status Lexer::ReadToken() {
  if (const size_t space = SpaceAt(at_); space > 0) {
    Skip(space);
    return absl::OkStatus();
  }
  const char c = source_[at_];
  if (IsDigit(c)) {
    return ReadNumber();
  }
  if (IsNameStart(c)) {
    size_t end = at_ + 1;
    while (end < source_.size() && (IsNameStart(source_[end]) || IsDigit(source_[end]))) {
      ++end;
    }
    Add(TokenKind::kName, Rest().substr(0, end - at_));
    Skip(end - at_);
    return absl::OkStatus();
  }
  return c == '"' || c == '\'' ? ReadString() : ReadOperator();
}

absl::Status Lexer::ReadNumber() {
  const bool after_dot = at_ > 0 && source_[at_ - 1] == '.';
  std::string digits;
  size_t end = at_;
  const auto read_digits = [&] {
    while (end < source_.size() &&
           (IsDigit(source_[end]) ||
            (source_[end] == '_' && end + 1 < source_.size() && IsDigit(source_[end + 1])))) {
      if (source_[end] != '_') {
        digits += source_[end];
      }
      ++end;
    }
  };
  const auto digit_at = [&](size_t at) { return at < source_.size() && IsDigit(source_[at]); };
  read_digits();
  bool is_float = false;
  if (!after_dot && end < source_.size() && source_[end] == '.' && digit_at(end + 1)) {
    is_float = true;
    digits += source_[end++];
    read_digits();
  }
  if (!after_dot && end < source_.size() && (source_[end] | 0x20) == 'e') {
    const bool sign =
        end + 1 < source_.size() && (source_[end + 1] == '-' || source_[end + 1] == '+');
    if (digit_at(end + 1 + (sign ? 1 : 0))) {
      is_float = true;
      digits.append(source_, end, sign ? 2 : 1);
      end += sign ? 2 : 1;
      read_digits();
    }
  }
  if (!is_float && digits.size() > 1 && digits[0] == '0' &&
      digits.find_first_not_of('0') != std::string::npos) {
    return Fail("a number begins with 0");
  }
  Add(is_float ? TokenKind::kFloat : TokenKind::kInteger, digits);
  Skip(end - at_);
  return absl::OkStatus();
}

absl::Status Lexer::ReadString() {
  const char quote = source_[at_];
  size_t end = at_ + 1;
  while (end < source_.size() && source_[end] != quote) {
    end += source_[end] == '\\' ? 2 : 1;
  }
  if (end >= source_.size()) {
    return Fail("a string does not end");
  }
  absl::StatusOr<std::string> value = Unescape(Rest().substr(1, end - at_ - 1));
  if (!value.ok()) {
    return Fail(std::string(value.status().message()));
  }
  Add(TokenKind::kString, *value);
  Skip(end + 1 - at_);
  return absl::OkStatus();
}

absl::Status Lexer::ReadOperator() {
  constexpr std::string_view kTwo[] = {"//", "**", "==", "!=", ">=", "<="};
  constexpr std::string_view kOne = "+-/*%~[](){}><=.:|,;";
  const std::string_view rest = Rest();
  for (const std::string_view two : kTwo) {
    if (rest.starts_with(two)) {
      Add(TokenKind::kOperator, two);
      Skip(2);
      return absl::OkStatus();
    }
  }
  const char c = rest[0];
  if (kOne.find(c) == std::string_view::npos) {
    return Fail(absl::StrCat("unexpected character '", absl::CHexEscape(std::string(1, c)), "'"));
  }
  if (c == '(' || c == '[' || c == '{') {
    open_ += c == '(' ? ')' : c == '[' ? ']' : '}';
  } else if (c == ')' || c == ']' || c == '}') {
    if (open_.empty() || open_.back() != c) {
      return Fail(absl::StrCat("unexpected '", std::string(1, c), "'"));
    }
    open_.pop_back();
  }
  Add(TokenKind::kOperator, rest.substr(0, 1));
  Skip(1);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<Token>> Tokenize(std::string_view source) {
  if (source.size() > kMaxTemplateBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", source.size(), " bytes, more than ", kMaxTemplateBytes));
  }
  return Lexer(NormalizeNewlines(source)).Run();
}

}  // namespace alcca::jinja
