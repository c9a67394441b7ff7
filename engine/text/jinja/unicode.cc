#include "engine/text/jinja/unicode.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>

#include "engine/text/jinja/unicode_tables.h"

namespace alcca::jinja {
namespace {

enum class Case { kLower, kUpper, kTitle };

constexpr char32_t kCapitalSigma = 0x3A3;
constexpr char32_t kSmallSigma = 0x3C3;
constexpr char32_t kFinalSigma = 0x3C2;

// The range that may hold `code`, or nullptr.
template <typename Range, size_t n>
const Range* FindRange(const Range (&ranges)[n], char32_t code) {
  const Range* it = std::upper_bound(
      ranges, ranges + n, code, [](char32_t c, const Range& range) { return c < range.first; });
  return it != ranges && code <= std::prev(it)->last ? std::prev(it) : nullptr;
}

bool IsCased(char32_t code) {
  const char32_t letter = code | 0x20;
  return code < 0x80 ? letter >= 'a' && letter <= 'z' : FindRange(kCased, code) != nullptr;
}

bool IsCaseIgnorable(char32_t code) {
  constexpr std::string_view kAscii = "'.:^`";
  return code < 0x80 ? kAscii.find(static_cast<char>(code)) != std::string_view::npos
                     : FindRange(kCaseIgnorable, code) != nullptr;
}

template <size_t n>
bool AppendMany(const CaseMany (&table)[n], char32_t code, std::string* out) {
  for (const CaseMany& entry : table) {
    if (entry.from == code) {
      for (size_t i = 0; i < std::size(entry.to) && entry.to[i] != 0; ++i) {
        AppendUtf8(entry.to[i], out);
      }
      return true;
    }
  }
  return false;
}

template <size_t n>
char32_t Mapped(const CaseRange (&ranges)[n], char32_t code) {
  const CaseRange* range = FindRange(ranges, code);
  return range == nullptr || (code - range->first) % range->stride != 0
             ? code
             : static_cast<char32_t>(static_cast<int32_t>(code) + range->delta);
}

void AppendCase(char32_t code, Case to, std::string* out) {
  if (code < 0x80) {
    const bool change =
        to == Case::kLower ? code >= 'A' && code <= 'Z' : code >= 'a' && code <= 'z';
    out->push_back(static_cast<char>(change ? code ^ 0x20 : code));
  } else if (to == Case::kLower) {
    if (!AppendMany(kLowerMany, code, out)) {
      AppendUtf8(Mapped(kLower, code), out);
    }
  } else if ((to == Case::kUpper || !AppendMany(kTitle, code, out)) &&
             !AppendMany(kUpperMany, code, out)) {
    AppendUtf8(Mapped(kUpper, code), out);
  }
}

// Unicode's Final_Sigma: a letter before it and none after it, whatever ignorable lies between.
bool IsFinalSigma(std::string_view bytes, size_t begin, size_t end) {
  bool letter_after = false;
  for (size_t at = end; at < bytes.size();) {
    const char32_t code = NextCodePoint(bytes, &at);
    if (!IsCaseIgnorable(code)) {
      letter_after = IsCased(code);
      break;
    }
  }
  for (size_t at = begin; at > 0 && !letter_after;) {
    --at;
    while (at > 0 && (static_cast<unsigned char>(bytes[at]) & 0xC0) == 0x80) {
      --at;
    }
    size_t next = at;
    const char32_t code = NextCodePoint(bytes, &next);
    if (!IsCaseIgnorable(code)) {
      return IsCased(code);
    }
  }
  return false;
}

// `choose` says what becomes of a code point, given whether the one before was cased.
template <typename Choose>
Text ConvertCase(const Text& text, Choose choose) {
  Text out;
  bool after_cased = false;
  std::string part;
  const std::string_view bytes = text.bytes();
  size_t run = 0;
  for (size_t at = 0; at < bytes.size();) {
    const size_t begin = at;
    const char32_t code = NextCodePoint(bytes, &at);
    while (text.runs()[run].end <= begin) {
      ++run;
    }
    const Case to = choose(begin, after_cased);
    part.clear();
    if (to == Case::kLower && code == kCapitalSigma) {
      AppendUtf8(IsFinalSigma(bytes, begin, at) ? kFinalSigma : kSmallSigma, &part);
    } else {
      AppendCase(code, to, &part);
    }
    out.Append(part, text.runs()[run].origin);
    after_cased = IsCased(code);
  }
  return out;
}

// True if some character has the case and none has the other.
template <size_t n, size_t m>
bool AllHaveCase(const Text& text, const CaseRange (&changes)[n], const CaseRange (&keeps)[m],
                 char first, char last) {
  bool any = false;
  const std::string_view bytes = text.bytes();
  for (size_t at = 0; at < bytes.size();) {
    const char32_t code = NextCodePoint(bytes, &at);
    const bool has =
        code < 0x80 ? code >= static_cast<char32_t>(first) && code <= static_cast<char32_t>(last)
                    : Mapped(changes, code) != code;
    if (!has && (code < 0x80 ? IsCased(code) : Mapped(keeps, code) != code)) {
      return false;
    }
    any |= has;
  }
  return any;
}

}  // namespace

bool IsSpace(char32_t c) {
  return (c >= 0x9 && c <= 0xD) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

bool IsPrintable(char32_t c) {
  return c < 0x80 ? c >= 0x20 && c < 0x7F : FindRange(kNotPrintable, c) == nullptr;
}

bool IsLineEnd(char32_t c) {
  return (c >= 0xA && c <= 0xD) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

Text Lower(const Text& text) {
  return ConvertCase(text, [](size_t, bool) { return Case::kLower; });
}

Text Upper(const Text& text) {
  return ConvertCase(text, [](size_t, bool) { return Case::kUpper; });
}

Text Title(const Text& text) {
  return ConvertCase(text, [](size_t, bool cased) { return cased ? Case::kLower : Case::kTitle; });
}

Text Capitalize(const Text& text) {
  return ConvertCase(text,
                     [](size_t begin, bool) { return begin > 0 ? Case::kLower : Case::kTitle; });
}

bool IsUpper(const Text& text) {
  return AllHaveCase(text, kLower, kUpper, 'A', 'Z');
}

bool IsLower(const Text& text) {
  return AllHaveCase(text, kUpper, kLower, 'a', 'z');
}

}  // namespace alcca::jinja
