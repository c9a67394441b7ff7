#include "engine/text/unicode_normalization.h"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "base/utf8.h"

namespace alcca {
namespace {

void AppendCharacter(char32_t c, std::string* out) {
  utf8proc_uint8_t bytes[4];
  const utf8proc_ssize_t size = utf8proc_encode_char(static_cast<utf8proc_int32_t>(c), bytes);
  out->append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
}

int CombiningClass(utf8proc_int32_t c) {
  return utf8proc_get_property(c)->combining_class;
}

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

}  // namespace

char32_t FrontCharacter(std::string_view text, size_t* bytes) {
  utf8proc_int32_t c = -1;
  const utf8proc_ssize_t size =
      utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                       static_cast<utf8proc_ssize_t>(text.size()), &c);
  ALCCA_CHECK(size > 0);
  *bytes = static_cast<size_t>(size);
  return static_cast<char32_t>(c);
}

size_t BackCharacterBytes(std::string_view text) {
  size_t bytes = 1;
  while (bytes < text.size() &&
         (static_cast<unsigned char>(text[text.size() - bytes]) & 0xC0) == 0x80) {
    ++bytes;
  }
  return bytes;
}

std::string ToNormalForm(std::string_view text, NormalForm form) {
  if (IsAscii(text)) {
    return std::string(text);
  }
  const bool compatible = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  const bool composed = form == NormalForm::kNfc || form == NormalForm::kNfkc;
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE |
                                                      (compatible ? UTF8PROC_COMPAT : 0));
  std::vector<utf8proc_int32_t> codes;
  codes.reserve(text.size());
  size_t marks = 0;  // where the marks of the last character begin in `codes`
  // (utf8proc_decompose sorts marks by insertion, which a text of nothing else makes quadratic.)
  const auto sort_marks = [&] {
    std::stable_sort(codes.begin() + static_cast<ptrdiff_t>(marks), codes.end(),
                     [](auto a, auto b) { return CombiningClass(a) < CombiningClass(b); });
  };
  while (!text.empty()) {
    size_t bytes = 0;
    const char32_t c = FrontCharacter(text, &bytes);
    text.remove_prefix(bytes);
    constexpr size_t kLongest = 32;  // U+FDFA has 18
    utf8proc_int32_t parts[kLongest];
    const utf8proc_ssize_t count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), parts,
                                                           kLongest, options, nullptr);
    ALCCA_CHECK(count >= 0 && count <= static_cast<utf8proc_ssize_t>(kLongest));
    for (utf8proc_ssize_t i = 0; i < count; ++i) {
      if (CombiningClass(parts[i]) == 0) {
        sort_marks();
        marks = codes.size() + 1;
      }
      codes.push_back(parts[i]);
    }
    marks = std::min(marks, codes.size());
  }
  sort_marks();
  if (composed) {
    const utf8proc_ssize_t size = utf8proc_normalize_utf32(
        codes.data(), static_cast<utf8proc_ssize_t>(codes.size()),
        static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    ALCCA_CHECK(size >= 0);
    codes.resize(static_cast<size_t>(size));
  }
  std::string out;
  for (const utf8proc_int32_t c : codes) {
    AppendCharacter(static_cast<char32_t>(c), &out);
  }
  return out;
}

std::string ToLowerCase(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    size_t bytes = 0;
    const char32_t c = FrontCharacter(text, &bytes);
    text.remove_prefix(bytes);
    if (c == 0x130) {  // The one character whose lower case is two: i and a dot above.
      out += "i\xCC\x87";
    } else {
      AppendCharacter(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))),
                      &out);
    }
  }
  return out;
}

bool IsWhiteSpace(char32_t c) {
  return (c >= 0x9 && c <= 0xD) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool IsWordCharacter(char32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return c == 0x200C || c == 0x200D;  // joiners
  }
}

}  // namespace alcca
