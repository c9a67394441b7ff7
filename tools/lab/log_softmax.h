#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
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

// Adds to *nats the loss of each row's next token. logits [next.size(), vocab].
inline void AddLoss(std::span<const float> logits, std::span<const int32_t> next, double* nats) {
  const size_t vocab = logits.size() / next.size();
  std::vector<double> p;
  for (size_t i = 0; i < next.size(); ++i) {
    LogSoftmax(logits.subspan(i * vocab, vocab), &p);
    *nats -= p[next[i]];
  }
}

}  // namespace alcca::lab
