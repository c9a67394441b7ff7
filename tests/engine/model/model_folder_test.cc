// Opening a model folder: what does not fit together is found before a weight is read.

#include "engine/model/model_folder.h"

#include <cmath>
#include <filesystem>
#include <string>
#include <utility>

#include "engine/model/memory_plan.h"
#include "gtest/gtest.h"
#include "kernels/make_backend.h"
#include "tests/testing/checkpoint_writer.h"

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
