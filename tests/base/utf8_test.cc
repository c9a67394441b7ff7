#include "base/utf8.h"

#include <cstdint>
#include <string>

#include "gtest/gtest.h"

namespace alcca {
namespace {

TEST(Utf8Test, AgreesWithTheDefinition) {
  // Every code point, and every prefix of it.
  for (uint32_t c = 0; c <= 0x10FFFF; ++c) {
    std::string s;
    if (c < 0x80) {
      s = {static_cast<char>(c)};
    } else if (c < 0x800) {
      s = {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 63))};
    } else if (c < 0x10000) {
      s = {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 63)),
           static_cast<char>(0x80 | (c & 63))};
    } else {
      s = {static_cast<char>(0xF0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 63)),
           static_cast<char>(0x80 | (c >> 6 & 63)), static_cast<char>(0x80 | (c & 63))};
    }
    const bool surrogate = c >= 0xD800 && c < 0xE000;
    ASSERT_EQ(Utf8CharLength(s), surrogate ? 0 : static_cast<int>(s.size())) << c;
    ASSERT_EQ(Utf8CharLength(s + "x"), Utf8CharLength(s));
    for (size_t size = 1; size < s.size() && !surrogate; ++size) {
      ASSERT_EQ(Utf8CharLength(s.substr(0, size)), -1) << c;
    }
  }
  for (const std::string bad : {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xF0\x8F\xBF\xBF",
                                "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xC3x"}) {
    EXPECT_EQ(Utf8CharLength(bad), 0) << ::testing::PrintToString(bad);
    EXPECT_FALSE(IsValidUtf8("ab" + bad));
  }
  EXPECT_FALSE(IsValidUtf8("ab\xE2\x96"));
  EXPECT_TRUE(IsValidUtf8(""));
}

}  // namespace
}  // namespace alcca
