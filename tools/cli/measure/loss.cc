#include "tools/cli/measure/loss.h"

#include <bit>
#include <cstddef>

namespace alcca::cli {

void Loss::Add(const std::vector<float>& logprobs) {
  constexpr int kFirstBits = 4;  // 1 to 15 tokens fall in the first bucket
  for (size_t i = 0; i < logprobs.size(); ++i) {
    const int bits = std::bit_width(i + 1);
    const size_t bucket = bits <= kFirstBits ? 0 : bits - kFirstBits;
    while (buckets_.size() <= bucket) {
      const int64_t to = int64_t{1} << (kFirstBits + buckets_.size());
      buckets_.push_back({.from = buckets_.empty() ? 1 : to / 2, .to = to});
    }
    buckets_[bucket].nats -= logprobs[i];
    ++buckets_[bucket].tokens;
  }
}

double Loss::nats() const {
  double sum = 0;
  for (const Bucket& bucket : buckets_) {
    sum += bucket.nats;
  }
  return sum;
}

int64_t Loss::tokens() const {
  int64_t sum = 0;
  for (const Bucket& bucket : buckets_) {
    sum += bucket.tokens;
  }
  return sum;
}

}  // namespace alcca::cli
