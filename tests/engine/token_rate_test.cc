#include "engine/token_rate.h"

#include <gtest/gtest.h>

#include <chrono>

namespace alcca {
namespace {

TEST(TokenRate, IsTheMeanOfTheLastWholeSeconds) {
  const auto at = [](double seconds) {
    return TimePoint() + std::chrono::duration_cast<Clock::duration>(
                             std::chrono::duration<double>(100 + seconds));
  };
  TokenRate rate;
  EXPECT_EQ(rate.PerSecond(at(0)), 0);
  for (int i = 0; i < 20; ++i) {
    rate.Add(5, at(i * 0.5));  // 10 a second from 0 to 10
  }
  EXPECT_DOUBLE_EQ(rate.PerSecond(at(10.1)), 10);
  EXPECT_DOUBLE_EQ(rate.PerSecond(at(12.1)), 6);
  EXPECT_DOUBLE_EQ(rate.PerSecond(at(15.1)), 0);
  rate.Add(50, at(200));
  EXPECT_DOUBLE_EQ(rate.PerSecond(at(200.5)), 0);
  EXPECT_DOUBLE_EQ(rate.PerSecond(at(201)), 10);
}

}  // namespace
}  // namespace alcca
