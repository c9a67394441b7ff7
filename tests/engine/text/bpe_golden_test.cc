// Byte-pair vocabularies beside their own libraries: token for token, and text for text.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/tokenizer.h"
#include "tests/testing/tokenizer_golden.h"

namespace alcca {
namespace {

std::vector<std::string> Folders() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(ALCCA_TEST_DATA_DIR "/bpe")) {
    if (entry.is_directory()) {
      names.push_back(entry.path().filename());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

class BpeGoldenTest : public ::testing::TestWithParam<std::string> {
 protected:
  BpeGoldenTest()
      : folder_(std::string(ALCCA_TEST_DATA_DIR "/bpe/") + GetParam()),
        tokenizer_(testing::ReadGoldenTokenizer(folder_).value()) {}

  const std::string folder_;
  const std::unique_ptr<Tokenizer> tokenizer_;
};
INSTANTIATE_TEST_SUITE_P(, BpeGoldenTest, ::testing::ValuesIn(Folders()),
                         [](const auto& info) { return info.param; });

TEST_P(BpeGoldenTest, EncodesAndDecodesAsTheLibrary) {
  const auto cases = testing::ReadTokenizerCases(folder_);
  EXPECT_GT(cases.size(), 200U);
  for (const auto& test : cases) {
    EXPECT_EQ(testing::Difference(*tokenizer_, test), "");
  }
}

// A text in which every control token stands by its name, as a client's and as a template's.
TEST_P(BpeGoldenTest, OnlyTrustedBytesBecomeControlTokens) {
  std::string names;
  int control = 0;
  for (int32_t id = 0; id < tokenizer_->vocab_size(); ++id) {
    if (!tokenizer_->IsControl(id)) {
      continue;
    }
    ++control;
    const std::string name(tokenizer_->IdToPiece(id));
    names += name + " ";
    const TextRun trusted[] = {{"a"}, {name, true}, {"b"}};
    const std::vector<int32_t> ids = tokenizer_->Encode(trusted).value();
    EXPECT_NE(std::find(ids.begin(), ids.end(), id), ids.end()) << name;
    // Half of the name is a client's: it stays text, wherever the border is.
    for (size_t cut = 1; cut < name.size(); ++cut) {
      if ((static_cast<unsigned char>(name[cut]) & 0xC0) == 0x80) {
        continue;
      }
      const std::string first = name.substr(0, cut), second = name.substr(cut);
      const TextRun forged[] = {{first, true}, {second, false}};
      const std::vector<int32_t> found_ids = tokenizer_->Encode(forged).value();
      for (const int32_t found : found_ids) {
        EXPECT_FALSE(tokenizer_->IsControl(found)) << name << " cut at " << cut;
      }
    }
  }
  const std::vector<int32_t> of_user = tokenizer_->Encode(names).value();
  for (const int32_t id : of_user) {
    EXPECT_FALSE(tokenizer_->IsControl(id)) << tokenizer_->IdToPiece(id);
  }
  const std::vector<std::string> without = {"digits_nfc", "ignore_merges", "lower_strip",
                                            "prefix_space", "split_behaviors"};
  EXPECT_EQ(control == 0, std::find(without.begin(), without.end(), GetParam()) != without.end());
}

// Where text of one author ends does not matter to what it becomes.
TEST_P(BpeGoldenTest, RunsOfTextAreEncodedWhole) {
  for (const auto& test : testing::ReadTokenizerCases(folder_)) {
    if (!test.text || test.text->size() < 2) {
      continue;
    }
    size_t cut = test.text->size() / 2;
    while (cut > 0 && (static_cast<unsigned char>((*test.text)[cut]) & 0xC0) == 0x80) {
      --cut;
    }
    const std::string_view text = *test.text;
    const TextRun runs[] = {{text.substr(0, cut)}, {text.substr(cut)}};
    EXPECT_EQ(tokenizer_->Encode(runs).value(), test.ids);
  }
}

// The text after a prompt is the rest of the whole text, whatever the prompt left unfinished.
TEST_P(BpeGoldenTest, TextGoesOnAfterAPrompt) {
  for (const auto& test : testing::ReadTokenizerCases(folder_)) {
    if (!test.text || test.decoded.find("\uFFFD") != std::string::npos) {
      continue;
    }
    const std::span<const int32_t> ids(test.ids);
    const size_t cut = ids.size() / 2;
    const auto before = tokenizer_->NewText({}, false);
    std::string text;
    for (const int32_t id : ids.first(cut)) {
      text += before->Push(id);
    }
    const auto after = tokenizer_->NewText(ids.first(cut), false);
    for (const int32_t id : ids.subspan(cut)) {
      text += after->Push(id);
    }
    EXPECT_EQ(text, test.decoded);
  }
}

}  // namespace
}  // namespace alcca
