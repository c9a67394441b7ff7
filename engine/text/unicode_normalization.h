#pragma once

// Unicode's normal forms (Unicode standard annex 15) and properties, by utf8proc. Texts are valid
// UTF-8.

#include <cstdint>
#include <string>
#include <string_view>

namespace alcca {

enum class NormalForm : uint8_t { kNfc, kNfd, kNfkc, kNfkd };

// Linear in the text's size but for sorting runs of combining marks.
std::string ToNormalForm(std::string_view text, NormalForm form);

// Each character by itself in lower case, as Rust's char::to_lowercase.
std::string ToLowerCase(std::string_view text);

// The character at the front of a text that is not empty.
char32_t FrontCharacter(std::string_view text, size_t* bytes);
// Bytes of the last character of a text that is not empty.
size_t BackCharacterBytes(std::string_view text);

bool IsWhiteSpace(char32_t c);     // Unicode's White_Space
bool IsWordCharacter(char32_t c);  // a letter, mark, digit or connector

}  // namespace alcca
