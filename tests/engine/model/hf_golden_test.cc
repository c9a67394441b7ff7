// The model against Hugging Face transformers: recorded logits and greedy tokens of small random
// checkpoints with odd shapes (tools/golden/make_hf_golden.py). hf_live_test.py points
// ALCCA_HF_GOLDEN_DIR at freshly made ones.

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "tests/testing/golden_logprobs.h"
#include "tests/testing/model_runner.h"

namespace alcca::testing {
namespace {

using nlohmann::json;

std::string GoldenDir() {
  const char* live = std::getenv("ALCCA_HF_GOLDEN_DIR");
  return live != nullptr ? live : ALCCA_TEST_DATA_DIR "/hf";
}

std::vector<float> Floats(const json& base64) {
  std::string bytes;
  EXPECT_TRUE(absl::Base64Unescape(base64.get<std::string>(), &bytes));
  std::vector<float> floats(bytes.size() / sizeof(float));
  std::memcpy(floats.data(), bytes.data(), bytes.size());
  return floats;
}

float MaxDifference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  float worst = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const float difference = std::abs(a[i] - b[i]);
    worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
  }
  return worst;
}

class HfGoldenTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    dir_ = GoldenDir() + "/" + GetParam();
    golden_ = json::parse(std::ifstream(dir_ + "/golden.json"));
    tokens_ = golden_["tokens"].get<std::vector<int32_t>>();
    ASSERT_EQ(tokens_.size(), 200u);
  }
  AttentionParams Alcca() const {
    const json& alcca = golden_["alcca"];
    return {{.mode = AttentionMode::kAlcca,
             .theta = alcca["theta"],
             .k = alcca["k"],
             .epsilon = alcca["epsilon"]}};
  }
  std::vector<float> LogProbs(Model& model, const AttentionParams& attention, int32_t chunk) const {
    return LogSoftmax(ModelRunner(model, attention).Feed(tokens_, chunk), model.vocab_size());
  }

  std::string dir_;
  json golden_;
  std::vector<int32_t> tokens_;
};

TEST_P(HfGoldenTest, DenseLogProbsWithinOneThousandthOfANat) {
  const std::vector<float> expected = Floats(golden_["logprobs"]);
  for (const char* isa : {"auto", "portable"}) {
    const auto model = LoadModel(dir_, WeightDType::kF32, isa);
    EXPECT_LT(MaxDifference(LogProbs(*model, {}, 200), expected), 1e-3f) << isa;
  }
}

// A prompt in two chunks and three decoded tokens: what the emulator can bear.
TEST_P(HfGoldenTest, EmulatedCudaDenseLogProbsWithinOneThousandthOfANat) {
  constexpr size_t kTokens = 40;
  const auto model = LoadModel(dir_, WeightDType::kF32, "cuda_emulated_exact");
  const size_t vocab = static_cast<size_t>(model->vocab_size());
  std::vector<float> expected = Floats(golden_["logprobs"]);
  expected.resize(kTokens * vocab);
  ModelRunner runner(*model, {});
  std::vector<float> logits = runner.Feed(std::span(tokens_).first(kTokens - 3), 20);
  const std::vector<float> decoded = runner.Feed(std::span(tokens_).subspan(kTokens - 3, 3), 1);
  logits.insert(logits.end(), decoded.begin(), decoded.end());
  EXPECT_LT(MaxDifference(LogSoftmax(logits, model->vocab_size()), expected), 1e-3f);
}

TEST_P(HfGoldenTest, AlccaLogProbsWithinOneThousandthOfANat) {
  const std::vector<float> expected = Floats(golden_["alcca"]["logprobs"]);
  const auto model = LoadModel(dir_, WeightDType::kF32);
  EXPECT_LT(MaxDifference(LogProbs(*model, Alcca(), 200), expected), 1e-3f);

  ModelRunner runner(*model, Alcca());
  runner.Feed(tokens_, 200);
  const AttentionCounters& counters = runner.counters()[static_cast<int>(Phase::kPrefill)];
  EXPECT_GT(counters.near_queries, counters.queries / 10);  // both branches were exercised
  EXPECT_LT(counters.near_queries, counters.queries * 9 / 10);
}

TEST_P(HfGoldenTest, ChunkSizeDoesNotChangeABit) {
  const auto model = LoadModel(dir_, WeightDType::kF32);
  for (const AttentionParams& attention : {AttentionParams{}, Alcca()}) {
    const std::vector<float> whole = LogProbs(*model, attention, 200);
    for (int32_t chunk : {1, 7, 64}) {
      EXPECT_EQ(LogProbs(*model, attention, chunk), whole) << "chunk " << chunk;
    }
  }
}

TEST_P(HfGoldenTest, GreedyTokensAreExact) {
  const auto model = LoadModel(dir_, WeightDType::kF32);
  ASSERT_EQ(golden_["greedy"].size(), 16u);
  for (const json& sample : golden_["greedy"]) {
    const auto prompt = sample["prompt"].get<std::vector<int32_t>>();
    EXPECT_EQ(Greedy(*model, {}, prompt, 64, 32), sample["tokens"].get<std::vector<int32_t>>());
  }
}

// CUDA as it serves: products by the library and by our own kernels, keys and values in bf16.
TEST_P(HfGoldenTest, Bf16AndInt8StayClose) {
  const std::vector<float> expected = Floats(golden_["logprobs"]);
  // Mean, not maximum: these networks are tiny and wide-tailed, so single logits move a lot.
  const auto mean = [&](WeightDType dtype, const char* isa, size_t tokens) {
    const auto model = LoadModel(dir_, dtype, isa);
    const std::vector<float> got = LogSoftmax(
        ModelRunner(*model, {}).Feed(std::span(tokens_).first(tokens), 200), model->vocab_size());
    double sum = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      sum += std::abs(got[i] - expected[i]);
    }
    return sum / static_cast<double>(got.size());
  };
  EXPECT_LT(mean(WeightDType::kBF16, "auto", 200), 0.05);
  EXPECT_LT(mean(WeightDType::kInt8, "auto", 200), 0.25);
  // Of 97 rows the library makes the products, of 24 our own kernel.
  for (const size_t tokens : {24, 97}) {
    EXPECT_LT(mean(WeightDType::kBF16, "cuda_emulated", tokens), 0.05) << tokens;
    EXPECT_LT(mean(WeightDType::kInt8, "cuda_emulated", tokens), 0.25) << tokens;
  }
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, HfGoldenTest, ::testing::ValuesIn(GoldenCases(GoldenDir())),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace alcca::testing
