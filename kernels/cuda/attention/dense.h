#pragma once

#include "kernels/cuda/attention/work.h"
#include "kernels/cuda/device_words/runtime.h"

namespace alcca::ALCCA_GPU {

// Softmax over the keys that each packed row sees (`dense`, `window`), for the tiles of a step.
// `whole` tiles are answered by one block a KV head, `split` ones by a block a split and a merge.
struct SoftmaxTiles {
  const SoftmaxTile* whole;
  const SoftmaxTile* split;
  int32_t whole_count, split_count;
  int32_t splits_max;  // of the split ones
  float* partials;     // [rows of partial results][head_dim + 2]
};

// Packed rows that a `whole` tile may have: more share each key on tensor cores.
template <typename E>
constexpr int32_t WholeTileRows(int32_t head_dim) {
  return sizeof(E) == 2 && (head_dim == 64 || head_dim == 128) ? 4 * kPackedRows : kPackedRows;
}

template <typename E>
void AttentionDense(Stream stream, const KvLayer<E>& kv, const AttentionRows& rows,
                    const SequenceWork* sequences, const SoftmaxTiles& tiles);

// The same but the merge, on tensor cores (attention_dense_mma.cu). False, and nothing started: not
// for this head_dim.
bool AttentionDenseMma(Stream stream, const KvLayer<BFloat16>& kv, const AttentionRows& rows,
                       const SequenceWork* sequences, const SoftmaxTiles& tiles);

}  // namespace alcca::ALCCA_GPU
