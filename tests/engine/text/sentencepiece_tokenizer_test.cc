#include "engine/text/sentencepiece_tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "base/utf8.h"

namespace alcca {
namespace {

const std::string kTokenizers = std::string(ALCCA_TEST_DATA_DIR) + "/tokenizer/";

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::vector<std::string> ReadLines(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    lines.push_back(line);
  }
  return lines;
}

std::vector<std::string> ReadTexts(const std::string& path) {
  std::vector<std::string> texts;
  for (const std::string& line : ReadLines(path)) {
    texts.push_back(nlohmann::json::parse(line).get<std::string>());
  }
  return texts;
}

std::string FromHex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

uint64_t Fnv1a(std::string_view data) {
  uint64_t value = 0xCBF29CE484222325u;
  for (const char c : data) {
    value = (value ^ static_cast<uint8_t>(c)) * 0x100000001B3u;
  }
  return value;
}

std::string HashLine(std::string_view data) {
  char text[32];
  std::snprintf(text, sizeof(text), "%016" PRIx64, Fnv1a(data));
  return text;
}

std::string IdsLine(const std::vector<int32_t>& ids) {
  std::string bytes;
  for (const int32_t id : ids) {
    for (int shift = 0; shift < 32; shift += 8) {
      bytes.push_back(static_cast<char>(id >> shift));
    }
  }
  return std::to_string(ids.size()) + " " + HashLine(bytes);
}

SentencePieceTokenizer LoadGolden(const std::string& model) {
  absl::StatusOr<SentencePieceTokenizer> tokenizer =
      SentencePieceTokenizer::Load(kTokenizers + "tokenizer.model." + model);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

// DecodeCase(k) of tools/golden/make_tokenizer_golden.py.
std::vector<int32_t> DecodeCase(uint64_t k, const SentencePieceTokenizer& tokenizer) {
  static const std::vector<std::string> kCharacters = {
      "a",      " ",      "\u00e9", "\u0416",     "\u2581",     "\u20ac",
      "\ufffd", "\ud7ff", "\ue000", "\U00010000", "\U0001F600", "\U0010ffff"};
  uint64_t state = k;
  const auto next = [&state](int64_t limit) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<int64_t>(state >> 33) % limit;
  };
  const int64_t vocab = tokenizer.vocab_size();
  const int64_t first_byte = std::max(tokenizer.PieceToId("<0x00>"), 0);
  std::vector<int64_t> ids;
  for (int64_t left = 1 + next(24); left > 0; --left) {
    const int64_t kind = next(8);
    if (kind < 2) {
      ids.push_back(next(vocab));
    } else if (kind == 2) {
      ids.push_back(first_byte + 0x80 + next(0x80));
    } else if (kind == 3) {
      ids.push_back(first_byte + next(256));
    } else if (kind < 6) {
      const std::string& bytes = kCharacters[next(kCharacters.size())];
      const int64_t size = bytes.size();
      const int64_t whole = next(3) != 0 ? size : 1 + next(size);
      for (int64_t i = 0; i < whole; ++i) {
        ids.push_back(first_byte + static_cast<uint8_t>(bytes[i]));
      }
    } else if (kind == 6) {
      ids.push_back(next(4));
    } else {
      ids.push_back(vocab - 1 - next(vocab / 2));
    }
  }
  std::vector<int32_t> result;
  for (const int64_t id : ids) {
    result.push_back(static_cast<int32_t>(id % vocab));
  }
  return result;
}

class GoldenTest : public ::testing::TestWithParam<const char*> {
 protected:
  GoldenTest() : tokenizer_(LoadGolden(GetParam())) {}

  std::vector<std::string> Texts() const {
    if (std::string(GetParam()).starts_with("tiny")) {
      return ReadTexts(kTokenizers + "tiny.jsonl");
    }
    std::vector<std::string> texts = ReadTexts(kTokenizers + "lines.jsonl");
    for (const std::string& hex : ReadLines(kTokenizers + "invalid.hex")) {
      texts.push_back(FromHex(hex));
    }
    return texts;
  }

