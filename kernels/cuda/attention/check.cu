// A block a query head, and nearly all of them leave at once. What stays is plain: one online
// softmax over 128 keys at a time, as rare queries need no speed.

#include "kernels/cuda/attention/check.h"

#include "attention/counters.h"
#include "attention/params.h"
#include "kernels/cuda/attention/tile.h"
#include "kernels/cuda/device_words/block.h"

namespace alcca::ALCCA_GPU {
namespace {

// Grid: tokens x query heads.
template <typename E>
__global__ void __launch_bounds__(kAttentionThreads)
    CheckErrorKernel(KvLayer<E> kv, AttentionRows rows, const SequenceWork* sequences,
                     const ClusterRow* cluster_rows) {
  ALCCA_SHARED(float[kAttentionThreads], weights);
  const ClusterRow row = cluster_rows[blockIdx.x];
  const SequenceWork& sequence = sequences[row.sequence];
  const int32_t head = blockIdx.y, kv_head = head / rows.group(), d = kv.head_dim;
  if (!IsSampled(kv.layer, head, row.position, sequence.params.error_sample)) {
    return;
  }
  const int32_t thread = static_cast<int32_t>(threadIdx.x);
  const float* q = rows.Query(row.row, head);
  const float scale = 1.0f / sqrtf(static_cast<float>(d));
  float top = -INFINITY, sum = 0.0f, part[2] = {0.0f, 0.0f};
  for (int32_t first = 0; first <= row.position; first += kAttentionThreads) {
    const int32_t count = min(kAttentionThreads, row.position + 1 - first);
    float score = -INFINITY;
    if (thread < count) {
      score = scale * Dot(q, kv.keys + kv.Row(sequence.pages, kv_head, first + thread), d);
    }
    const float next = fmaxf(top, BlockMax(score));
    const float shrink = expf(top - next);
    const float weight = thread < count ? expf(score - next) : 0.0f;
    weights[thread] = weight;
    sum = sum * shrink + BlockSum(weight);  // and all weights are written
#pragma unroll
    for (int32_t half = 0; half < 2; ++half) {
      const int32_t i = thread + half * kAttentionThreads;
      if (i < d) {
        float add = 0.0f;
        for (int32_t j = 0; j < count; ++j) {
          add += weights[j] * ToFloat(kv.values[kv.Row(sequence.pages, kv_head, first + j) + i]);
        }
        part[half] = part[half] * shrink + add;
      }
    }
    top = next;
    __syncthreads();
  }
  const float* out = rows.Out(row.row, head);
  float gap = 0.0f, norm = 0.0f;
#pragma unroll
  for (int32_t half = 0; half < 2; ++half) {
    const int32_t i = thread + half * kAttentionThreads;
    if (i < d) {
      const float dense = part[half] / sum;
      gap += (out[i] - dense) * (out[i] - dense);
      norm += dense * dense;
    }
  }
  gap = BlockSum(gap);
  norm = BlockSum(norm);
  if (thread == 0) {
    const double millionths = 1e6 * sqrt(double{gap} / double{norm});
    if (millionths - millionths == 0) {  // finite
      AddCount(sequence, kCountErrorChecked, 1);
      AddCount(sequence, kCountErrorMillionths, llround(fmin(millionths, kErrorMillionthsMax)));
    }
  }
}

}  // namespace

template <typename E>
void CheckError(Stream stream, const KvLayer<E>& kv, const AttentionRows& rows,
                const SequenceWork* sequences, const ClusterRow* cluster_rows, int32_t count) {
  Launch(CheckErrorKernel<E>,
         {.name = "check_error",
          .grid = {static_cast<unsigned>(count), static_cast<unsigned>(rows.heads), 1},
          .block = {kAttentionThreads},
          .stream = stream},
         kv, rows, sequences, cluster_rows);
}

template void CheckError<float>(Stream, const KvLayer<float>&, const AttentionRows&,
                                const SequenceWork*, const ClusterRow*, int32_t);
template void CheckError<BFloat16>(Stream, const KvLayer<BFloat16>&, const AttentionRows&,
                                   const SequenceWork*, const ClusterRow*, int32_t);

}  // namespace alcca::ALCCA_GPU
