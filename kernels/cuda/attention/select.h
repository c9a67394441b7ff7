#pragma once

// Selects the `keep` best entries of a list by (order, place in the list) without sorting. It finds
// the keep-th smallest order, takes every entry below it, and takes the first entries of the list
// that are equal to it. The cost is the same for every `keep`.

#include "kernels/cuda/attention/work.h"

namespace alcca::ALCCA_GPU {

struct Selection {
  uint32_t threshold;
  int32_t equals;  // of the entries equal to the threshold, how many are in
  int32_t found;   // min(keep, entries that are present)
};
inline constexpr Selection kSelectAll = {kAbsent - 1, 0x7fffffff, 0};

inline constexpr int32_t kWarpEntries = 16;  // a lane's, of a list held by one warp
inline constexpr int32_t kWarpListMax = kWarpEntries * kWarp;

// Entry u of lane l is number 32 u + l of the list.
__device__ __forceinline__ Selection SelectInWarp(const uint32_t (&order)[kWarpEntries],
                                                  int32_t keep) {
  int32_t present = 0;
#pragma unroll
  for (int32_t u = 0; u < kWarpEntries; ++u) {
    present += order[u] != kAbsent ? 1 : 0;
  }
  present = __reduce_add_sync(kFullMask, present);
  if (present <= keep) {
    return {kSelectAll.threshold, kSelectAll.equals, present};
  }
  // Bit by bit below what all have in common: how many continue with a 0? Until those that are
  // left are just as many as are wanted.
  uint32_t low = kAbsent, high = 0;
#pragma unroll
  for (int32_t u = 0; u < kWarpEntries; ++u) {
    low = min(low, order[u]);
    high = order[u] != kAbsent ? max(high, order[u]) : high;
  }
  low = __reduce_min_sync(kFullMask, low);
  high = __reduce_max_sync(kFullMask, high);
  int32_t bit = 31 - __clz(static_cast<int32_t>(low ^ high));
  uint32_t prefix = bit < 0 ? high : high & ~((2u << bit) - 1);
  int32_t remaining = keep, left = present;
  for (; bit >= 0; --bit) {
    int32_t count = 0;
#pragma unroll
    for (int32_t u = 0; u < kWarpEntries; ++u) {
      count += (order[u] ^ prefix) >> bit == 0 ? 1 : 0;
    }
    count = __reduce_add_sync(kFullMask, count);
    if (remaining > count) {
      remaining -= count;
      left -= count;
      prefix |= 1u << bit;
    } else {
      left = count;
    }
    if (left == remaining) {
      return {min(prefix | ((1u << bit) - 1), kSelectAll.threshold), kSelectAll.equals, keep};
    }
  }
  return {prefix, remaining, keep};
}

// Calls put(rank, u) for each chosen entry of this lane; rank: its number among the chosen ones.
template <typename Put>
__device__ __forceinline__ void ForChosenInWarp(const uint32_t (&order)[kWarpEntries],
                                                const Selection& selection, Put put) {
  const uint32_t before = (1u << (threadIdx.x % kWarp)) - 1;
  int32_t rank = 0, equals = 0;
#pragma unroll
  for (int32_t u = 0; u < kWarpEntries; ++u) {
    const bool equal = order[u] == selection.threshold;
    const uint32_t all_equal = __ballot_sync(kFullMask, equal);
    const bool chosen = order[u] < selection.threshold ||
                        (equal && equals + __popc(all_equal & before) < selection.equals);
    equals += __popc(all_equal);
    const uint32_t all_chosen = __ballot_sync(kFullMask, chosen);
    if (chosen) {
      put(rank + __popc(all_chosen & before), u);
    }
    rank += __popc(all_chosen);
  }
}

// A block's scratch for one selection at a time.
struct SelectShared {
  int32_t histogram[256];
  int32_t digit, before, total;
  int32_t chosen[kAttentionWarps], equal[kAttentionWarps];
};

// order(e): entry e of the list. Called by all 128 threads; so is what follows.
template <typename Order>
__device__ __forceinline__ Selection SelectInBlock(SelectShared& shared, int32_t count,
                                                   int32_t keep, Order order) {
  uint32_t prefix = 0;
  int32_t remaining = keep;
  for (int32_t shift = 24; shift >= 0; shift -= 8) {  // by digits of 8 bits
    for (int32_t i = threadIdx.x; i < 256; i += kAttentionThreads) {
      shared.histogram[i] = 0;
    }
    __syncthreads();
    for (int32_t e = threadIdx.x; e < count; e += kAttentionThreads) {
      const uint32_t value = order(e);
      if (value != kAbsent && (shift == 24 || value >> (shift + 8) == prefix >> (shift + 8))) {
        atomicAdd(&shared.histogram[value >> shift & 255], 1);
      }
    }
    __syncthreads();
    if (threadIdx.x < kWarp) {
      const int32_t lane = threadIdx.x;
      int32_t sum = 0;
#pragma unroll
      for (int32_t i = 0; i < 8; ++i) {
        sum += shared.histogram[lane * 8 + i];
      }
      int32_t upto = sum;
#pragma unroll
      for (int32_t offset = 1; offset < kWarp; offset *= 2) {
        const int32_t lower = __shfl_up_sync(kFullMask, upto, offset);
        upto += lane >= offset ? lower : 0;
      }
      if (lane == kWarp - 1) {
        shared.total = upto;
      }
      if (upto - sum < remaining && remaining <= upto) {  // one lane at most
        int32_t before = upto - sum, digit = lane * 8;
        while (before + shared.histogram[digit] < remaining) {
          before += shared.histogram[digit++];
        }
        shared.digit = digit;
        shared.before = before;
      }
    }
    __syncthreads();
    if (shift == 24 && shared.total <= keep) {
      const int32_t total = shared.total;
      __syncthreads();
      return {kSelectAll.threshold, kSelectAll.equals, total};
    }
    prefix |= static_cast<uint32_t>(shared.digit) << shift;
    remaining -= shared.before;
    __syncthreads();
  }
  return {prefix, remaining, keep};
}

// Calls put(e, chosen, rank) for each entry of the list, 128 at a time: rank is the number of
// chosen entries before it. A put may overwrite entries up to its own.
template <typename Order, typename Put>
__device__ __forceinline__ void ForAllInBlock(SelectShared& shared, int32_t count,
                                              const Selection& selection, Order order, Put put) {
  const int32_t lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const uint32_t before = (1u << lane) - 1;
  int32_t rank = 0, equals = 0;
  for (int32_t base = 0; base < count; base += kAttentionThreads) {
    const int32_t e = base + static_cast<int32_t>(threadIdx.x);
    const uint32_t value = e < count ? order(e) : kAbsent;
    const bool equal = value == selection.threshold;
    const uint32_t warp_equal = __ballot_sync(kFullMask, equal);
    if (lane == 0) {
      shared.equal[warp] = __popc(warp_equal);
    }
    __syncthreads();
    int32_t equals_before = equals + __popc(warp_equal & before);
    for (int32_t w = 0; w < kAttentionWarps; ++w) {
      equals_before += w < warp ? shared.equal[w] : 0;
      equals += shared.equal[w];
    }
    const bool chosen = value < selection.threshold || (equal && equals_before < selection.equals);
    const uint32_t warp_chosen = __ballot_sync(kFullMask, chosen);
    if (lane == 0) {
      shared.chosen[warp] = __popc(warp_chosen);
    }
    __syncthreads();
    int32_t own = rank + __popc(warp_chosen & before);
    for (int32_t w = 0; w < kAttentionWarps; ++w) {
      own += w < warp ? shared.chosen[w] : 0;
      rank += shared.chosen[w];
    }
    if (e < count) {
      put(e, chosen, own);
    }
    __syncthreads();
  }
}

// Whether a list that ascends by key holds `key`.
__device__ __forceinline__ bool HoldsKey(const Candidate* list, int32_t count, int32_t key) {
  int32_t low = 0;
  for (int32_t size = count; size > 0;) {
    const int32_t half = size / 2;
    if (list[low + half].key < key) {
      low += half + 1;
      size -= half + 1;
    } else {
      size = half;
    }
  }
  return low < count && list[low].key == key;
}

}  // namespace alcca::ALCCA_GPU