  const SentencePieceTokenizer tokenizer_;
};

TEST_P(GoldenTest, EncodesAsSentencePieceDoes) {
  const std::vector<std::string> texts = Texts();
  const std::vector<std::string> expected = ReadLines(kTokenizers + GetParam() + ".encode");
  ASSERT_EQ(texts.size(), expected.size());
  ASSERT_GE(texts.size(), 1500u);
  int wrong = 0;
  for (size_t i = 0; i < texts.size() && wrong < 5; ++i) {
    const std::string found = IdsLine(tokenizer_.Encode(texts[i]).value());
    wrong += found != expected[i];
    EXPECT_EQ(found, expected[i]) << "line " << i + 1 << ": " << ::testing::PrintToString(texts[i]);
  }
}

TEST_P(GoldenTest, DecodesAsSentencePieceDoes) {
  const std::vector<std::string> expected = ReadLines(kTokenizers + GetParam() + ".decode");
  ASSERT_EQ(expected.size(), 4000u);
  for (size_t k = 0; k < expected.size(); ++k) {
    const std::vector<int32_t> ids = DecodeCase(k, tokenizer_);
    const std::string text = tokenizer_.Decode(ids);
    ASSERT_EQ(HashLine(text), expected[k])
        << "case " << k << ": " << ::testing::PrintToString(ids) << " " << text;
    ASSERT_TRUE(IsValidUtf8(text));
  }
}

TEST_P(GoldenTest, TextNeverGivesAControlPiece) {
  for (int32_t id = 0; id < tokenizer_.vocab_size(); ++id) {
    if (!tokenizer_.IsControl(id) && !tokenizer_.model().IsUnknown(id) &&
        !tokenizer_.model().IsByte(id)) {
      continue;
    }
    const std::string name(tokenizer_.IdToPiece(id));
    for (const std::string& text : {name, " " + name, name + name, "x" + name + "x"}) {
      const std::vector<int32_t> ids = tokenizer_.Encode(text).value();
      ASSERT_GT(ids.size(), 1u) << text;  // "<0x30>" is characters, not the byte 0x30.
      for (const int32_t found : ids) {
        ASSERT_FALSE(tokenizer_.IsControl(found)) << text;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenTest,
                         ::testing::Values("v1", "v3", "tiny_bytes", "tiny_bytes_strip",
                                           "tiny_plain", "tiny_plain_strip"));

TEST(SentencePieceTokenizerTest, KnowsThePiecesOfTheRealModels) {
  const SentencePieceTokenizer v1 = LoadGolden("v1");
  EXPECT_EQ(v1.vocab_size(), 32000);
  EXPECT_EQ(v1.PieceToId("[INST]"), -1);
  const SentencePieceTokenizer v3 = LoadGolden("v3");
  EXPECT_EQ(v3.vocab_size(), 32768);
  EXPECT_EQ(v3.model().unk_id(), 0);
  EXPECT_EQ(v3.bos_id(), 1);
  EXPECT_EQ(v3.eos_id(), 2);
  EXPECT_EQ(v3.PieceToId("[TOOL_CALLS]"), 5);
  EXPECT_TRUE(v3.IsControl(5));
  EXPECT_EQ(v3.IdToPiece(1032), "\u2581a");
  EXPECT_TRUE(v3.model().IsByte(781));
  EXPECT_EQ(v3.model().ByteValue(781), 0x0A);
  EXPECT_EQ(v3.model().ByteValue(1032), -1);
  for (const int32_t id : {-1, 32768, std::numeric_limits<int32_t>::min()}) {
    EXPECT_EQ(v3.IdToPiece(id), "");
    EXPECT_FALSE(v3.IsControl(id));
    EXPECT_EQ(v3.Decode(std::vector<int32_t>{id}), "");
  }
  for (int32_t id = 0; id < v3.vocab_size(); ++id) {
    ASSERT_EQ(v3.PieceToId(v3.IdToPiece(id)), id);
  }
}

TEST(SentencePieceTokenizerTest, EncodesTheKnownExamples) {
  const SentencePieceTokenizer v3 = LoadGolden("v3");
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(v3.Encode("").value(), Ids());
  EXPECT_EQ(v3.Encode("a").value(), Ids({1032}));
  EXPECT_EQ(v3.Encode(" a").value(), Ids({29473, 1032}));
  EXPECT_EQ(v3.Encode("a", {.bos = true, .eos = true}).value(), Ids({1, 1032, 2}));
  EXPECT_EQ(v3.Encode("Hello, world! \u00e9\U0001F600").value(),
            Ids({23325, 29493, 2294, 29576, 2001, 31343}));
  EXPECT_EQ(v3.Decode(Ids({1, 4, 1032, 4, 1055, 2})), "a b");
  EXPECT_EQ(v3.Decode(Ids({1, 1032, 2}), /*skip_special=*/false), "<s> a</s>");
}

TEST(SentencePieceTokenizerTest, DecodeUndoesEncode) {
  const SentencePieceTokenizer v3 = LoadGolden("v3");
  for (const std::string& text : ReadTexts(kTokenizers + "lines.jsonl")) {
    std::string expected = text;  // U+2581 is how a space is spelled, so it comes back as one.
    for (size_t at; (at = expected.find("\u2581")) != std::string::npos;) {
      expected.replace(at, 3, " ");
    }
    ASSERT_EQ(v3.Decode(v3.Encode(text).value()), expected);
  }
}

// Long inputs of the kinds that break quadratic encoders; the time limit of the test is the check.
TEST(SentencePieceTokenizerTest, LongInputsStayLinear) {
  const SentencePieceTokenizer v3 = LoadGolden("v3");
  std::string mixed;
  for (int i = 0; i < 100000; ++i) {
    mixed += i % 3 == 0 ? "the " : i % 3 == 1 ? "\n" : "\U0001F600z";
  }
  for (const std::string& text :
       {std::string(500000, 'a'), std::string(500000, ' '), std::string(500000, '\x01'), mixed}) {
    EXPECT_EQ(v3.Decode(v3.Encode(text).value()), text);
  }
}

// Protobuf by hand, to make files that break one rule each.
std::string Varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) {
    out.push_back(static_cast<char>(value | 0x80));
  }
  return out + static_cast<char>(value);
}
std::string Bytes(int field, const std::string& value) {
  return Varint(field << 3 | 2) + Varint(value.size()) + value;
}
std::string Number(int field, int64_t value) {
  return Varint(field << 3) + Varint(value);
}
std::string Score(float score) {
  return Varint(2 << 3 | 5) + std::string(reinterpret_cast<const char*>(&score), 4);
}
std::string PieceOf(const std::string& text, int type, float score = 0) {
  return Bytes(1, Bytes(1, text) + Score(score) + Number(3, type));
}
const std::string kPieces = PieceOf("<unk>", 2) + PieceOf("<s>", 3) + PieceOf("</s>", 3) +
                            PieceOf("a", 1) + PieceOf("b", 1) + PieceOf("ab", 1);
const std::string kTrainer = Bytes(2, Number(3, 2));
const std::string kNormalizer = Bytes(3, Bytes(1, "identity"));

struct BadSentencePiece {
  std::string bytes;
  absl::StatusCode code;
  std::string rule;
};

std::vector<BadSentencePiece> BadFiles() {
  const auto bad = absl::StatusCode::kInvalidArgument;
  const auto unimplemented = absl::StatusCode::kUnimplemented;
  std::string bytes255;
  for (int i = 0; i < 255; ++i) {
    char name[8];
    std::snprintf(name, sizeof(name), "<0x%02X>", i);
    bytes255 += PieceOf(name, 6);
  }
  const std::string good = kPieces + kTrainer + kNormalizer;
  return {
      {"", unimplemented, "model_type is 1"},
      {kTrainer, bad, "no pieces"},
      {good + "\x0A", bad, "number cut off"},
      {good + std::string("\x0A\xFF\xFF\xFF\xFF\x0F", 6), bad, "runs past the end"},
      {good + "\x0A" + std::string(10, '\xFF'), bad, "longer than 10 bytes"},
      {good + std::string("\x00\x00", 2), bad, "field number 0"},
      {good + "\x33", bad, "wire type"},
      {good + "\x35\x01", bad, "cut off"},
      {good + "\x31\x01", bad, "cut off"},
      {good + Number(1, 5), bad, "model field 1 has wire type 0"},
      {good + Bytes(1, Bytes(2, "1234")), bad, "piece field 2 has wire type 2"},
      {good + Bytes(1, Number(1, 4)), bad, "piece field 1 has wire type 0"},
      {good + Bytes(1, Bytes(3, "x")), bad, "piece field 3 has wire type 2"},
      {good + Bytes(2, Bytes(3, "x")), bad, "trainer_spec field 3 has wire type 2"},
      {good + Bytes(2, Number(46, 1)), bad, "trainer_spec field 46 has wire type 0"},
      {good + Bytes(2, Bytes(44, "\xFF")), bad, "unk_surface is not valid UTF-8"},
      {good + Bytes(3, Number(2, 1)), bad, "normalizer_spec field 2 has wire type 0"},
      {good + Bytes(3, Bytes(4, "x")), bad, "normalizer_spec field 4 has wire type 2"},
      {good + PieceOf("", 1), bad, "piece 6: is empty"},
      {good + Bytes(1, ""), bad, "piece 6: is empty"},
      {good + PieceOf(std::string(1025, 'x'), 1), bad, "piece 6: is longer than 1024 bytes"},
      {good + PieceOf("\xC3", 1), bad, "piece 6: is not valid UTF-8"},
      {good + PieceOf("\xED\xA0\x80", 1), bad, "piece 6: is not valid UTF-8"},
      {good + PieceOf("x", 1, std::nanf("")), bad, "piece 6: has score NaN"},
      {good + PieceOf("x", 0), bad, "piece 6: has unknown type 0"},
      {good + PieceOf("x", 7), bad, "piece 6: has unknown type 7"},
      {good + PieceOf("ab", 1), bad, "piece 6: repeats piece 5"},
      {good + PieceOf("<s>", 1), bad, "piece 6: repeats piece 1"},
      {good + PieceOf("u", 2), bad, "piece 6: is a second UNKNOWN piece, after 0"},
      {PieceOf("a", 1) + kTrainer, bad, "no UNKNOWN piece"},
      {good + PieceOf("<0x41>", 6), bad, "piece 6: is a BYTE piece without byte_fallback"},
      {good + PieceOf("<0x4g>", 6), bad, "not of the form <0xAB>"},
      {good + PieceOf("<0xab>", 6), bad, "not of the form <0xAB>"},
      {good + bytes255 + Bytes(2, Number(35, 1)), bad, "without all 256 BYTE pieces"},
      {good + Bytes(2, Number(40, 3)), bad, "unk_id is 3, but by its piece it is 0"},
      {good + Bytes(2, Number(41, 2)), bad, "bos_id is 2, but by its piece it is 1"},
      {good + Bytes(2, Number(42, 9)), bad, "eos_id is 9, but by its piece it is 2"},
      {good + Bytes(2, Bytes(46, "nix") + Number(41, 1)), bad, "bos_id is 1"},
      {good + Bytes(2, Number(3, 1)), unimplemented, "model_type is 1"},
      {good + Bytes(2, Number(3, 3)), unimplemented, "model_type is 3"},
      {good + Bytes(2, Number(24, 1)), unimplemented, "treat_whitespace_as_suffix"},
      {good + Bytes(3, Bytes(1, "nmt_nfkc")), unimplemented, "identity normalizer"},
      {good + Bytes(3, Bytes(2, "map")), unimplemented, "identity normalizer"},
      {good + Bytes(5, Bytes(2, "map")), unimplemented, "denormalizer_spec"},
  };
}

TEST(SentencePieceTokenizerTest, BadFilesGiveOneLineThatNamesFileAndRule) {
  ASSERT_TRUE(SentencePieceTokenizer::FromBytes(kPieces + kTrainer + kNormalizer, "good").ok());
  for (const BadSentencePiece& file : BadFiles()) {
    const absl::Status status =
        SentencePieceTokenizer::FromBytes(file.bytes, "dir/tokenizer.model").status();
    EXPECT_EQ(status.code(), file.code) << file.rule << ": " << status;
    const std::string message(status.message());
    EXPECT_TRUE(message.starts_with("dir/tokenizer.model: ")) << message;
    EXPECT_NE(message.find(file.rule), std::string::npos) << message << "; wanted " << file.rule;
    EXPECT_EQ(message.find('\n'), std::string::npos);
  }
}

TEST(SentencePieceTokenizerTest, PieceCountIsCapped) {
  std::string bytes = kTrainer + kPieces;
  for (size_t i = 6; i < kMaxTokenizerPieces; ++i) {
    bytes += Bytes(1, Bytes(1, "p" + std::to_string(i)));
  }
  EXPECT_TRUE(SentencePieceTokenizer::FromBytes(bytes, "model").ok());
  bytes += PieceOf("x", 1);
  EXPECT_EQ(SentencePieceTokenizer::FromBytes(bytes, "model").status().message(),
            "model: more than 1000000 pieces");
}

TEST(SentencePieceTokenizerTest, EveryTruncationIsAnError) {
  const std::string model = ReadFile(kTokenizers + "tokenizer.model.tiny_plain");
  std::vector<size_t> valid;
  for (size_t size = 0; size < model.size(); ++size) {
    if (SentencePieceTokenizer::FromBytes(model.substr(0, size), "cut").ok()) {
      valid.push_back(size);
    }
  }
  // But for the cut just before normalizer_spec, which may be absent.
  ASSERT_EQ(valid.size(), 1u);
  EXPECT_EQ(model[valid[0]], '\x1A');
}

TEST(SentencePieceTokenizerTest, LoadRefusesWhatIsNoFile) {
  EXPECT_EQ(SentencePieceTokenizer::Load(kTokenizers + "absent").status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(SentencePieceTokenizer::Load(kTokenizers).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(SentencePieceTokenizer::Load("/dev/zero").status().code(),
            absl::StatusCode::kInvalidArgument);
  const std::string large = ::testing::TempDir() + "alcca_large_tokenizer.model";
  std::ofstream(large).close();
  std::filesystem::resize_file(large, kMaxTokenizerBytes + 1);  // Sparse.
  EXPECT_EQ(SentencePieceTokenizer::Load(large).status().message(),
            large + ": file of 67108865 bytes, at most 67108864");
  std::filesystem::remove(large);
  EXPECT_EQ(SentencePieceTokenizer::FromBytes(std::string(kMaxTokenizerBytes + 1, 'x'), "large")
                .status()
                .message(),
            "large: larger than 64 MiB");
}

TEST(SentencePieceTokenizerTest, MovedTokenizerStillWorks) {
  SentencePieceTokenizer first = LoadGolden("tiny_bytes");
  const std::vector<int32_t> ids = first.Encode("the <tool>x other").value();
  const SentencePieceTokenizer second = std::move(first);
  EXPECT_EQ(second.Encode("the <tool>x other").value(), ids);
}

}  // namespace
}  // namespace alcca
