#include "engine/warm_up.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/testing/fake_model.h"
#include "tests/testing/model_runner.h"

namespace alcca {
namespace {

using testing::FakeModel;

TEST(WarmUp, APromptAndATokenPassAndNothingIsLeft) {
  std::vector<int32_t> rows, lengths;
  FakeModel model({.on_forward = [&](const Batch& batch) {
    rows.push_back(batch.tokens());
    lengths.push_back(batch.sequences[0].kv_len);
  }});
  EXPECT_TRUE(WarmUp(model, {}, 512).ok());
  EXPECT_EQ(rows, (std::vector<int32_t>{32, 1}));
  EXPECT_EQ(lengths, (std::vector<int32_t>{32, 33}));
  EXPECT_EQ(FakeModel::live_states(), 0);
}

TEST(WarmUp, KeepsToSmallLimits) {
  for (const auto& [max_tokens, pages, most] :
       {std::tuple{1, 64, 1}, {2, 64, 1}, {9, 64, 8}, {512, 1, 3}}) {
    int32_t seen = 0;
    FakeModel model({.pages = pages, .on_forward = [&](const Batch& batch) {
                       seen = std::max(seen, batch.tokens());
                     }});
    EXPECT_TRUE(WarmUp(model, {}, max_tokens).ok());
    EXPECT_EQ(seen, most) << max_tokens << " tokens, " << pages << " pages";
  }
}

TEST(WarmUp, DamagedWeightsAreFoundBeforeTheFirstRequest) {
  FakeModel model({.nan_after = 31});
  const absl::Status status = WarmUp(model, {}, 512);
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_NE(status.message().find("weights"), std::string::npos);
}

TEST(WarmUp, AStateThatDoesNotFitIsSaid) {
  FakeModel model({.stateless_k = 8});
  EXPECT_EQ(WarmUp(model, {{.k = 8}}, 512).code(), absl::StatusCode::kResourceExhausted);
}

// What it writes to the cache is nobody's: the same tokens come after it as before it.
TEST(WarmUp, ChangesNoTokenOfTheRealModel) {
  for (const AttentionMode mode :
       {AttentionMode::kDense, AttentionMode::kAlcca, AttentionMode::kMultipole}) {
    AttentionParams attention;
    attention.mode = mode;
    const auto model = testing::LoadModel(ALCCA_MODEL_DIR, WeightDType::kF32, "auto", 1);
    const std::vector<int32_t> prompt = {1, 300, 301, 302, 303};
    const auto before = testing::Greedy(*model, attention, prompt, 12, 4);
    EXPECT_TRUE(WarmUp(*model, attention, 512).ok());
    EXPECT_EQ(testing::Greedy(*model, attention, prompt, 12, 4), before);
  }
}

}  // namespace
}  // namespace alcca
