#pragma once

// The block-wide steps of a softmax over tiles of keys in shared memory, for up to 16 packed rows:
// stage, score, fold. Shared by attention_dense (any element type and head_dim) and
// attention_multipole. 128 threads.

#include "kernels/cuda/attention/work.h"

namespace alcca::ALCCA_GPU {

// Dynamic shared memory of a block, head_dim d: queries [16, d], a tile [64, d + 1], weights
// [16, 64].
struct SoftmaxShared {
  float* queries;
  float* tile;
  float* weights;

  static size_t Bytes(int32_t d) {
    return (size_t(kPackedRows) * d + size_t(kTileKeys) * (d + 1) + kPackedRows * kTileKeys) *
           sizeof(float);
  }
  __device__ SoftmaxShared(float* base, int32_t d)
      : queries(base),
        tile(base + kPackedRows * d),
        weights(base + kPackedRows * d + kTileKeys * (d + 1)) {}
};

// The running softmax of each packed row; in shared memory.
struct SoftmaxStats {
  float max[kPackedRows];
  float sum[kPackedRows];
  float rescale[kPackedRows];  // of what was accumulated before the last tile
};

// The part of the outputs that a thread holds: dimensions threadIdx.x and threadIdx.x + 128.
struct OutputPart {
  float value[2][kPackedRows];
};
__device__ __forceinline__ void Clear(OutputPart& part) {
#pragma unroll
  for (int32_t half = 0; half < 2; ++half) {
#pragma unroll
    for (int32_t r = 0; r < kPackedRows; ++r) {
      part.value[half][r] = 0.0f;
    }
  }
}
__device__ __forceinline__ void Clear(SoftmaxStats& stats) {
  if (threadIdx.x < kPackedRows) {
    stats.max[threadIdx.x] = -INFINITY;
    stats.sum[threadIdx.x] = 0.0f;
  }
}

// The value that replaces a maximum of -infinity (no key yet) in an exponent.
__device__ __forceinline__ float Anchor(float max) {
  return max == -INFINITY ? 0.0f : max;
}

// tile[j] = row(j), [d], for j < count. Reads a row with one warp.
template <typename Row>
__device__ __forceinline__ void StageTile(float* tile, int32_t count, int32_t d, Row row) {
  const int32_t lane = threadIdx.x % kWarp;
  for (int32_t j = threadIdx.x / kWarp; j < count; j += kAttentionWarps) {
    const auto* source = row(j);
    for (int32_t i = lane; i < d; i += kWarp) {
      tile[j * (d + 1) + i] = ToFloat(source[i]);
    }
  }
}

// The same of rows of int8: tile[j] = scale(j) row(j).
template <typename Row, typename Scale>
__device__ __forceinline__ void StageTileInt8(float* tile, int32_t count, int32_t d, Row row,
                                              Scale scale) {
  const int32_t lane = threadIdx.x % kWarp;
  for (int32_t j = threadIdx.x / kWarp; j < count; j += kAttentionWarps) {
    const int8_t* source = row(j);
    const float step = scale(j);
    float* to = tile + j * (d + 1);
    if (d % 4 == 0) {  // then rows are aligned to four
      for (int32_t i = lane; i < d / 4; i += kWarp) {
        const char4 four = reinterpret_cast<const char4*>(source)[i];
        to[4 * i] = step * static_cast<float>(four.x);
        to[4 * i + 1] = step * static_cast<float>(four.y);
        to[4 * i + 2] = step * static_cast<float>(four.z);
        to[4 * i + 3] = step * static_cast<float>(four.w);
      }
    } else {
      for (int32_t i = lane; i < d; i += kWarp) {
        to[i] = step * static_cast<float>(source[i]);
      }
    }
  }
}

// weights[r][j] = queries[r] . tile[j]. A thread takes one key and eight packed rows.
__device__ __forceinline__ void ScoreTile(const SoftmaxShared& shared, int32_t packed,
                                          int32_t count, int32_t d) {
  constexpr int32_t kRows = kPackedRows / 2;
  const int32_t j = threadIdx.x % kTileKeys, first = threadIdx.x / kTileKeys * kRows;
  const int32_t rows = min(kRows, packed - first);
  if (j >= count || rows <= 0) {
    return;
  }
  float sum[kRows] = {};
  for (int32_t i = 0; i < d; ++i) {
    const float x = shared.tile[j * (d + 1) + i];
#pragma unroll
    for (int32_t r = 0; r < kRows; ++r) {
      if (r < rows) {
        sum[r] += shared.queries[(first + r) * d + i] * x;
      }
    }
  }
#pragma unroll
  for (int32_t r = 0; r < kRows; ++r) {
    if (r < rows) {
      shared.weights[(first + r) * kTileKeys + j] = sum[r];
    }
  }
}

// Turns scores into weights; visible(r, j) says whether packed row r sees key j. A row is a warp's.
template <typename Visible>
__device__ __forceinline__ void WeighTile(const SoftmaxShared& shared, SoftmaxStats& stats,
                                          int32_t packed, int32_t count, Visible visible) {
  const int32_t lane = threadIdx.x % kWarp;
  for (int32_t r = threadIdx.x / kWarp; r < packed; r += kAttentionWarps) {
    float* weights = shared.weights + r * kTileKeys;
    const bool sees0 = lane < count && visible(r, lane);
    const bool sees1 = lane + kWarp < count && visible(r, lane + kWarp);
    const float s0 = sees0 ? weights[lane] : -INFINITY;
    const float s1 = sees1 ? weights[lane + kWarp] : -INFINITY;
    const float old = stats.max[r], top = fmaxf(old, WarpMax(fmaxf(s0, s1)));
    const float p0 = sees0 ? expf(s0 - Anchor(top)) : 0.0f;
    const float p1 = sees1 ? expf(s1 - Anchor(top)) : 0.0f;
    weights[lane] = p0;
    weights[lane + kWarp] = p1;
    const float sum = WarpSum(p0 + p1);
    if (lane == 0) {
      const float rescale = expf(old - Anchor(top));
      stats.rescale[r] = rescale;
      stats.sum[r] = stats.sum[r] * rescale + sum;
      stats.max[r] = top;
    }
  }
}

// part = part * rescale + weights . tile.
__device__ __forceinline__ void AccumulateTile(const SoftmaxShared& shared,
                                               const SoftmaxStats& stats, OutputPart& part,
                                               int32_t packed, int32_t count, int32_t d) {
#pragma unroll
  for (int32_t half = 0; half < 2; ++half) {
    const int32_t i = threadIdx.x + half * kAttentionThreads;
    if (i < d) {
#pragma unroll
      for (int32_t r = 0; r < kPackedRows; ++r) {
        part.value[half][r] *= r < packed ? stats.rescale[r] : 1.0f;
      }
      for (int32_t j = 0; j < count; ++j) {
        const float x = shared.tile[j * (d + 1) + i];
#pragma unroll
        for (int32_t r = 0; r < kPackedRows; ++r) {
          if (r < packed) {
            const float weight = shared.weights[r * kTileKeys + j];
            // A key that the row does not see must not reach it, not even as 0 * NaN.
            part.value[half][r] += weight != 0.0f ? weight * x : 0.0f;
          }
        }
      }
    }
  }
}

// What merging two softmaxes does to their sums and outputs: each times its scale, then added.
struct MergeScales {
  float max, scale_a, scale_b;
};
__device__ __forceinline__ MergeScales MergeOf(float max_a, float max_b) {
  const float max = fmaxf(max_a, max_b);
  return {max, expf(max_a - Anchor(max)), expf(max_b - Anchor(max))};
}
// Not left to the compiler: the same bits in every kernel.
__device__ __forceinline__ float Merged(const MergeScales& scales, float a, float b) {
  return __fadd_rn(__fmul_rn(a, scales.scale_a), __fmul_rn(b, scales.scale_b));
}

}  // namespace alcca::ALCCA_GPU
