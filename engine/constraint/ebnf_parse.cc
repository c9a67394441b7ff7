#include "engine/constraint/ebnf_parse.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace alcca {
namespace {

using Kind = EbnfNode::Kind;
constexpr int kMaxDepth = 200;
constexpr uint32_t kMaxRepeat = 1'000'000;

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  absl::StatusOr<EbnfRules> Parse() {
    EbnfRules rules;
    Skip();
    gbnf_ = IsGbnf();
    rules.start = gbnf_ ? "root" : "start";
    for (Skip(); !done(); Skip()) {
      if (!gbnf_ && peek() == '%') {
        return Error("directives (%ignore, %import, %declare) are not supported: write the rule");
      }
      if (!gbnf_ && (peek() == '?' || peek() == '!')) {
        ++at_;  // They change the tree alone.
      }
      std::string name;
      RETURN_IF_ERROR(Name(&name));
      Skip();
      if (!Take(gbnf_ ? "::=" : ":")) {
        return Error(absl::StrCat("expected '", gbnf_ ? "::=" : ":", "' after the rule's name"));
      }
      EbnfNode node;
      RETURN_IF_ERROR(Choice(0, &node));
      rules.rules.emplace_back(std::move(name), std::move(node));
    }
    return rules;
  }

 private:
  bool done() const { return at_ == text_.size(); }
  char peek() const { return done() ? '\0' : text_[at_]; }
  bool Take(std::string_view s) {
    if (!text_.substr(at_).starts_with(s)) {
      return false;
    }
    at_ += s.size();
    return true;
  }

  absl::Status Error(std::string_view what) const {
    const std::string_view before = text_.substr(0, at_);
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const size_t newline = before.rfind('\n');
    const size_t column = newline == std::string_view::npos ? at_ + 1 : at_ - newline;
    return absl::InvalidArgumentError(
        absl::StrCat("grammar: line ", line, ", column ", column, ": ", std::string(what)));
  }

