// Every family and every kind of scaled rotary embeddings against Hugging Face transformers: small
// random checkpoints of tools/golden/make_family_golden.py. hf_live_test.py points
// ALCCA_FAMILY_GOLDEN_DIR at freshly made ones.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "tests/testing/model_runner.h"

namespace alcca::testing {
namespace {

using nlohmann::json;

std::string GoldenDir() {
  const char* live = std::getenv("ALCCA_FAMILY_GOLDEN_DIR");
  return live != nullptr ? live : ALCCA_TEST_DATA_DIR "/families";
}

std::vector<std::string> Cases() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(GoldenDir())) {
    if (entry.is_directory()) {
      names.push_back(entry.path().filename());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

class FamilyGoldenTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    dir_ = GoldenDir() + "/" + GetParam();
    golden_ = json::parse(std::ifstream(dir_ + "/golden.json"));
    tokens_ = golden_["tokens"].get<std::vector<int32_t>>();
    ASSERT_TRUE(absl::Base64Unescape(golden_["logprobs"].get<std::string>(), &logprobs_));
  }

  // The largest difference of the recorded log-probabilities of the first `count` tokens.
  float Difference(const std::string& isa, size_t count) const {
    const auto model = LoadModel(dir_, WeightDType::kF32, isa);
    const size_t vocab = static_cast<size_t>(model->vocab_size()), every = golden_["every"];
    const std::vector<float> got = LogSoftmax(
        ModelRunner(*model, {}).Feed(std::span(tokens_).first(count), 32), model->vocab_size());
    float worst = 0;
    for (size_t token = 0; token < count; token += every) {
      std::vector<float> row(vocab);
      std::memcpy(row.data(), logprobs_.data() + token / every * vocab * sizeof(float),
                  vocab * sizeof(float));
      for (size_t i = 0; i < vocab; ++i) {
        const float difference = std::abs(row[i] - got[token * vocab + i]);
        worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
      }
    }
    return worst;
  }

  std::string dir_;
  json golden_;
  std::vector<int32_t> tokens_;
  std::string logprobs_;  // f32 [every so many tokens, vocab]
};

TEST_P(FamilyGoldenTest, LogProbsWithinOneThousandthOfANat) {
  for (const char* isa : {"auto", "portable"}) {
    EXPECT_LT(Difference(isa, tokens_.size()), 1e-3f) << isa;
  }
  EXPECT_LT(Difference("cuda_emulated_exact", 40), 1e-3f);  // what the emulator can bear
}

TEST_P(FamilyGoldenTest, GreedyTokensAreExact) {
  const auto model = LoadModel(dir_, WeightDType::kF32);
  ASSERT_EQ(golden_["greedy"].size(), 16u);
  for (const json& sample : golden_["greedy"]) {
    const auto prompt = sample["prompt"].get<std::vector<int32_t>>();
    const auto expected = sample["tokens"].get<std::vector<int32_t>>();
    ASSERT_EQ(expected.size(), 64u);
    EXPECT_EQ(Greedy(*model, {}, prompt, 64, 32), expected);
  }
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, FamilyGoldenTest, ::testing::ValuesIn(Cases()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace alcca::testing
