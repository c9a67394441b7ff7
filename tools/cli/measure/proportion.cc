#include "tools/cli/measure/proportion.h"

#include <algorithm>
#include <cmath>

namespace alcca::cli {

Proportion::Interval Proportion::Wilson() const {
  if (trials == 0) {
    return {};
  }
  constexpr double kZ = 1.959963984540054;  // two-sided 95 % of the normal distribution
  const double n = double(trials), p = share(), z2 = kZ * kZ;
  const double centre = (p + z2 / (2 * n)) / (1 + z2 / n);
  const double half = kZ / (1 + z2 / n) * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
  return {.low = std::max(0.0, centre - half), .high = std::min(1.0, centre + half)};
}

}  // namespace alcca::cli
