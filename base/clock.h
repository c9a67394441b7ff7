#pragma once

// The one clock of the house: monotonic, so that a change of the wall clock moves no deadline.

#include <chrono>

namespace alcca {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;

inline double Seconds(TimePoint from, TimePoint to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace alcca
