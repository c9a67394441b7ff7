// Models in GGUF files: what their metadata says, their tensors against transformers, and their
// vocabulary. Files of tools/golden/make_gguf_model_golden.py.

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/files.h"
#include "engine/model/gguf_config.h"
#include "engine/model/gguf_tokenizer.h"
#include "engine/model/memory_plan.h"
#include "engine/model/model_folder.h"
#include "engine/text/sentencepiece_tokenizer.h"
#include "tests/testing/checkpoint_writer.h"
#include "tests/testing/golden_logprobs.h"
#include "tests/testing/model_runner.h"

namespace alcca::testing {
namespace {

using nlohmann::json;

const std::string kModels = ALCCA_TEST_DATA_DIR "/gguf/models/";
const std::string kFamilies = ALCCA_TEST_DATA_DIR "/families/";

std::string ReadBytes(const std::string& path) {
  const auto bytes = ReadTextFile(path, uint64_t{1} << 24);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  return bytes.value_or("");
}

// Nine types of blocks, rows of q and k in llama.cpp's order, the head apart from the embedding.
TEST(GgufModelTest, BlocksComputeWhatTheirValuesComputeInTransformers) {
  const std::string model = kModels + "llama_blocks.gguf", golden = kModels + "llama_blocks.json";
  for (const char* isa : {"auto", "portable"}) {
    EXPECT_LT(LogProbDifference(model, golden, isa, 96), 1e-3f) << isa;
  }
  EXPECT_LT(LogProbDifference(model, golden, "cuda_emulated_exact", 24), 1e-3f);
  const json recorded = json::parse(std::ifstream(golden));
  const auto loaded = LoadModel(model, WeightDType::kF32);
  for (const json& sample : recorded["greedy"]) {
    EXPECT_EQ(Greedy(*loaded, {}, sample["prompt"].get<std::vector<int32_t>>(), 64, 32),
              sample["tokens"].get<std::vector<int32_t>>());
  }
}

// Biases and a tied head; the divisors of llama 3.1's frequencies.
TEST(GgufModelTest, ConvertedCheckpointsComputeWhatTheirFoldersCompute) {
  for (const std::string name : {"qwen2_default", "llama_llama3_tied"}) {
    EXPECT_LT(
        LogProbDifference(kModels + name + ".gguf", kFamilies + name + "/golden.json", "auto", 160),
        1e-3f)
        << name;
  }
  // The same weights, so the same bits.
  const std::vector<int32_t> tokens = {3, 14, 15, 9, 26, 5, 35, 8};
  const auto file = LoadModel(kModels + "qwen2_default.gguf", WeightDType::kInt8);
  const auto folder = LoadModel(kFamilies + "qwen2_default", WeightDType::kInt8);
  EXPECT_EQ(ModelRunner(*file, {}).Feed(tokens, 8), ModelRunner(*folder, {}).Feed(tokens, 8));
}

TEST(GgufModelTest, MetadataBecomesAConfig) {
  const auto config = ModelFolder::ReadConfig(kModels + "llama_blocks.gguf");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->architecture, "LlamaForCausalLM");
  EXPECT_EQ(config->hidden_size, 256);
  EXPECT_EQ(config->head_dim, 64);
  EXPECT_EQ(config->num_kv_heads, 2);
  EXPECT_EQ(config->max_position_embeddings, 512);
  EXPECT_EQ(config->rope_theta, 10000.0);
  EXPECT_FALSE(config->tie_word_embeddings);
  EXPECT_EQ(config->bos_token_id, 1);
  EXPECT_EQ(config->eos_token_ids, std::vector<int32_t>{2});
  EXPECT_EQ(config->torch_dtype, "blocks");
  EXPECT_EQ(StoredFormat(*config), WeightDType::kBF16);
  EXPECT_EQ(EmbeddingFormat(*config, WeightDType::kF32), WeightDType::kF32);
  EXPECT_EQ(EmbeddingFormat(*config, WeightDType::kInt8), WeightDType::kBF16);

