#include "engine/text/sentencepiece_text.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "base/utf8.h"
#include "engine/text/sentencepiece_tokenizer.h"

namespace alcca {
namespace {

using PieceIds = std::vector<int32_t>;

class SentencePieceTextTest : public ::testing::TestWithParam<const char*> {
 protected:
  SentencePieceTextTest() : tokenizer_(Load()) {}

  static SentencePieceTokenizer Load() {
    absl::StatusOr<SentencePieceTokenizer> tokenizer = SentencePieceTokenizer::Load(
        std::string(ALCCA_TEST_DATA_DIR) + "/tokenizer/tokenizer.model." + GetParam());
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    return *std::move(tokenizer);
  }

  // PieceIds that exercise every branch: any piece, byte pieces, the special ones, ids out of
  // range.
  PieceIds RandomIds(std::mt19937* rng) const {
    const auto below = [rng](int32_t n) { return static_cast<int32_t>((*rng)() % n); };
    const int32_t first_byte = std::max(tokenizer_.PieceToId("<0x00>"), 0);
    static constexpr std::string_view kText = "\u2581\u00e9\U0001F600\ufffda";
    PieceIds ids(below(30));
    for (int32_t& id : ids) {
      switch (below(6)) {
        case 0:
          id = below(8);
          break;
        case 1:
          id = first_byte + below(256);
          break;
        case 2:
          id = first_byte + static_cast<uint8_t>(kText[below(kText.size())]);
          break;
        case 3:
          id = below(20) == 0 ? below(2) * 2'000'000'000 - 1 : below(8);
          break;
        default:
          id = below(tokenizer_.vocab_size());
          break;
      }
    }
    return ids;
  }

