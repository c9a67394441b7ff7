// Bad tokenizer.json, tekken.json and GGUF vocabularies: one line that names file and key.

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/text/gguf_bpe.h"
#include "engine/text/tekken.h"
#include "engine/text/tokenizer_json.h"

namespace alcca {
namespace {

using nlohmann::json;

json GoldenJson(const std::string& name) {
  std::ifstream in(std::string(ALCCA_TEST_DATA_DIR "/bpe/") + name);
  return json::parse(in);
}

// A file with the value at `pointer` replaced by `value`, and what is said of it.
struct BadTokenizerFile {
  const char* file;  // of tests/golden/bpe
  const char* pointer;
  const char* value;
  const char* message;  // after "x: "
};

class BadTokenizerTest : public testing::TestWithParam<BadTokenizerFile> {};

TEST_P(BadTokenizerTest, IsRefusedInOneLine) {
  const BadTokenizerFile& bad = GetParam();
  json document = GoldenJson(bad.file);
  document[json::json_pointer(bad.pointer)] = json::parse(bad.value);
  const bool tekken = std::string_view(bad.file).starts_with("tekken");
  const absl::Status status =
      tekken ? ParseTekken(document.dump(), "x", 1 << 20).status()
             : ParseTokenizerJson(document.dump(), "x", TokenizerConfig(), 1 << 20).status();
  EXPECT_FALSE(status.ok());
  const std::string message(status.message());
  EXPECT_TRUE(message.starts_with(std::string("x: ") + bad.message)) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

constexpr char kLlama2[] = "llama2/tokenizer.json", kGpt2[] = "gpt2/tokenizer.json",
               kTekken[] = "tekken/tekken.json";
INSTANTIATE_TEST_SUITE_P(
    , BadTokenizerTest,
    testing::ValuesIn(std::vector<BadTokenizerFile>{
        {kGpt2, "/model", "3", "model: missing"},
        {kGpt2, "/model/type", "\"Unigram\"", "model.type: only BPE"},
        {kGpt2, "/model/vocab", "[]", "model.vocab: expected an object"},
        {kGpt2, "/model/vocab", R"({"a": 1, "b": 1})", "model.vocab: two tokens have the id 1"},
        {kGpt2, "/model/vocab/a", "-1", "model.vocab: a token must have"},
        {kGpt2, "/model/vocab/a", "1000000000", "model.vocab: a token must have"},
        {kGpt2, "/model/vocab/a", "999999", "model.vocab: the highest id is 999999"},
        {kGpt2, "/model/merges", "{}", "model.merges: expected a list"},
        {kGpt2, "/model/merges/0", "\"a\"", "model.merges[0]: expected two tokens"},
        {kGpt2, "/model/merges/1", R"(["zz", "a"])", "model.merges[1]: one of the two is"},
        {kGpt2, "/model/merges/1", R"(["!", "~"])", "model.merges[1]: its union is"},
        {kGpt2, "/model/dropout", "0.1", "model: 'dropout'"},
        {kGpt2, "/model/end_of_word_suffix", "\"</w>\"", "model.end_of_word_suffix"},
        {kGpt2, "/model/unk_token", "\"zz\"", "model.unk_token"},
        {kGpt2, "/added_tokens", "{}", "added_tokens: expected a list"},
        {kGpt2, "/added_tokens/0/id", "\"x\"", "added_tokens[0]: 'id'"},
        {kGpt2, "/added_tokens/0/id", "7", "added_tokens[0]: has the id 7, and 0"},
        {kGpt2, "/added_tokens/0/content", "\"\"", "added_tokens[0]: its content"},
        {kGpt2, "/added_tokens/0/content", "\"new\"", "added_tokens: two tokens have the id 0"},
        {kGpt2, "/pre_tokenizer/type", "\"BertPreTokenizer\"", "pre_tokenizer: the type"},
        {kGpt2, "/pre_tokenizer/use_regex", "1", "pre_tokenizer: 'use_regex'"},
        {kGpt2, "/pre_tokenizer",
         R"({"type": "Split", "pattern": {"Regex": "(a"}, "behavior": "Isolated"})",
         "pre_tokenizer: 'pattern': the regular expression is refused"},
        {kGpt2, "/pre_tokenizer",
         R"({"type": "Split", "pattern": {"String": "a"}, "behavior": "X"})",
         "pre_tokenizer: 'behavior': unknown: X"},
        {kGpt2, "/pre_tokenizer", R"({"type": "Sequence", "pretokenizers": 1})",
         "pre_tokenizer: 'pretokenizers': expected a list"},
        {kGpt2, "/pre_tokenizer",
         R"({"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}, {"type": "ByteLevel"}]})",
         "pre_tokenizer.pretokenizers[1]: a step after ByteLevel"},
        {kGpt2, "/pre_tokenizer", "null", "decoder: ByteLevel is expected"},
        {kGpt2, "/normalizer", R"({"type": "Precompiled"})", "normalizer: the type 'Precompiled'"},
        {kGpt2, "/decoder", "null", "decoder: missing"},
        {kGpt2, "/decoder/type", "\"WordPiece\"", "decoder: the type 'WordPiece'"},
        {kLlama2, "/decoder/decoders/3/start", "2", "decoder.decoders[3]: 'start'"},
        {kLlama2, "/post_processor/single/0", R"({"SpecialToken": {"id": "zz"}})",
         "post_processor: 'zz' is no token"},
        {kLlama2, "/post_processor/single/1", R"({"SpecialToken": {"id": "<s>"}})",
         "post_processor: 'single'"},
        {kLlama2, "/post_processor/type", "\"BertProcessing\"", "post_processor: the type"},
        {kTekken, "/config", "[]", "config: missing"},
        {kTekken, "/config/pattern", "\"(\"", "config.pattern: the regular expression"},
        {kTekken, "/config/default_vocab_size", "100", "config.default_vocab_size: is 100"},
        {kTekken, "/config/default_vocab_size", "900000", "vocab: expected a list of at least"},
        {kTekken, "/config/default_num_special_tokens", "0", "config: 'default_num_special"},
        {kTekken, "/vocab", "{}", "vocab: expected a list"},
        {kTekken, "/vocab/3/rank", "4", "vocab[3]: expected the rank 3"},
        {kTekken, "/vocab/3/token_bytes", "\"QQ==\"", "vocab[3]: expected the rank 3"},
        {kTekken, "/vocab/300/token_bytes", "\"?\"", "vocab[300]: expected the rank 300"},
        {kTekken, "/vocab/300/token_bytes", "\"QQ==\"", "vocab: two tokens have the same bytes"},
        {kTekken, "/special_tokens", R"([{"rank": 30, "token_str": "x"}])",
         "special_tokens[0]: 'rank'"},
        {kTekken, "/special_tokens",
         R"([{"rank": 1, "token_str": "x"}, {"rank": 1, "token_str": "y"}])",
         "special_tokens[1]: the rank 1 is there twice"},
        {kTekken, "/special_tokens", R"([{"rank": 1, "token_str": ""}])",
         "special_tokens: a name must have"},
    }));

