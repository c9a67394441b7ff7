#include "engine/model/rope_frequencies.h"

#include <cmath>

#include "gtest/gtest.h"

namespace alcca {
namespace {

TEST(RopeFrequenciesTest, FallFromOneByTheRootOfTheta) {
  for (const double theta : {1e4, 1e6}) {
    for (const int64_t d : {2, 16, 128}) {
      ModelConfig config;
      config.head_dim = d;
      config.rope_theta = theta;
      const std::vector<float> frequencies = RopeFrequencies(config);
      ASSERT_EQ(static_cast<int64_t>(frequencies.size()), d / 2);
      EXPECT_EQ(frequencies[0], 1.0f);
      for (size_t i = 0; i < frequencies.size(); ++i) {
        const double expected = std::pow(theta, -2.0 * static_cast<double>(i) / double(d));
        EXPECT_NEAR(frequencies[i], expected, 1e-6 * expected) << "pair " << i << " of " << d;
      }
    }
  }
}

// The formulas again, in double; the f32 of transformers is in family_golden_test.cc.
TEST(RopeFrequenciesTest, Llama3LeavesShortWavesAndDividesLongOnes) {
  ModelConfig config;
  config.head_dim = 128;
  config.rope_theta = 5e5;
  const std::vector<float> plain = RopeFrequencies(config);
  config.rope_scaling = {.type = RopeType::kLlama3, .factor = 8, .original_positions = 8192};
  const std::vector<float> scaled = RopeFrequencies(config);
  int kept = 0, divided = 0;
  for (size_t i = 0; i < plain.size(); ++i) {
    const double wave = 2 * M_PI / plain[i];
    const double mixed = (8192 / wave - 1) / 3;
    const double expected = wave < 2048   ? plain[i]
                            : wave > 8192 ? plain[i] / 8.
                                          : (1 - mixed) * plain[i] / 8 + mixed * plain[i];
    EXPECT_NEAR(scaled[i], expected, 1e-5 * expected) << i;
    kept += wave < 2048 ? 1 : 0;
    divided += wave > 8192 ? 1 : 0;
  }
  EXPECT_GT(kept, 20);
  EXPECT_GT(divided, 20);
  EXPECT_LT(kept + divided, 64);
}

TEST(RopeFrequenciesTest, LinearAndDivisorsDivide) {
  ModelConfig config;
  config.head_dim = 8;
  config.rope_theta = 1e4;
  const std::vector<float> plain = RopeFrequencies(config);
  config.rope_scaling = {.type = RopeType::kLinear, .factor = 4};
  config.rope_scaling.divisors = {1, 2, 4, 8};
  const std::vector<float> scaled = RopeFrequencies(config);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(scaled[i], plain[i] / 4 / static_cast<float>(1 << i));
  }
}

TEST(RopeFrequenciesTest, YarnKeepsFastPairsAndInterpolatesSlowOnes) {
  ModelConfig config;
  config.head_dim = 128;
  config.rope_theta = 1e6;
  const std::vector<float> plain = RopeFrequencies(config);
  config.rope_scaling = {.type = RopeType::kYarn, .factor = 4, .original_positions = 32768};
  const std::vector<float> scaled = RopeFrequencies(config);
  EXPECT_EQ(scaled[0], plain[0]);
  EXPECT_NEAR(scaled[63] * 4, plain[63], 1e-6 * plain[63]);
  for (size_t i = 1; i < 64; ++i) {
    EXPECT_LE(plain[i] / scaled[i], 4.00001);
    EXPECT_GE(plain[i] / scaled[i], plain[i - 1] / scaled[i - 1] - 1e-5);
  }
}

}  // namespace
}  // namespace alcca
