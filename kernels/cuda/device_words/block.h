#pragma once

// Reductions over a block whose size is a multiple of 32 and at most 1,024. Every thread of the
// block calls them and gets the result. The order of additions depends on the size of the block
// alone.

#include "kernels/cuda/device_words/simt.h"

namespace alcca::ALCCA_GPU {

__device__ __forceinline__ float BlockSum(float x) {
  ALCCA_SHARED(float[kWarp], warp_sums);
  const int32_t warp = static_cast<int32_t>(threadIdx.x) / kWarp;
  const int32_t warps = static_cast<int32_t>(blockDim.x) / kWarp;
  x = WarpSum(x);
  if (threadIdx.x % kWarp == 0) {
    warp_sums[warp] = x;
  }
  __syncthreads();
  float sum = 0.0f;
  for (int32_t w = 0; w < warps; ++w) {
    sum += warp_sums[w];
  }
  __syncthreads();  // before the next call writes
  return sum;
}

__device__ __forceinline__ float BlockMax(float x) {
  ALCCA_SHARED(float[kWarp], warp_maxima);
  const int32_t warp = static_cast<int32_t>(threadIdx.x) / kWarp;
  const int32_t warps = static_cast<int32_t>(blockDim.x) / kWarp;
  x = WarpMax(x);
  if (threadIdx.x % kWarp == 0) {
    warp_maxima[warp] = x;
  }
  __syncthreads();
  float max = warp_maxima[0];
  for (int32_t w = 1; w < warps; ++w) {
    max = fmaxf(max, warp_maxima[w]);
  }
  __syncthreads();
  return max;
}

// The number of threads before this one, and of all, whose `flag` is set.
struct Rank {
  int32_t before, all;
};
__device__ __forceinline__ Rank BlockRank(bool flag) {
  ALCCA_SHARED(int32_t[kWarp], warp_counts);
  const int32_t warp = static_cast<int32_t>(threadIdx.x) / kWarp;
  const int32_t warps = static_cast<int32_t>(blockDim.x) / kWarp;
  const uint32_t lane = threadIdx.x % kWarp;
  const uint32_t lanes = __ballot_sync(kFullMask, flag);
  if (lane == 0) {
    warp_counts[warp] = __popc(lanes);
  }
  __syncthreads();
  Rank rank = {static_cast<int32_t>(__popc(lanes & ((1u << lane) - 1))), 0};
  for (int32_t w = 0; w < warps; ++w) {
    rank.before += w < warp ? warp_counts[w] : 0;
    rank.all += warp_counts[w];
  }
  __syncthreads();
  return rank;
}

}  // namespace alcca::ALCCA_GPU