TEST(TokenizerJson, AddedTokensThatTheModelDoesNotHaveAreLeftOut) {
  const json document = GoldenJson("gpt2/tokenizer.json");
  const auto size = static_cast<int64_t>(document["model"]["vocab"].size());
  json more = document;
  more["added_tokens"].push_back({{"id", size}, {"content", "[PAD]"}, {"special", true}});
  const auto whole = ParseTokenizerJson(more.dump(), "x", {}, size + 1).value();
  EXPECT_EQ(whole->vocab_size(), size + 1);
  EXPECT_EQ(whole->PieceToId("[PAD]"), size);
  const auto cut = ParseTokenizerJson(more.dump(), "x", {}, size).value();
  EXPECT_EQ(cut->vocab_size(), size);
  EXPECT_EQ(cut->PieceToId("[PAD]"), -1);
  EXPECT_EQ(ParseTokenizerJson(more.dump(), "x", {}, size - 1).status().message(),
            absl::StrCat("x: model.vocab: has the id ", size - 1, ", config.json 'vocab_size' is ",
                         size - 1));
}

TEST(TokenizerJson, TokenizerConfigSaysHowATextBegins) {
  const std::string text = GoldenJson("llama2/tokenizer.json").dump();
  TokenizerConfig config;
  EXPECT_EQ(ParseTokenizerJson(text, "x", config, 1000).value()->bos_id(), 1);
  config.add_bos = false;
  EXPECT_EQ(ParseTokenizerJson(text, "x", config, 1000).value()->bos_id(), -1);
  config.add_bos = true;
  config.bos_token = config.eos_token = "</s>";
  EXPECT_EQ(ParseTokenizerJson(text, "x", config, 1000).value()->bos_id(), 2);
  EXPECT_EQ(ParseTokenizerJson(text, "x", config, 1000).value()->eos_id(), 2);
}

