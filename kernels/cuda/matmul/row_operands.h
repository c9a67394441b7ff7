#pragma once

// Activations in the forms that matrix products read: rounded to bf16, to e4m3 with one scale per
// row, and split by LLM.int8() (Dettmers et al. 2022) into integers with one scale per row, and
// outliers. The op that makes an f32 row writes them beside it, so that no product starts with a
// pass of its own over its input.

#include "kernels/cuda/device_words/block.h"
#include "kernels/half.h"

namespace alcca::ALCCA_GPU {

inline constexpr float kOutlier = 6.0f;      // |x| above this stays out of the int8 product
inline constexpr float kAbsMaxMin = 1e-30f;  // below this a row counts as zero

// Rows of the three forms in device memory, padded with zeros to `stride` columns. Null: not
// wanted.
struct RowOperands {
  BFloat16* bf16 = nullptr;     // [rows, stride]
  Float8* fp8 = nullptr;        // [rows, stride]
  float* fp8_scales = nullptr;  // [rows]: x = scale * fp8, about
  int8_t* int8 = nullptr;       // [rows, stride]; outliers are 0
  float* scales = nullptr;      // [rows]: x = scale * int8, where it is no outlier
  // [rows], [rows, stride]: columns of the outliers, ascending. Their values are in the f32 row.
  int32_t* outlier_counts = nullptr;
  uint16_t* outliers = nullptr;
  int32_t stride = 0;
};

// Columns as a product wants them: rows of 64 bytes in int8, 128 in bf16.
inline int32_t PaddedCols(int32_t cols) {
  return (cols + 63) / 64 * 64;
}

// Threads of a block that works on one row: eight columns each, within what a block may have.
inline constexpr int32_t kRowThreadsMax = 512;  // 1024 would leave 64 registers: too few
inline unsigned RowThreads(int32_t cols) {
  const int32_t warps = (cols + 8 * kWarp - 1) / (8 * kWarp), most = kRowThreadsMax / kWarp;
  return static_cast<unsigned>(kWarp * (warps > most ? most : warps));
}

// Writes row `r` of `operands` from `row` [cols] in shared memory. Called by the whole block, after
// a barrier; ends without one.
__device__ __forceinline__ void WriteOperands(const float* row, int32_t cols, int32_t r,
                                              const RowOperands& operands) {
  const int32_t first = static_cast<int32_t>(threadIdx.x);
  const int32_t threads = static_cast<int32_t>(blockDim.x);
  const size_t begin = static_cast<size_t>(r) * operands.stride;
  if (operands.bf16 != nullptr) {
    for (int32_t k = first; k < operands.stride; k += threads) {
      operands.bf16[begin + k] = ToBFloat16(k < cols ? row[k] : 0.0f);
    }
  }
  if (operands.fp8 != nullptr) {
    float absmax = 0.0f;
    for (int32_t k = first; k < cols; k += threads) {
      absmax = fmaxf(absmax, fabsf(row[k]));  // passes over NaN, which stays NaN below
    }
    absmax = BlockMax(absmax);
    const float inverse = absmax < kAbsMaxMin ? 0.0f : kFloat8Max / absmax;
    for (int32_t k = first; k < operands.stride; k += threads) {
      operands.fp8[begin + k] = ToFloat8(k < cols ? row[k] * inverse : 0.0f);
    }
    if (first == 0) {
      operands.fp8_scales[r] = absmax < kAbsMaxMin ? 0.0f : absmax / kFloat8Max;
    }
  }
  if (operands.int8 == nullptr) {
    return;
  }
  float absmax = 0.0f, outlier = 0.0f;
  for (int32_t k = first; k < cols; k += threads) {
    const bool inside = fabsf(row[k]) <= kOutlier;  // NaN is an outlier too
    absmax = inside ? fmaxf(absmax, fabsf(row[k])) : absmax;
    outlier = inside ? outlier : 1.0f;
  }
  absmax = BlockMax(absmax);
  const bool any_outlier = BlockMax(outlier) > 0.0f;
  const float inverse = absmax < kAbsMaxMin ? 0.0f : 127.0f / absmax;
  for (int32_t k = first; k < operands.stride; k += threads) {
    const float x = k < cols && fabsf(row[k]) <= kOutlier ? row[k] : 0.0f;
    operands.int8[begin + k] = static_cast<int8_t>(__float2int_rn(x * inverse));
  }
  int32_t count = 0;
  if (any_outlier) {  // the same in every thread
    for (int32_t base = 0; base < cols; base += threads) {
      const int32_t k = base + first;
      const bool is_outlier = k < cols && !(fabsf(row[k]) <= kOutlier);
      const Rank rank = BlockRank(is_outlier);
      if (is_outlier) {
        operands.outliers[begin + count + rank.before] = static_cast<uint16_t>(k);
      }
      count += rank.all;
    }
  }
  if (first == 0) {
    operands.scales[r] = absmax < kAbsMaxMin ? 0.0f : absmax / 127.0f;
    operands.outlier_counts[r] = count;
  }
}

}  // namespace alcca::ALCCA_GPU
