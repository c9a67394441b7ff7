#pragma once

// The rate at which tokens come: what Engine::Load reports as throughput.

#include <array>
#include <cstdint>

#include "base/clock.h"

namespace alcca {

// Tokens per second over the last few whole seconds.
class TokenRate {
 public:
  void Add(int64_t tokens, TimePoint now);
  double PerSecond(TimePoint now) const;

 private:
  static constexpr int64_t kSeconds = 5;
  struct Bucket {
    int64_t second = -1;
    int64_t tokens = 0;
  };
  std::array<Bucket, kSeconds + 1> buckets_;  // the current second is not whole yet
};

}  // namespace alcca