// A token whose spelling is a control token's is one, whatever the file says.
TEST(TokenizerJson, SpellingMakesAControlToken) {
  json document = GoldenJson("added/tokenizer.json");
  for (json& token : document["added_tokens"]) {
    token["special"] = false;
  }
  TokenizerConfig config;
  config.control_tokens = {"<left>"};
  const auto tokenizer = ParseTokenizerJson(document.dump(), "x", config, 1000).value();
  EXPECT_TRUE(tokenizer->IsControl(tokenizer->PieceToId("<|end|>")));
  EXPECT_TRUE(tokenizer->IsControl(tokenizer->PieceToId("<left>")));
  EXPECT_FALSE(tokenizer->IsControl(tokenizer->PieceToId("<right>")));
}

TEST(GgufBpe, SaysWhatIsWrong) {
  const auto message = [](GgufBpe vocabulary) {
    return std::string(MakeGgufBpeTokenizer(std::move(vocabulary), "m.gguf").status().message());
  };
  const GgufBpe good = {.tokens = {"a", "b", "ab", "<s>"},
                        .token_types = {1, 1, 1, 3},
                        .merges = {"a b"},
                        .pre = "llama-bpe",
                        .bos_id = 3,
                        .eos_id = 3,
                        .add_bos = true};
  const auto tokenizer = MakeGgufBpeTokenizer(good, "dir/m.gguf").value();
  // "<", "s" and ">" are no tokens here, and bytes without one are dropped.
  EXPECT_EQ(tokenizer->Encode("ab<s>a", {.bos = true}).value(), (std::vector<int32_t>{3, 2, 0}));
  EXPECT_EQ(tokenizer->file_name(), "m.gguf");
  GgufBpe bad = good;
  bad.tokens.clear();
  EXPECT_EQ(message(bad), "m.gguf: tokenizer.ggml.tokens: has 0 tokens, expected 1 to 1048576");
  bad = good;
  bad.token_types.pop_back();
  EXPECT_EQ(message(bad), "m.gguf: tokenizer.ggml.token_type: has 3 entries for 4 tokens");
  bad = good;
  bad.merges = {"ab"};
  EXPECT_EQ(message(bad),
            "m.gguf: tokenizer.ggml.merges[0]: expected two tokens and a space between");
  bad.merges = {"b a"};
  EXPECT_EQ(message(bad),
            "m.gguf: tokenizer.ggml.merges[0]: its union is no token of the vocabulary");
  bad = good;
  bad.pre = "other";
  EXPECT_TRUE(message(bad).starts_with("m.gguf: tokenizer.ggml.pre: 'other' is not supported"));
  bad = good;
  bad.bos_id = 4;
  EXPECT_EQ(message(bad), "m.gguf: tokenizer.ggml.bos_token_id: is no token of the 4");
  bad = good;
  bad.tokens[0] = "\xFF";
  EXPECT_EQ(message(bad), "m.gguf: tokenizer.ggml.tokens[0]: must be UTF-8 of at most 4096 bytes");
}

}  // namespace
}  // namespace alcca
