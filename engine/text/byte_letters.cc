#include "engine/text/byte_letters.h"

#include <array>
#include <cstdint>

namespace alcca {
namespace {

constexpr bool IsItself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

// The character of each byte; all are below U+0144.
constexpr std::array<int, 256> Characters() {
  std::array<int, 256> characters{};
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    characters[byte] = IsItself(byte) ? byte : next++;
  }
  return characters;
}
constexpr std::array<int, 256> kCharacters = Characters();
constexpr int kEnd = 0x144;

constexpr std::array<int16_t, kEnd> Bytes() {
  std::array<int16_t, kEnd> bytes{};
  for (int16_t& byte : bytes) {
    byte = -1;
  }
  for (int byte = 0; byte < 256; ++byte) {
    bytes[kCharacters[byte]] = static_cast<int16_t>(byte);
  }
  return bytes;
}
constexpr std::array<int16_t, kEnd> kBytes = Bytes();

}  // namespace

std::optional<std::string> BytesOfLetters(std::string_view letters) {
  std::string bytes;
  for (size_t i = 0; i < letters.size(); ++i) {
    int c = static_cast<uint8_t>(letters[i]);
    if (c >= 0x80) {
      if ((c & 0xE0) != 0xC0 || i + 1 == letters.size()) {
        return std::nullopt;
      }
      c = (c & 0x1F) << 6 | (static_cast<uint8_t>(letters[++i]) & 0x3F);
    }
    if (c >= kEnd || kBytes[c] < 0) {
      return std::nullopt;
    }
    bytes += static_cast<char>(kBytes[c]);
  }
  return bytes;
}

std::string LettersOfBytes(std::string_view bytes) {
  std::string letters;
  for (const char byte : bytes) {
    const int c = kCharacters[static_cast<uint8_t>(byte)];
    if (c < 0x80) {
      letters += static_cast<char>(c);
    } else {
      letters += static_cast<char>(0xC0 | c >> 6);
      letters += static_cast<char>(0x80 | (c & 0x3F));
    }
  }
  return letters;
}

}  // namespace alcca
