#pragma once

// What a decode step cannot beat: reading memory and doing nothing with it.

#include <cstddef>
#include <cstdint>

namespace alcca {

// Sums `bytes` bytes of 64-bit words, as four streams at once: one stream alone leaves the memory
// controller idle between the prefetcher's pages. `bytes` is rounded down to a multiple of 256.
inline uint64_t ReadPlain(const std::byte* data, size_t bytes) {
  constexpr size_t kStreams = 4, kLine = 8;  // words
  const auto* words = reinterpret_cast<const uint64_t*>(data);
  const size_t each = bytes / sizeof(uint64_t) / kStreams / kLine * kLine;
  uint64_t sums[kLine] = {};
  for (size_t i = 0; i < each; i += kLine) {
    for (size_t stream = 0; stream < kStreams; ++stream) {
      for (size_t lane = 0; lane < kLine; ++lane) {
        sums[lane] += words[stream * each + i + lane];
      }
    }
  }
  uint64_t sum = 0;
  for (const uint64_t lane : sums) {
    sum += lane;
  }
  return sum;
}

}  // namespace alcca
