#pragma once

// GPT-2's spelling of bytes as visible characters, in which byte-level vocabularies are written: a
// byte that Latin-1 prints stands for itself, the others follow from U+0100 on.

#include <optional>
#include <string>
#include <string_view>

namespace alcca {

// The bytes that `letters` spell; nothing if a character spells none.
std::optional<std::string> BytesOfLetters(std::string_view letters);

std::string LettersOfBytes(std::string_view bytes);

}  // namespace alcca
