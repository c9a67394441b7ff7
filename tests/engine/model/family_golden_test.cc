// Every family and every kind of scaled rotary embeddings against Hugging Face transformers: small
// random checkpoints of tools/golden/make_family_golden.py. hf_live_test.py points
// ALCCA_FAMILY_GOLDEN_DIR at freshly made ones.

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/testing/golden_logprobs.h"
#include "tests/testing/model_runner.h"

namespace alcca::testing {
namespace {

std::string FamilyGoldenDir() {
  const char* live = std::getenv("ALCCA_FAMILY_GOLDEN_DIR");
  return live != nullptr ? live : ALCCA_TEST_DATA_DIR "/families";
}

class FamilyGoldenTest : public ::testing::TestWithParam<std::string> {
 protected:
  const std::string dir_ = FamilyGoldenDir() + "/" + GetParam();
  const std::string golden_ = dir_ + "/golden.json";
};

TEST_P(FamilyGoldenTest, LogProbsWithinOneThousandthOfANat) {
  for (const char* isa : {"auto", "portable"}) {
    EXPECT_LT(LogProbDifference(dir_, golden_, isa, 160), 1e-3f) << isa;
  }
  // What the emulator can bear.
  EXPECT_LT(LogProbDifference(dir_, golden_, "cuda_emulated_exact", 40), 1e-3f);
}

TEST_P(FamilyGoldenTest, GreedyTokensAreExact) {
  const auto golden = nlohmann::json::parse(std::ifstream(golden_));
  const auto model = LoadModel(dir_, WeightDType::kF32);
  ASSERT_EQ(golden["greedy"].size(), 16u);
  for (const nlohmann::json& sample : golden["greedy"]) {
    const auto prompt = sample["prompt"].get<std::vector<int32_t>>();
    const auto expected = sample["tokens"].get<std::vector<int32_t>>();
    ASSERT_EQ(expected.size(), 64u);
    EXPECT_EQ(Greedy(*model, {}, prompt, 64, 32), expected);
  }
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, FamilyGoldenTest,
                         ::testing::ValuesIn(GoldenCases(FamilyGoldenDir())),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace alcca::testing
