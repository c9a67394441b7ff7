#include "engine/text/unicode_normalization.h"

#include <gtest/gtest.h>

#include <string>

namespace alcca {
namespace {

TEST(UnicodeNormalization, HasFourForms) {
  const std::string text = "\u1E9B\u0323 \uFB01 \u212B \uAC00 e\u0301\u0327";
  EXPECT_EQ(ToNormalForm(text, NormalForm::kNfc), "\u1E9B\u0323 \uFB01 \u00C5 \uAC00 \u0229\u0301");
  EXPECT_EQ(ToNormalForm(text, NormalForm::kNfd),
            "\u017F\u0323\u0307 \uFB01 A\u030A \u1100\u1161 e\u0327\u0301");
  EXPECT_EQ(ToNormalForm(text, NormalForm::kNfkc), "\u1E69 fi \u00C5 \uAC00 \u0229\u0301");
  EXPECT_EQ(ToNormalForm(text, NormalForm::kNfkd),
            "s\u0323\u0307 fi A\u030A \u1100\u1161 e\u0327\u0301");
  EXPECT_EQ(ToNormalForm("", NormalForm::kNfc), "");
}

// A million marks of falling classes, which sorting by insertion would take hours for.
TEST(UnicodeNormalization, SortsManyMarks) {
  std::string text = "a";
  for (int i = 0; i < 500'000; ++i) {
    text += "\u0301\u0327";
  }
  const std::string form = ToNormalForm(text, NormalForm::kNfd);
  EXPECT_EQ(form.size(), text.size());
  EXPECT_TRUE(form.starts_with("a\u0327\u0327"));
  EXPECT_TRUE(form.ends_with("\u0301\u0301"));
}

TEST(UnicodeNormalization, LowersEachCharacter) {
  EXPECT_EQ(ToLowerCase("\u0130\u00C9\u03A3A\u00DF"), "i\u0307\u00E9\u03C3a\u00DF");
}

}  // namespace
}  // namespace alcca
