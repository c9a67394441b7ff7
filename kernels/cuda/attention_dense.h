#pragma once

#include "kernels/cuda/attention_work.h"
#include "kernels/cuda/runtime.h"

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

template <typename E>
void AttentionDense(Stream stream, const KvLayer<E>& kv, const AttentionRows& rows,
                    const SequenceWork* sequences, const SoftmaxTiles& tiles);

}  // namespace alcca::ALCCA_GPU
