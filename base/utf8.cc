#include "base/utf8.h"

#include <cstddef>
#include <cstdint>

namespace alcca {

int Utf8CharLength(std::string_view s) {
  const auto byte = [s](size_t i) { return static_cast<uint8_t>(s[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) {
    return 1;
  }
  if (lead < 0xC2 || lead > 0xF4) {
    return 0;
  }
  const size_t size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  for (size_t i = 1; i < size; ++i) {
    if (i >= s.size()) {
      return -1;
    }
    uint8_t low = 0x80, high = 0xBF;
    if (i == 1) {  // Overlong forms, surrogates, and beyond U+10FFFF.
      if (lead == 0xE0) {
        low = 0xA0;
      }
      if (lead == 0xED) {
        high = 0x9F;
      }
      if (lead == 0xF0) {
        low = 0x90;
      }
      if (lead == 0xF4) {
        high = 0x8F;
      }
    }
    if (byte(i) < low || byte(i) > high) {
      return 0;
    }
  }
  return static_cast<int>(size);
}

bool IsValidUtf8(std::string_view s) {
  while (!s.empty()) {
    const int size = Utf8CharLength(s);
    if (size <= 0) {
      return false;
    }
    s.remove_prefix(size);
  }
  return true;
}

}  // namespace alcca
