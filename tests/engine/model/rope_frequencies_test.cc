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

}  // namespace
}  // namespace alcca
