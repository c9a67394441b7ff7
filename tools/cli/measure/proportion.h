#pragma once

// A share of successes and how far chance may have moved it.

#include <cstdint>

namespace alcca::cli {

struct Proportion {
  struct Interval {
    double low = 0, high = 1;
  };

  int64_t successes = 0, trials = 0;

  void Add(bool success) {
    successes += success;
    ++trials;
  }
  double share() const { return trials > 0 ? double(successes) / double(trials) : 0; }
  // Wilson's interval at 95 %: also right near 0 and 1 and for few trials.
  Interval Wilson() const;
};

}  // namespace alcca::cli
