#pragma once

// UTF-8 as Unicode 15 table 3-7 defines it: overlong forms, surrogates and code points past
// U+10FFFF are malformed.

#include <string_view>

namespace alcca {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

// Looks at the front of `s` (not empty): 1..4 = bytes of the valid UTF-8 character there; -1 = all
// of `s` is the beginning of a character that more bytes could complete; 0 = malformed.
int Utf8CharLength(std::string_view s);

bool IsValidUtf8(std::string_view s);

}  // namespace alcca
