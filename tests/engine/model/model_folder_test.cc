// Opening a model folder: what does not fit together is found before a weight is read.

#include "engine/model/model_folder.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_replace.h"
#include "base/files.h"
#include "engine/model/memory_plan.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/make_backend.h"
#include "tests/testing/checkpoint_writer.h"
#include "tests/testing/model_runner.h"

namespace alcca {
namespace {

using testing::ExpectError;
using testing::TempDir;
using testing::TinyModelConfig;
using testing::WriteTinyCheckpoint;

constexpr char kTokenizer[] = ALCCA_MODEL_DIR "/tokenizer.model";

TEST(ModelFolderTest, TheEmbeddedModelOpensWhole) {
  const auto folder = ModelFolder::Open(ALCCA_MODEL_DIR);
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_EQ(folder->dir, ALCCA_MODEL_DIR);
  EXPECT_EQ(folder->name, "afia-5m");
  EXPECT_TRUE(folder->warnings.empty());
  EXPECT_EQ(folder->tokenizer->vocab_size(), folder->config.vocab_size);
  EXPECT_TRUE(folder->checkpoint->Contains("model.norm.weight"));
}

TEST(ModelFolderTest, FilesThatContradictEachOtherAreNamed) {
  TempDir dir;
  WriteTinyCheckpoint(dir.path(), TinyModelConfig());
  ExpectError(ModelFolder::Open(dir.path()).status(), absl::StatusCode::kNotFound,
              {": no tokenizer: there is none of tekken.json, tokenizer.model and tokenizer.json"});
  std::filesystem::copy_file(kTokenizer, dir.File("tokenizer.model"));
  ExpectError(ModelFolder::Open(dir.path()).status(), absl::StatusCode::kInvalidArgument,
              {"/tokenizer.model has ", " pieces, config.json 'vocab_size' is 512"});
  EXPECT_TRUE(ModelFolder::OpenWeights(dir.path()).ok());
  dir.Write("alcca.json", R"({"theta": [[1.0]]})");
  ExpectError(ModelFolder::OpenWeights(dir.path()).status(), absl::StatusCode::kInvalidArgument,
              {"/alcca.json: 'theta': 1 lists of 1"});
  dir.Write("alcca.json", "{}");
  ModelConfig wider = TinyModelConfig();
  wider.intermediate_size += 1;
  dir.Write("config.json", ModelConfigToJson(wider));
  ExpectError(ModelFolder::OpenWeights(dir.path()).status(), absl::StatusCode::kInvalidArgument,
              {"mlp.gate_proj.weight': shape [176, 64], expected [177, 64]"});
  ExpectError(ModelFolder::Open(dir.File("no")).status(), absl::StatusCode::kNotFound,
              {"no/config.json"});
}

TEST(ModelFolderTest, EveryPathHasAName) {
  TempDir dir;
  const std::string folder = dir.File("tiny");
  std::filesystem::create_directory(folder);
  WriteTinyCheckpoint(folder, TinyModelConfig());
  const std::filesystem::path before = std::filesystem::current_path();
  for (const std::string& path : {folder, folder + "/", folder + "//", folder + "/../tiny"}) {
    const auto opened = ModelFolder::OpenWeights(path);
    ASSERT_TRUE(opened.ok()) << opened.status();
    EXPECT_EQ(opened->name, "tiny") << path;
  }
  std::filesystem::current_path(folder);
  EXPECT_EQ(ModelFolder::OpenWeights(".")->name, "tiny");
  EXPECT_EQ(ModelFolder::OpenWeights("./")->name, "tiny");
  std::filesystem::current_path(before);
}

// What the tensors are, not what config.json says of them, decides what `auto` loads.
TEST(ModelFolderTest, TensorsDecideTheStoredType) {
  TempDir dir;
  WriteTinyCheckpoint(dir.path(), TinyModelConfig(), DType::kBF16);
  std::string text = *ReadTextFile(dir.File("config.json"), 1 << 20);
  ASSERT_EQ(absl::StrReplaceAll({{"bfloat16", "float32"}}, &text), 1);
  dir.Write("config.json", text);
  EXPECT_EQ(ModelFolder::ReadConfig(dir.path())->torch_dtype, "bfloat16");
  EXPECT_EQ(ModelFolder::OpenWeights(dir.path())->config.torch_dtype, "bfloat16");
  std::filesystem::remove(dir.File("model.safetensors"));  // before a download
  EXPECT_EQ(ModelFolder::ReadConfig(dir.path())->torch_dtype, "float32");
}

TEST(ModelFolderTest, AutoGoesFromF32ByWayOfBf16ToInt8) {
  ModelConfig config = TinyModelConfig();
  config.torch_dtype = "float32";
  const auto chosen = [&](size_t available) {
    const auto plan = PlanMemory(config, {.max_context = 64,
                                          .max_num_seqs = 1,
                                          .max_batch_tokens = 16,
                                          .available_bytes = available});
    EXPECT_TRUE(plan.ok()) << plan.status();
    return plan->options.weight_dtype;
  };
  EXPECT_EQ(chosen(size_t{1} << 30), WeightDType::kF32);
  const auto total = [&](WeightDType dtype) {
    const auto plan = PlanMemory(config, {.weight_dtype = FormatOf(dtype).name,
                                          .max_context = 64,
                                          .max_num_seqs = 1,
                                          .max_batch_tokens = 16});
    return plan->footprint.total();
  };
  EXPECT_EQ(chosen(total(WeightDType::kF32)), WeightDType::kBF16);
  EXPECT_EQ(chosen(total(WeightDType::kInt8)), WeightDType::kInt8);
}

TEST(ModelFolderTest, TensorsThatAreNotReadAreSaid) {
  TempDir dir;
  WriteTinyCheckpoint(dir.path(), TinyModelConfig(), DType::kBF16, 2);
  std::string index = *ReadTextFile(dir.File("model.safetensors.index.json"), kMaxIndexBytes);
  const auto with = [&](const std::vector<std::string>& names) {
    std::string more = "\"weight_map\": {";
    for (const std::string& name : names) {
      more += "\"" + name + "\": \"x.safetensors\",";
    }
    std::string changed = index;
    EXPECT_EQ(absl::StrReplaceAll({{"\"weight_map\": {", more}}, &changed), 1);
    dir.Write("model.safetensors.index.json", changed);
    dir.Write("x.safetensors", testing::ByteTensors(names));
    return ModelFolder::OpenWeights(dir.path());
  };
  EXPECT_THAT(with({"model.layers.0.self_attn.rotary_emb.inv_freq"})->warnings,
              ::testing::IsEmpty());
  EXPECT_THAT(with({"score.weight"})->warnings,
              ::testing::ElementsAre(::testing::EndsWith(
                  "/x.safetensors: tensor 'score.weight' is not one of the model's and is not "
                  "read")));
  EXPECT_THAT(with({"a.x", "b.y", "model.z"})->warnings,
              ::testing::ElementsAre(::testing::EndsWith(
                  "tensor 'a.x' and 2 others are not the model's and are not read")));
  for (const auto& [name, says] : std::vector<std::pair<std::string, std::string>>{
           {"model.layers.0.self_attn.q_proj.lora_A.weight", "an adapter beside the weights"},
           {"base_model.model.layers.0.lora_B.weight", "an adapter beside the weights"},
           {"model.layers.0.self_attn.k_norm.weight", "norms of queries and keys"},
           {"model.layers.0.mlp.experts.3.w1.weight", "experts are not implemented"}}) {
    ExpectError(with({name}).status(), absl::StatusCode::kUnimplemented,
                {"/x.safetensors: tensor '" + name + "': ", says});
  }
}

// A header without padding is valid, and its weights are the same.
TEST(ModelFolderTest, UnalignedWeightsLoad) {
  TempDir dir;
  WriteTinyCheckpoint(dir.path(), TinyModelConfig());
  const auto logits = [&] {
    const auto model = testing::LoadModel(dir.path(), WeightDType::kF32);
    const std::vector<int32_t> tokens = {1, 2, 3};
    return testing::ModelRunner(*model, {}).Feed(tokens, 3);
  };
  const std::vector<float> aligned = logits();
  std::string bytes = *ReadTextFile(dir.File("model.safetensors"), 1 << 24);
  uint64_t size = 0;
  std::memcpy(&size, bytes.data(), sizeof(size));
  bytes.insert(8 + size, " ");
  ++size;
  std::memcpy(bytes.data(), &size, sizeof(size));
  dir.Write("model.safetensors", bytes);
  EXPECT_EQ(logits(), aligned);
}

// One folder may be loaded more than once, and closed afterwards.
TEST(ModelFolderTest, LoadsAModelThatAnswers) {
  TempDir dir;
  WriteTinyCheckpoint(dir.path(), TinyModelConfig());
  auto folder = ModelFolder::OpenWeights(dir.path());
  ASSERT_TRUE(folder.ok()) << folder.status();
  const ModelOptions options = {.weight_dtype = WeightDType::kF32,
                                .max_batch_tokens = 4,
                                .max_logit_rows = 4,
                                .page_tokens = 4,
                                .kv_pages = 2};
  std::vector<std::vector<float>> logits;
  for (int load = 0; load < 2; ++load) {
    auto backend = MakeCpuBackend({.threads = 1, .limits = {.batch_tokens = 4}});
    ASSERT_TRUE(backend.ok()) << backend.status();
    const std::string device = (*backend)->Describe();
    int64_t done = 0, all = 0;
    const auto model =
        LoadModel(*folder, *std::move(backend), options, [&](int64_t bytes, int64_t of) {
          EXPECT_GT(bytes, done);
          done = bytes;
          all = of;
        });
    ASSERT_TRUE(model.ok()) << model.status();
    if (load == 1) {
      folder->checkpoint.reset();
    }
    EXPECT_EQ(done, all);
    EXPECT_EQ((*model)->Describe(), device);
    const ModelFootprint footprint = EstimateFootprint(TinyModelConfig(), options);
    EXPECT_EQ((*model)->kv_bytes(), footprint.kv_bytes);
    const auto state = (*model)->MakeAttentionState({});
    ASSERT_TRUE(state.ok()) << state.status();
    const std::vector<int32_t> tokens = {5, 6, 7}, pages = {1};
    const AttentionParams params;
    AttentionCounters counters;
    Batch batch;
    batch.Append(tokens, 0, pages.data(), &params, state->get(), &counters);
    batch.logit_rows = {0, 2};
    const std::span<const float> got = (*model)->Logits(batch);
    ASSERT_EQ(got.size(), 2u * 512);
    for (const float logit : got) {
      ASSERT_TRUE(std::isfinite(logit));
    }
    logits.emplace_back(got.begin(), got.end());
  }
  EXPECT_EQ(logits[0], logits[1]);
}

}  // namespace
}  // namespace alcca
