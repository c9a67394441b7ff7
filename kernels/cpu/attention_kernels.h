#pragma once

// The inner loops of attention, compiled once per instruction set (attention_kernels_<isa>.cc) and
// chosen when the backend is created. All operate on contiguous f32 and in an order fixed by their
// arguments alone.

#include <cstdint>

#include "kernels/cpu/cpu_features.h"
#include "kernels/key_index.h"

namespace alcca {

// Softmax over keys seen block by block (Milakov & Gimelshein 2018), for one query.
struct SoftmaxState {
  float max = 0;  // of the scores so far; valid once sum > 0
  float sum = 0;  // of exp(score - max)
};

struct AttentionKernels {
  // out[j] = sum_i q[i] * rows[j * d + i], j in [0, n)
  void (*dots)(float* out, const float* q, const float* rows, int32_t n, int32_t d);
  // Folds n scores and their values into one query's output: acc [d] and state are updated, so that
  // acc / state.sum is the attention over all blocks folded so far. Overwrites scores.
  void (*fold)(float* acc, SoftmaxState* state, float* scores, const float* values, int32_t n,
               int32_t d);
  // out[j * d + i] = scales[j] * rows[j * d + i], j in [0, n)
  void (*restore_int8)(float* out, const int8_t* rows, const float* scales, int32_t n, int32_t d);
  // acc[i] += w * row[i], i in [0, d)
  void (*axpy)(float* acc, float w, const float* row, int32_t d);
  // out[j] = sum_i (q[i] - rows[j * d + i])^2, j in [0, n)
  SquaredDistances squared_distances;
};

const AttentionKernels& AttentionKernelsFor(CpuIsa isa);

}  // namespace alcca
