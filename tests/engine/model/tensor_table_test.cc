// The table of tensors against checkpoints: what is missed, what contradicts, what is ignored.

#include "engine/model/tensor_table.h"

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_replace.h"
#include "base/files.h"
#include "gtest/gtest.h"
#include "tests/testing/checkpoint_writer.h"

namespace alcca {
namespace {

using testing::ByteTensors;
using testing::ExpectError;
using testing::TempDir;
using testing::TinyModelConfig;
using testing::WriteTinyCheckpoint;

constexpr char kIndexFile[] = "model.safetensors.index.json";

TEST(TensorTableTest, IsInTheOrderOfLoading) {
  ModelConfig config = TinyModelConfig();
  const TensorTable table(config);
  ASSERT_EQ(table.tensors().size(), 21u);  // two layers of nine, and three
  EXPECT_EQ(table.tensors().front().name, "model.embed_tokens.weight");
  EXPECT_EQ(table.tensors()[1].name, "model.layers.0.input_layernorm.weight");
  EXPECT_EQ(table.tensors()[18].name, "model.layers.1.mlp.down_proj.weight");
  EXPECT_EQ(table.tensors().back().name, "lm_head.weight");
  for (const TensorSpec& spec : table.tensors()) {
    EXPECT_EQ(&table.Get(spec.role, spec.layer), &spec) << spec.name;
  }
  config.tie_word_embeddings = true;
  const TensorTable tied(config);
  EXPECT_EQ(tied.tensors().size(), 20u);
  EXPECT_EQ(tied.Get(TensorRole::kHead).name, "model.embed_tokens.weight");
}

TEST(TensorTableTest, ElementsAreThoseOfTheMatrices) {
  const ModelConfig config = TinyModelConfig();
  const TensorTable table(config);
  int64_t layers = 0;
  for (const TensorSpec& spec : table.tensors()) {
    const bool in_layer = spec.name.find(".layers.") != std::string::npos;
    layers += in_layer && spec.shape.size() == 2 ? spec.shape[0] * spec.shape[1] : 0;
  }
  EXPECT_EQ(config.num_layers * LayerElements(config), layers);
  EXPECT_EQ(HeadElements(config), 512 * 64);
}

TEST(TensorTableTest, AFamilyWithBiasesHasThemBesideItsMatrices) {
  ModelConfig config = TinyModelConfig();
  const TensorTable plain(config);
  EXPECT_EQ(plain.FindBias(TensorRole::kQuery, 0), nullptr);
  const int64_t elements = LayerElements(config);
  config.qkv_bias = true;
  const TensorTable table(config);
  EXPECT_EQ(table.tensors().size(), plain.tensors().size() + 6);
  const TensorSpec* bias = table.FindBias(TensorRole::kKey, 1);
  ASSERT_NE(bias, nullptr);
  EXPECT_EQ(bias->name, "model.layers.1.self_attn.k_proj.bias");
  EXPECT_EQ(bias->shape, std::vector<int64_t>{config.kv_dim()});
  EXPECT_EQ(table.FindBias(TensorRole::kOutput, 0), nullptr);
  EXPECT_EQ(LayerElements(config), elements);
  TempDir dir;
  WriteTinyCheckpoint(dir.path(), TinyModelConfig());
  ExpectError(table.Validate(**Checkpoint::Open(dir.path())), absl::StatusCode::kNotFound,
              {"tensor 'model.layers.0.self_attn.q_proj.bias': missing, expected [64]"});
}

TEST(TensorTableTest, NoticesThatTheFileShrank) {
  TempDir dir;
  WriteTinyCheckpoint(dir.path(), TinyModelConfig());
  const auto checkpoint = Checkpoint::Open(dir.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  std::filesystem::resize_file(dir.File("model.safetensors"), 4096);
  ExpectError(TensorTable(TinyModelConfig()).Validate(**checkpoint),
              absl::StatusCode::kFailedPrecondition, {"model.safetensors: file changed"});
}

// Rewrites the header of a tiny checkpoint (same length) and validates the result.
absl::Status ValidateWith(const std::string& from, const std::string& to,
                          const ModelConfig& config = TinyModelConfig()) {
  TempDir dir;
  WriteTinyCheckpoint(dir.path(), TinyModelConfig());
  auto text = ReadTextFile(dir.File("model.safetensors"), 1 << 20);
  EXPECT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(from.size(), to.size());
  EXPECT_TRUE(from.empty() || absl::StrReplaceAll({{from, to}}, &*text) == 1) << from;
  dir.Write("model.safetensors", *text);
  const auto checkpoint = Checkpoint::Open(dir.path());
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  return checkpoint.ok() ? TensorTable(config).Validate(**checkpoint) : checkpoint.status();
}

TEST(TensorTableTest, EveryNeededTensorIsMissedByName) {
  EXPECT_TRUE(ValidateWith("", "").ok());
  const TensorTable table(TinyModelConfig());
  for (const TensorSpec& spec : table.tensors()) {
    const std::string quoted = "\"" + spec.name + "\"";
    std::string other = quoted;
    other[1] = 'X';
    ExpectError(ValidateWith(quoted, other), absl::StatusCode::kNotFound,
                {"tensor '" + spec.name + "': missing, expected " + ShapeToString(spec.shape)});
  }
}

TEST(TensorTableTest, ComparesEveryDimensionWithTheConfig) {
  const auto with = [](auto change) {
    ModelConfig config = TinyModelConfig();
    change(config);
    return ValidateWith("", "", config);
  };
  const auto code = absl::StatusCode::kInvalidArgument;
  ExpectError(with([](ModelConfig& c) { c.hidden_size = 128; }), code,
              {"tensor 'model.embed_tokens.weight': shape [512, 64], expected [512, 128]"});
  ExpectError(with([](ModelConfig& c) { c.vocab_size = 511; }), code, {"expected [511, 64]"});
  ExpectError(with([](ModelConfig& c) { c.num_heads = 8; }), code,
              {"layers.0.self_attn.q_proj.weight': shape [64, 64], expected [128, 64]"});
  ExpectError(with([](ModelConfig& c) { c.num_kv_heads = 4; }), code,
              {"layers.0.self_attn.k_proj.weight': shape [32, 64], expected [64, 64]"});
  ExpectError(with([](ModelConfig& c) { c.intermediate_size = 177; }), code,
              {"layers.0.mlp.gate_proj.weight': shape [176, 64], expected [177, 64]"});
  ExpectError(with([](ModelConfig& c) { c.num_layers = 1; }), code,
              {"tensor 'model.layers.1.", "beyond num_hidden_layers 1"});
  ExpectError(with([](ModelConfig& c) { c.num_layers = 3; }), absl::StatusCode::kNotFound,
              {"tensor 'model.layers.2.input_layernorm.weight': missing"});
  EXPECT_TRUE(with([](ModelConfig& c) { c.tie_word_embeddings = true; }).ok());
}

TEST(TensorTableTest, RefusesBiasesAndIgnoresLeftovers) {
  TempDir dir;
  dir.Write("a.safetensors", ByteTensors({"model.layers.0.self_attn.q_proj.bias"}));
  dir.Write("model.safetensors", ByteTensors({"model.layers.0.self_attn.q_proj.bias"}));
  const auto biased = Checkpoint::Open(dir.path());
  ASSERT_TRUE(biased.ok());
  ExpectError(TensorTable(TinyModelConfig()).Validate(**biased), absl::StatusCode::kUnimplemented,
              {"tensor 'model.layers.0.self_attn.q_proj.bias': biases are not implemented"});
  dir.Write("model.safetensors", ByteTensors({"model.layers.99999999999999999999.x"}));
  ExpectError(TensorTable(TinyModelConfig()).Validate(**Checkpoint::Open(dir.path())),
              absl::StatusCode::kInvalidArgument, {"beyond num_hidden_layers 2"});

  TempDir good;
  WriteTinyCheckpoint(good.path(), TinyModelConfig(), DType::kBF16, 2);
  auto index = ReadTextFile(good.File(kIndexFile), kMaxIndexBytes);
  ASSERT_TRUE(index.ok()) << index.status();
  const std::string leftovers =
      "\"weight_map\": {\"layers.0.attention.wq.bias\": \"x.safetensors\","
      "\"model.layers.0.self_attn.rotary_emb.inv_freq\": \"x.safetensors\",";
  ASSERT_EQ(absl::StrReplaceAll({{"\"weight_map\": {", leftovers}}, &*index), 1);
  good.Write(kIndexFile, *index);
  good.Write("x.safetensors",
             ByteTensors({"layers.0.attention.wq.bias",
                          "model.layers.0.self_attn.rotary_emb.inv_freq", "model.layers.x.y"}));
  const auto checkpoint = Checkpoint::Open(good.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_TRUE(TensorTable(TinyModelConfig()).Validate(**checkpoint).ok());
}

}  // namespace
}  // namespace alcca