  // White space and comments.
  void Skip() {
    while (!done()) {
      if (absl::ascii_isspace(static_cast<uint8_t>(peek()))) {
        ++at_;
      } else if (peek() == '#' || text_.substr(at_).starts_with("//")) {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else {
        return;
      }
    }
  }

  static bool IsNameCharacter(char c) {
    return absl::ascii_isalnum(static_cast<uint8_t>(c)) || c == '_' || c == '-';
  }

  absl::Status Name(std::string* name) {
    const size_t begin = at_;
    while (!done() && IsNameCharacter(peek()) && !(!gbnf_ && peek() == '-')) {
      ++at_;
    }
    *name = text_.substr(begin, at_ - begin);
    return name->empty() ? Error("expected a rule's name") : absl::OkStatus();
  }

  bool IsGbnf() {
    const size_t begin = at_;
    while (!done() && IsNameCharacter(peek())) {
      ++at_;
    }
    Skip();
    const bool gbnf = text_.substr(at_).starts_with("::=");
    at_ = begin;
    return gbnf;
  }

  // Whether a definition begins here, which ends the one before.
  bool AtDefinition() {
    const size_t begin = at_;
    if (!gbnf_ && (peek() == '?' || peek() == '!')) {
      ++at_;
    }
    const size_t name = at_;
    while (!done() && IsNameCharacter(peek())) {
      ++at_;
    }
    const bool named = at_ > name;
    Skip();
    const bool definition = named && text_.substr(at_).starts_with(gbnf_ ? "::=" : ":");
    at_ = begin;
    return definition;
  }

  absl::Status Choice(int depth, EbnfNode* out) {
    if (depth > kMaxDepth) {
      return Error(absl::StrCat("nested more than ", kMaxDepth, " deep"));
    }
    out->kind = Kind::kChoice;
    do {
      EbnfNode sequence;
      for (Skip(); !done() && peek() != '|' && peek() != ')' && !(!gbnf_ && peek() == ']') &&
                   !(!gbnf_ && peek() == '%') && !AtDefinition();
           Skip()) {
        if (!gbnf_ && Take("->")) {  // A name for the tree.
          Skip();
          std::string alias;
          RETURN_IF_ERROR(Name(&alias));
          continue;
        }
        EbnfNode term;
        RETURN_IF_ERROR(Term(depth, &term));
        sequence.children.push_back(std::move(term));
      }
      out->children.push_back(std::move(sequence));
    } while (Take("|"));
    return absl::OkStatus();
  }

  absl::Status Term(int depth, EbnfNode* out) {
    RETURN_IF_ERROR(Atom(depth, out));
    for (;;) {
      uint32_t min = 0;
      uint32_t max = kUnbounded;
      const size_t begin = at_;
      Skip();
      if (Take("*")) {
      } else if (Take("+")) {
        min = 1;
      } else if (peek() == '?' && !AtDefinition() && Take("?")) {
        max = 1;
      } else if (gbnf_ && Take("{")) {
        RETURN_IF_ERROR(Bounds(",", &min, &max));
        Skip();
        if (!Take("}")) {
          return Error("expected '}'");
        }
      } else if (!gbnf_ && Take("~")) {
        RETURN_IF_ERROR(Bounds("..", &min, &max));
      } else {
        at_ = begin;
        return absl::OkStatus();
      }
      if (min > max) {
        return Error("repeat from more to less");
      }
      EbnfNode body = std::move(*out);
      *out = EbnfNode{.kind = Kind::kRepeat, .min = min, .max = max};
      out->children.push_back(std::move(body));
    }
  }

  absl::Status Bounds(std::string_view separator, uint32_t* min, uint32_t* max) {
    const auto number = [this](uint32_t* value) {
      Skip();
      const size_t begin = at_;
      uint64_t n = 0;
      for (; absl::ascii_isdigit(static_cast<uint8_t>(peek())); ++at_) {
        n = std::min<uint64_t>(n * 10 + static_cast<uint64_t>(peek() - '0'), kMaxRepeat + 1);
      }
      *value = static_cast<uint32_t>(n);
      return at_ > begin;
    };
    if (!number(min)) {
      return Error("expected a number");
    }
    *max = *min;
    Skip();
    if (Take(separator) && !number(max)) {
      *max = kUnbounded;
    }
    if (*min > kMaxRepeat || (*max != kUnbounded && *max > kMaxRepeat)) {
      return Error(absl::StrCat("repeat of more than ", kMaxRepeat));
    }
    return absl::OkStatus();
  }

  absl::Status Atom(int depth, EbnfNode* out) {
    if (peek() == '"') {
      return Text(out);
    }
    if (peek() == '[' && gbnf_) {
      return Class(out);
    }
    if (peek() == '/' && !gbnf_) {
      return RegexAtom(out);
    }
    if (Take("(")) {
      RETURN_IF_ERROR(Choice(depth + 1, out));
      return Take(")") ? absl::OkStatus() : Error("missing ')'");
    }
    if (!gbnf_ && Take("[")) {
      EbnfNode body;
      RETURN_IF_ERROR(Choice(depth + 1, &body));
      *out = EbnfNode{.kind = Kind::kRepeat, .min = 0, .max = 1};
      out->children.push_back(std::move(body));
      return Take("]") ? absl::OkStatus() : Error("missing ']'");
    }
    if (gbnf_ && Take(".")) {
      *out = EbnfNode{.kind = Kind::kChars, .chars = {{0, kMaxCharacter}}};
      return absl::OkStatus();
    }
    if (IsNameCharacter(peek())) {
      out->kind = Kind::kRule;
      out->line = static_cast<size_t>(1 + std::count(text_.begin(), text_.begin() + at_, '\n'));
      RETURN_IF_ERROR(Name(&out->text));
      return peek() == '{' && !gbnf_ ? Error("templates are not supported") : absl::OkStatus();
    }
    return Error(done() ? "expected more" : "unexpected character");
  }

  absl::Status Hex(size_t digits, uint32_t* value) {
    *value = 0;
    for (size_t i = 0; i < digits; ++i, ++at_) {
      const char c = absl::ascii_tolower(static_cast<uint8_t>(peek()));
      if (!absl::ascii_isxdigit(static_cast<uint8_t>(c))) {
        return Error("hexadecimal digit expected");
      }
      *value = *value * 16 + static_cast<uint32_t>(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return *value > kMaxCharacter || (*value >= 0xD800 && *value < 0xE000)
               ? Error("not a character")
               : absl::OkStatus();
  }

  // One character of a string or a class, escaped or not.
  absl::Status Character(uint32_t* c) {
    if (!Take("\\")) {
      const auto lead = static_cast<uint8_t>(peek());
      const size_t size = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
      std::vector<uint32_t> one;
      if (!DecodeUtf8(text_.substr(at_, size), &one) || one.size() != 1) {
        return Error("not UTF-8");
      }
      at_ += size;
      *c = one[0];
      return absl::OkStatus();
    }
    const char letter = peek();
    at_ += done() ? 0 : 1;
    switch (letter) {
      case 'n':
        *c = '\n';
        return absl::OkStatus();
      case 't':
        *c = '\t';
        return absl::OkStatus();
      case 'r':
        *c = '\r';
        return absl::OkStatus();
      case 'f':
        *c = '\f';
        return absl::OkStatus();
      case 'x':
        return Hex(2, c);
      case 'u':
        return Hex(4, c);
      case 'U':
        return Hex(8, c);
      default:
        if (letter == '\0' || absl::ascii_isalnum(static_cast<uint8_t>(letter))) {
          return Error("unknown escape");
        }
        *c = static_cast<uint8_t>(letter);
        return absl::OkStatus();
    }
  }

  absl::Status Quoted(std::string* out) {
    ++at_;
    while (!Take("\"")) {
      if (done() || peek() == '\n') {
        return Error("missing '\"'");
      }
      uint32_t c = 0;
      RETURN_IF_ERROR(Character(&c));
      AppendUtf8(c, out);
    }
    return absl::OkStatus();
  }

  absl::Status Text(EbnfNode* out) {
    out->kind = Kind::kText;
    RETURN_IF_ERROR(Quoted(&out->text));
    if (!gbnf_ && Take("i")) {
      out->ignore_case = true;
    }
    if (!gbnf_ && Take("..")) {
      std::string high;
      if (peek() != '"') {
        return Error("expected a string after '..'");
      }
      RETURN_IF_ERROR(Quoted(&high));
      std::vector<uint32_t> from;
      std::vector<uint32_t> to;
      if (!DecodeUtf8(out->text, &from) || !DecodeUtf8(high, &to) || from.size() != 1 ||
          to.size() != 1 || from[0] > to[0]) {
        return Error("a range is of two characters, the lower first");
      }
      *out = EbnfNode{.kind = Kind::kChars, .chars = {{from[0], to[0]}}};
    }
    return absl::OkStatus();
  }

  absl::Status Class(EbnfNode* out) {
    ++at_;
    const bool negated = Take("^");
    CharSet set;
    while (!Take("]")) {
      if (done()) {
        return Error("missing ']'");
      }
      uint32_t low = 0;
      RETURN_IF_ERROR(Character(&low));
      uint32_t high = low;
      if (peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        ++at_;
        RETURN_IF_ERROR(Character(&high));
      }
      if (high < low) {
        return Error("range from more to less");
      }
      set.push_back({low, high});
    }
    out->kind = Kind::kChars;
    out->chars = NormalizeSet(std::move(set));
    if (negated) {
      out->chars = ComplementOf(out->chars);
    }
    return absl::OkStatus();
  }

  absl::Status RegexAtom(EbnfNode* out) {
    const size_t begin = ++at_;
    for (bool in_class = false; in_class || peek() != '/'; ++at_) {
      if (done() || peek() == '\n') {
        return Error("missing '/'");
      }
      in_class = peek() == '[' || (in_class && peek() != ']');
      at_ += peek() == '\\' && at_ + 1 < text_.size() ? 1 : 0;
    }
    absl::StatusOr<Regex> regex = ParseRegex(text_.substr(begin, at_ - begin));
    if (!regex.ok()) {
      return Error(std::string(regex.status().message()));
    }
    ++at_;
    if (absl::ascii_isalpha(static_cast<uint8_t>(peek()))) {
      return Error("flags of a regular expression are not supported");
    }
    out->kind = Kind::kRegex;
    out->regex = *std::move(regex);
    return absl::OkStatus();
  }

  const std::string_view text_;
  size_t at_ = 0;
  bool gbnf_ = false;
};

}  // namespace

absl::StatusOr<EbnfRules> ParseEbnf(std::string_view text) {
  if (text.find('\0') != std::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat("grammar: a NUL at byte ", text.find('\0')));
  }
  return Parser(text).Parse();
}

}  // namespace alcca
