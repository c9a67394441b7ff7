#include "kernels/cpu/running_quantile.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace alcca {
namespace {

TEST(RunningQuantile, IsTheSortedListsQuantileAfterEveryNumber) {
  for (const float share : {0.0f, 0.1f, 0.5f, 0.75f, 1.0f}) {
    RunningQuantile quantile(share);
    EXPECT_EQ(quantile.value(), 0);
    std::mt19937 random(3);
    std::vector<float> sorted;
    for (int i = 0; i < 500; ++i) {
      const float x = static_cast<float>(random() % 50);  // many are equal
      quantile.Add(x);
      sorted.insert(std::upper_bound(sorted.begin(), sorted.end(), x), x);
      const auto below = static_cast<size_t>(double{share} * static_cast<double>(sorted.size()));
      const float want =
          below < sorted.size() ? sorted[below] : std::numeric_limits<float>::infinity();
      ASSERT_EQ(quantile.value(), want) << share << " after " << i;
    }
  }
}

TEST(RunningQuantile, LeavesOutWhatIsNotFinite) {
  RunningQuantile quantile(0.5f);
  quantile.Add(2);
  quantile.Add(std::nanf(""));
  quantile.Add(std::numeric_limits<float>::infinity());
  EXPECT_EQ(quantile.value(), 2);
  EXPECT_GE(quantile.bytes(), sizeof(float));
}

}  // namespace
}  // namespace alcca
