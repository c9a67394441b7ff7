#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

namespace alcca::lab {

// log_softmax of a row, in double.
inline void LogSoftmax(std::span<const float> logits, std::vector<double>* out) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float x : logits) {
    sum += std::exp(x - top);
  }
  const double log_sum = top + std::log(sum);
  out->resize(logits.size());
  std::transform(logits.begin(), logits.end(), out->begin(), [&](float x) { return x - log_sum; });
}

}  // namespace alcca::lab
