#include "engine/token_rate.h"

#include <chrono>

namespace alcca {
namespace {

int64_t WholeSeconds(TimePoint time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

}  // namespace

void TokenRate::Add(int64_t tokens, TimePoint now) {
  const int64_t second = WholeSeconds(now);
  Bucket& bucket = buckets_[second % buckets_.size()];
  if (bucket.second != second) {
    bucket = {.second = second};
  }
  bucket.tokens += tokens;
}

double TokenRate::PerSecond(TimePoint now) const {
  const int64_t second = WholeSeconds(now);
  int64_t tokens = 0;
  for (const Bucket& bucket : buckets_) {
    tokens += bucket.second >= second - kSeconds && bucket.second < second ? bucket.tokens : 0;
  }
  return static_cast<double>(tokens) / kSeconds;
}

}  // namespace alcca