  const SentencePieceTokenizer tokenizer_;
};

// That Decode is right is tokenizer_test's matter (against SentencePiece); here, that the stream is
// Decode cut at characters, and sent early.
TEST_P(SentencePieceTextTest, StreamIsDecodeInValidPieces) {
  std::mt19937 rng(1);
  for (int round = 0; round < 20000; ++round) {
    const PieceIds ids = RandomIds(&rng);
    for (const bool skip_special : {true, false}) {
      const auto stream = tokenizer_.NewText({}, skip_special);
      std::string text;
      for (size_t i = 0; i < ids.size(); ++i) {
        const std::string part = stream->Push(ids[i]);
        ASSERT_TRUE(IsValidUtf8(part));
        text += part;
        // What is held is less than one character.
        std::string now = tokenizer_.Decode(std::span(ids).first(i + 1), skip_special);
        ASSERT_TRUE(now.starts_with(text));
        ASSERT_LE(now.size() - text.size(), 3 * kReplacementCharacter.size());
      }
      text += stream->Flush();
      ASSERT_EQ(text, tokenizer_.Decode(ids, skip_special)) << ::testing::PrintToString(ids);
      ASSERT_EQ(stream->Flush(), "");
    }
  }
}

// However a text is cut into prompt and completion, the two read as the whole.
TEST_P(SentencePieceTextTest, CompletionContinuesThePrompt) {
  const std::string text =
      "  The quick\n brown \u2581fox \U0001F600\U0001F468\u200d\u00e9, "
      "\u65e5\u672c\u8a9e  jumps. ";
  const PieceIds ids = tokenizer_.Encode(text).value();
  const std::string whole = tokenizer_.Decode(ids);
  for (size_t cut = 1; cut <= ids.size(); ++cut) {
    const auto before = tokenizer_.NewText({}, true);
    std::string prompt;
    for (size_t i = 0; i < cut; ++i) {
      prompt += before->Push(ids[i]);
    }
    const auto stream = tokenizer_.NewText(std::span(ids).first(cut), true);
    std::string completion;
    for (size_t i = cut; i < ids.size(); ++i) {
      completion += stream->Push(ids[i]);
    }
    EXPECT_EQ(prompt + completion + stream->Flush(), whole) << "cut at " << cut;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, SentencePieceTextTest,
                         ::testing::Values("v1", "v3", "tiny_bytes", "tiny_bytes_strip"));

class SentencePieceTextV3Test : public ::testing::Test {
 protected:
  SentencePieceTextV3Test()
      : tokenizer_(*SentencePieceTokenizer::Load(std::string(ALCCA_TEST_DATA_DIR) +
                                                 "/tokenizer/tokenizer.model.v3")) {}

  int32_t Byte(int value) const { return tokenizer_.PieceToId("<0x00>") + value; }

  // The text of `ids` behind `prompt`, the parts separated by '|'.
  std::string Stream(const PieceIds& prompt, const PieceIds& ids) const {
    const auto stream = tokenizer_.NewText(prompt, true);
    std::string text;
    for (const int32_t id : ids) {
      text += stream->Push(id) + "|";
    }
    return text + stream->Flush();
  }

  const SentencePieceTokenizer tokenizer_;
  const int32_t a_ = 1032;  // "\u2581a"
};

TEST_F(SentencePieceTextV3Test, LeadingSpace) {
  EXPECT_EQ(Stream({}, {a_, a_}), "a| a|");
  EXPECT_EQ(Stream({1}, {a_, a_}), "a| a|");            // Behind <s>.
  EXPECT_EQ(Stream({1, 3, a_, 4}, {a_, a_}), "a| a|");  // Behind [/INST].
  EXPECT_EQ(Stream({1, a_}, {a_, a_}), " a| a|");
  EXPECT_EQ(Stream({1, a_, 2}, {a_}), "a|");
  EXPECT_EQ(Stream({Byte('x')}, {a_}), " a|");
  EXPECT_EQ(Stream({1, tokenizer_.PieceToId("\u2581")}, {a_}), " a|");
  EXPECT_EQ(Stream(PieceIds(100, a_), {a_}), " a|");
  EXPECT_EQ(Stream({}, {2, a_, 2, a_}), "|a|| a|");  // As in Decode of the whole.
}

TEST_F(SentencePieceTextV3Test, BytesAreHeldUntilTheCharacterIsComplete) {
  EXPECT_EQ(Stream({}, {Byte(0xF0), Byte(0x9F), Byte(0x98), Byte(0x80), a_}), "|||\U0001F600| a|");
  EXPECT_EQ(Stream({}, {Byte(0xC3), a_}), "|\ufffd a|");
  EXPECT_EQ(Stream({}, {Byte(0xE2), Byte(0x96)}), "||\ufffd\ufffd");
  EXPECT_EQ(Stream({}, {Byte(0xE2), Byte('x')}), "|\ufffdx|");
  EXPECT_EQ(Stream({}, {Byte(0xE2), Byte(0xC3), Byte(0xA9)}), "|\ufffd|\u00e9|");
  EXPECT_EQ(Stream({}, {Byte(0xFF), Byte(0x80)}), "\ufffd|\ufffd|");
  EXPECT_EQ(Stream({}, {Byte(0xED), Byte(0xA0)}), "|\ufffd\ufffd|");  // A surrogate: no hope.
}

TEST_F(SentencePieceTextV3Test, CharacterThatThePromptLeftIncomplete) {
  const PieceIds prompt = {1, a_, Byte(0xF0), Byte(0x9F)};
  EXPECT_EQ(Stream(prompt, {Byte(0x98), Byte(0x80)}), "|\U0001F600|");
  EXPECT_EQ(Stream(prompt, {a_}), " a|");
  EXPECT_EQ(Stream(prompt, {}), "");
  EXPECT_EQ(Stream(prompt, {Byte(0x98)}), "|\ufffd");
  EXPECT_EQ(Stream(prompt, {Byte(0xFF), Byte(0xFF)}), "\ufffd|\ufffd|");
}

TEST_F(SentencePieceTextV3Test, SpecialPiecesWhenWanted) {
  const auto stream = tokenizer_.NewText({}, /*skip_special=*/false);
  EXPECT_EQ(stream->Push(5), "[TOOL_CALLS]");
  EXPECT_EQ(stream->Push(a_), " a");
  EXPECT_EQ(stream->Push(2), "</s>");
  EXPECT_EQ(stream->Push(0), " \u2047 ");
}

}  // namespace
}  // namespace alcca