  const auto qwen = ModelFolder::ReadConfig(kModels + "qwen2_default.gguf");
  ASSERT_TRUE(qwen.ok()) << qwen.status();
  EXPECT_TRUE(qwen->qkv_bias && qwen->tie_word_embeddings);
  EXPECT_EQ(qwen->torch_dtype, "bfloat16");
  const auto llama3 = ModelFolder::ReadConfig(kModels + "llama_llama3_tied.gguf");
  ASSERT_TRUE(llama3.ok()) << llama3.status();
  ASSERT_EQ(llama3->rope_scaling.divisors.size(), static_cast<size_t>(llama3->head_dim / 2));
  EXPECT_EQ(llama3->rope_scaling.divisors.back(), 8.0f);
}

TEST(GgufModelTest, OpensWithItsVocabularyAndTemplate) {
  const auto folder = ModelFolder::Open(kModels + "llama_blocks.gguf");
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_EQ(folder->name, "llama_blocks");
  EXPECT_EQ(
      folder->chat_templates.named,
      (std::vector<std::pair<std::string, std::string>>{{"default", "{{ messages[0].content }}"}}));
  EXPECT_EQ(folder->chat_templates.bos_token, "<s>");
  EXPECT_TRUE(folder->warnings.empty());
  const auto original =
      SentencePieceTokenizer::Load(ALCCA_TEST_DATA_DIR "/tokenizer/tokenizer.model.tiny_bytes");
  ASSERT_TRUE(original.ok()) << original.status();
  EXPECT_EQ(folder->tokenizer->vocab_size(), original->vocab_size());
  EXPECT_EQ(folder->tokenizer->bos_id(), original->bos_id());
  EXPECT_EQ(folder->tokenizer->eos_id(), original->eos_id());
  for (const std::string text : {"", " ", "hello  world", "Ärger\n\twith bytes \xF0\x9F\x99\x82",
                                 "</s><s>[INST] <0x41>", "The quick brown fox, 12345."}) {
    const std::vector<int32_t> ids = folder->tokenizer->Encode(text, {.bos = true}).value();
    EXPECT_EQ(ids, original->Encode(text, {.bos = true}).value()) << text;
    EXPECT_EQ(folder->tokenizer->Decode(ids), original->Decode(ids)) << text;
  }
}

// A file whose bytes `from` are `to`, of the same length; "" for the file as it is.
absl::Status OpenChanged(const std::string& name, const std::string& from, const std::string& to) {
  TempDir dir;
  std::string bytes = ReadBytes(kModels + name);
  EXPECT_EQ(from.size(), to.size());
  const size_t at = bytes.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  bytes.replace(at, from.size(), to);
  return ModelFolder::Open(dir.Write("m.gguf", bytes)).status();
}

TEST(GgufModelTest, WhatIsWrongIsNamed) {
  const auto refuses = [](const std::string& from, const std::string& to, absl::StatusCode code,
                          const std::string& says) {
    ExpectError(OpenChanged("llama_blocks.gguf", from, to), code, {"m.gguf: ", says});
  };
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  constexpr auto kMissing = absl::StatusCode::kNotFound;
  constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;
  for (const char* key : {"embedding_length", "feed_forward_length", "block_count",
                          "attention.head_count\x04", "context_length"}) {
    std::string other = key;
    other[0] = 'X';
    refuses(key, other, kInvalid, std::string("key 'llama."));
  }
  // Lengths of strings are bytes before them, so names of equal length can be exchanged.
  refuses("general.architecture", "general.architectuXX", kUnimplemented,
          "key 'general.architecture': expected llama or qwen2, found nothing");
  refuses("tokenizer.ggml.model", "tokenizer.ggml.modeX", kUnimplemented,
          "key 'tokenizer.ggml.model': expected llama");
  refuses("tokenizer.ggml.tokens", "tokenizer.ggml.tokenX", kInvalid,
          "key 'tokenizer.ggml.tokens': missing");
  refuses("tokenizer.ggml.scores", "tokenizer.ggml.scorex", kInvalid,
          "key 'tokenizer.ggml.scores': 0 items, expected one for each of");
  refuses("tokenizer.ggml.token_type", "tokenizer.ggml.token_typX", kInvalid,
          "key 'tokenizer.ggml.token_type': 0 items, expected one for each of");
  refuses("token_embd.weight", "token_embX.weight", kMissing,
          "tensor 'token_embd.weight': missing");
  refuses("output_norm.weight", "output_normXweight", kMissing,
          "tensor 'output_norm.weight': missing, expected [256]");
  refuses("blk.0.ffn_up.weight", "blk.7.ffn_up.weight", kInvalid, "beyond num_hidden_layers 1");
  refuses("blk.0.ffn_norm.weight", "blk.0.attn_q_norm.wei", kUnimplemented,
          "tensor 'blk.0.attn_q_norm.wei': norms of queries and keys are not implemented");
  refuses("output_norm.weight", "blk.0.lora_b.weigh", kUnimplemented, "an adapter beside");
  // Another number under a key: the value's four bytes follow the type of the key.
  const auto u32 = [](uint32_t value) {
    std::string bytes(4, '\0');
    std::memcpy(bytes.data(), &value, 4);
    return bytes;
  };
  const auto key = [&](const std::string& name, uint32_t value) {
    return name + u32(4) + u32(value);
  };
  refuses(key("head_count_kv", 2), key("head_count_kv", 3), kInvalid, "'num_key_value_heads'");
  refuses(key("rope.dimension_count", 64), key("rope.dimension_count", 32), kUnimplemented,
          "key 'llama.rope.dimension_count': expected the whole head");
  refuses(key("value_length", 64), key("value_length", 32), kUnimplemented,
          "key 'llama.attention.value_length'");
  refuses(key("block_count", 1), key("block_count", 0), kInvalid,
          "key 'llama.block_count': expected an integer in [1, 1024], found 0");
  refuses(key("bos_token_id", 1), key("bos_token_id", 100'000), kInvalid,
          "key 'tokenizer.ggml.bos_token_id': 100000 is not in the vocabulary");
  refuses(key("context_length", 512), key("residual_scale", 512), kUnimplemented,
          "key 'llama.residual_scale': expected 0, found 512");
}

TEST(GgufModelTest, AFolderWithAGgufNamesTheFile) {
  TempDir dir;
  dir.Write("model.Q8_0.gguf", ReadBytes(kModels + "llama_blocks.gguf"));
  ExpectError(ModelFolder::Open(dir.path()).status(), absl::StatusCode::kNotFound,
              {"has no config.json, but a GGUF: serve that file by its name, ", "model.Q8_0.gguf"});
  EXPECT_EQ(ModelFolder::Open(dir.File("model.Q8_0.gguf"))->name, "model.Q8_0");
}

// Kinds of vocabulary of which the file has nothing to load must not crash either.
TEST(GgufModelTest, OtherVocabulariesAreRefusedOrRead) {
  const std::string path = kModels + "qwen2_default.gguf";
  const auto folder = ModelFolder::Open(path);
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_EQ(folder->tokenizer->vocab_size(), folder->config.vocab_size);
  EXPECT_EQ(folder->tokenizer->IdToPiece(7), "t7");
  std::string bytes = ReadBytes(path);
  const std::string key = "tokenizer.ggml.model";
  const size_t kind = bytes.find("gpt2", bytes.find(key));
  ASSERT_NE(kind, std::string::npos);
  bytes.replace(kind, 4, "bert");
  TempDir dir;
  std::ofstream(dir.File("other.gguf"), std::ios::binary) << bytes;
  ExpectError(ModelFolder::Open(dir.File("other.gguf")).status(), absl::StatusCode::kUnimplemented,
              {"other.gguf: key '" + key + "': expected llama or gpt2, found"});
}

}  // namespace
}  // namespace alcca::testing
