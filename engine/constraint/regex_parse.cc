#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/constraint/regex.h"

namespace alcca {
namespace {

using Kind = Regex::Kind;

constexpr int kMaxDepth = 200;
constexpr uint32_t kMaxRepeat = 1'000'000;

const CharSet& Digits() {
  static const CharSet& kSet = *new CharSet{{'0', '9'}};
  return kSet;
}
const CharSet& WordCharacters() {
  static const CharSet& kSet = *new CharSet{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
  return kSet;
}
const CharSet& Spaces() {
  static const CharSet& kSet = *new CharSet{
      {9, 13},          {32, 32},         {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
      {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
  return kSet;
}
const CharSet& LineEnds() {
  static const CharSet& kSet = *new CharSet{{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};
  return kSet;
}

class Parser {
 public:
  explicit Parser(const std::vector<uint32_t>& text) : text_(text) {}

  absl::StatusOr<Regex> Parse() {
    Regex regex;
    RETURN_IF_ERROR(Choice(0, &regex));
    if (at_ < text_.size()) {
      return Error("unmatched ')'");
    }
    return regex;
  }

 private:
  bool done() const { return at_ == text_.size(); }
  uint32_t peek() const { return done() ? 0 : text_[at_]; }
  bool Take(uint32_t c) {
    if (done() || text_[at_] != c) {
      return false;
    }
    ++at_;
    return true;
  }
  bool Take(std::string_view s) {
    if (text_.size() - at_ < s.size()) {
      return false;
    }
    for (size_t i = 0; i < s.size(); ++i) {
      if (text_[at_ + i] != static_cast<uint8_t>(s[i])) {
        return false;
      }
    }
    at_ += s.size();
    return true;
  }
  absl::Status Error(std::string_view what) const {
    std::string before;  // Offsets are in bytes.
    for (size_t i = 0; i < at_; ++i) {
      AppendUtf8(text_[i], &before);
    }
    return absl::InvalidArgumentError(
        absl::StrCat("regular expression: ", std::string(what), " at byte ", before.size()));
  }

  absl::Status Choice(int depth, Regex* out) {
    if (depth > kMaxDepth) {
      return Error(absl::StrCat("groups nested more than ", kMaxDepth, " deep"));
    }
    out->kind = Kind::kChoice;
    do {
      Regex sequence;
      while (!done() && peek() != '|' && peek() != ')') {
        Regex term;
        RETURN_IF_ERROR(Term(depth, &term));
        sequence.children.push_back(std::move(term));
      }
      out->children.push_back(std::move(sequence));
    } while (Take('|'));
    if (out->children.size() == 1) {
      Regex only = std::move(out->children[0]);
      *out = std::move(only);
    }
    return absl::OkStatus();
  }

  absl::Status Term(int depth, Regex* out) {
    RETURN_IF_ERROR(Atom(depth, out));
    for (int stacked = 0;; ++stacked) {
      uint32_t min = 0;
      uint32_t max = kUnbounded;
      if (Take('*')) {
      } else if (Take('+')) {
        min = 1;
      } else if (Take('?')) {
        max = 1;
      } else if (bool quantifier = false; peek() == '{') {
        RETURN_IF_ERROR(Braces(&min, &max, &quantifier));
        if (!quantifier) {
          return absl::OkStatus();
        }
      } else {
        return absl::OkStatus();
      }
      if (out->kind == Kind::kBegin || out->kind == Kind::kEnd || stacked > 0) {
        return Error("nothing to repeat");
      }
      Take('?');  // Lazy.
      if (peek() == '+' && !done()) {
        return Error("possessive quantifiers are not supported");
      }
      Regex body = std::move(*out);
      *out = Regex{.kind = Kind::kRepeat, .min = min, .max = max};
      out->children.push_back(std::move(body));
    }
  }

  // {n}, {n,}, {n,m}; anything else is text.
  absl::Status Braces(uint32_t* min, uint32_t* max, bool* quantifier) {
    const size_t begin = at_;
    ++at_;
    const auto number = [this](uint32_t* value) {
      const size_t from = at_;
      uint64_t n = 0;
      for (; !done() && peek() >= '0' && peek() <= '9'; ++at_) {
        n = std::min<uint64_t>(n * 10 + (peek() - '0'), kMaxRepeat + 1);
      }
      *value = static_cast<uint32_t>(n);
      return at_ > from;
    };
    bool good = number(min);
    *max = *min;
    if (good && Take(',') && !number(max)) {
      *max = kUnbounded;
    }
    if (!good || !Take('}')) {
      at_ = begin;
      return absl::OkStatus();
    }
    *quantifier = true;
    if (*min > kMaxRepeat || (*max != kUnbounded && *max > kMaxRepeat)) {
      return Error(absl::StrCat("repeat of more than ", kMaxRepeat));
    }
    return *min <= *max ? absl::OkStatus() : Error("repeat from more to less");
  }

  absl::Status Atom(int depth, Regex* out) {
    const uint32_t c = text_[at_];
    switch (c) {
      case '(':
        ++at_;
        return Group(depth, out);
      case '[':
        ++at_;
        return Class(out);
      case '^':
        ++at_;
        out->kind = Kind::kBegin;
        return absl::OkStatus();
      case '$':
        ++at_;
        out->kind = Kind::kEnd;
        return absl::OkStatus();
      case '.':
        ++at_;
        *out = {.kind = Kind::kChars, .chars = ComplementOf(LineEnds())};
        return absl::OkStatus();
      case '*':
      case '+':
      case '?':
        return Error("nothing to repeat");
      case '\\':
        ++at_;
        out->kind = Kind::kChars;
        return Escape(/*in_class=*/false, &out->chars);
      default:
        ++at_;
        *out = {.kind = Kind::kChars, .chars = {{c, c}}};
        return absl::OkStatus();
    }
  }

  absl::Status Group(int depth, Regex* out) {
    if (Take('?')) {
      if (Take("P<") || (peek() == '<' && at_ + 1 < text_.size() && text_[at_ + 1] != '=' &&
                         text_[at_ + 1] != '!' && Take('<'))) {
        while (!done() && !Take('>')) {
          ++at_;
        }
      } else if (!Take(':')) {
        const bool look = peek() == '=' || peek() == '!' || peek() == '<';
        return Error(look ? "look-around is not supported" : "flags in a group are not supported");
      }
    }
    RETURN_IF_ERROR(Choice(depth + 1, out));
    return Take(')') ? absl::OkStatus() : Error("missing ')'");
  }

  absl::Status Hex(size_t digits, uint32_t* value) {
    *value = 0;
    for (size_t i = 0; i < digits; ++i) {
      const uint32_t c = peek();
      const uint32_t digit = c >= '0' && c <= '9'   ? c - '0'
                             : c >= 'a' && c <= 'f' ? c - 'a' + 10
                             : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                    : 16;
      if (digit == 16) {
        return Error("hexadecimal digit expected");
      }
      *value = *value * 16 + digit;
      ++at_;
    }
    return absl::OkStatus();
  }

  absl::Status UnicodeEscape(uint32_t* c) {
    if (Take('{')) {
      *c = 0;
      for (int digits = 0; !Take('}'); ++digits) {
        uint32_t digit = 0;
        RETURN_IF_ERROR(Hex(1, &digit));
        *c = *c * 16 + digit;
        if (*c > kMaxCharacter || digits > 8) {
          return Error("not a character");
        }
      }
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(Hex(4, c));
    if (*c >= 0xD800 && *c < 0xDC00 && Take("\\u")) {
      uint32_t low = 0;
      RETURN_IF_ERROR(Hex(4, &low));
      if (low < 0xDC00 || low > 0xDFFF) {
        return Error("half of a surrogate pair");
      }
      *c = 0x10000 + ((*c - 0xD800) << 10) + (low - 0xDC00);
    }
    return *c >= 0xD800 && *c < 0xE000 ? Error("half of a surrogate pair") : absl::OkStatus();
  }

  // After the backslash.
  absl::Status Escape(bool in_class, CharSet* out) {
    if (done()) {
      return Error("backslash at the end");
    }
    const uint32_t c = text_[at_++];
    uint32_t value = c;
    switch (c) {
      case 'd':
        *out = Digits();
        return absl::OkStatus();
      case 'D':
        *out = ComplementOf(Digits());
        return absl::OkStatus();
      case 'w':
        *out = WordCharacters();
        return absl::OkStatus();
      case 'W':
        *out = ComplementOf(WordCharacters());
        return absl::OkStatus();
      case 's':
        *out = Spaces();
        return absl::OkStatus();
      case 'S':
        *out = ComplementOf(Spaces());
        return absl::OkStatus();
      case 't':
        value = '\t';
        break;
      case 'n':
        value = '\n';
        break;
      case 'r':
        value = '\r';
        break;
      case 'f':
        value = '\f';
        break;
      case 'v':
        value = '\v';
        break;
      case '0':
        value = 0;
        if (peek() >= '0' && peek() <= '9') {
          return Error("octal escapes are not supported");
        }
        break;
      case 'x':
        RETURN_IF_ERROR(Hex(2, &value));
        break;
      case 'u':
        RETURN_IF_ERROR(UnicodeEscape(&value));
        break;
      case 'b':
        if (in_class) {
          value = '\b';
          break;
        }
        [[fallthrough]];
      case 'B':
        --at_;
        return Error("word borders are not supported");
      case 'p':
      case 'P':
        --at_;
        return Error("Unicode properties are not supported");
      default:
        if ((c >= '1' && c <= '9') || c == 'k') {
          --at_;
          return Error("back references are not supported");
        }
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
          --at_;
          return Error("unknown escape");
        }
    }
    *out = {{value, value}};
    return absl::OkStatus();
  }

  absl::Status ClassAtom(CharSet* set) {
    if (Take('\\')) {
      return Escape(/*in_class=*/true, set);
    }
    const uint32_t c = text_[at_++];
    *set = {{c, c}};
    return absl::OkStatus();
  }

  absl::Status Class(Regex* out) {
    const bool negated = Take('^');
    CharSet all;
    while (!Take(']')) {
      if (done()) {
        return Error("missing ']'");
      }
      CharSet low;
      RETURN_IF_ERROR(ClassAtom(&low));
      const bool is_range = peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']' &&
                            low.size() == 1 && low[0].first == low[0].second;
      if (is_range) {
        ++at_;
        CharSet high;
        RETURN_IF_ERROR(ClassAtom(&high));
        if (high.size() != 1 || high[0].first != high[0].second) {  // [a-\d]: three things.
          all.insert(all.end(), high.begin(), high.end());
          all.push_back({'-', '-'});
        } else if (high[0].first < low[0].first) {
          return Error("range from more to less");
        } else {
          low[0].second = high[0].first;
        }
      }
      all.insert(all.end(), low.begin(), low.end());
    }
    out->kind = Kind::kChars;
    out->chars = NormalizeSet(std::move(all));
    if (negated) {
      out->chars = ComplementOf(out->chars);
    }
    return absl::OkStatus();
  }

  const std::vector<uint32_t>& text_;
  size_t at_ = 0;
};

}  // namespace

absl::StatusOr<Regex> ParseRegex(std::string_view pattern) {
  std::vector<uint32_t> text;
  if (!DecodeUtf8(pattern, &text)) {
    return absl::InvalidArgumentError("regular expression: not UTF-8");
  }
  return Parser(text).Parse();
}

}  // namespace alcca
