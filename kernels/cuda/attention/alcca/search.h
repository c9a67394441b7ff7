#pragma once

#include "kernels/cuda/attention/alcca/alcca.h"

namespace alcca::ALCCA_GPU {

// Exact search of alcca's far queries and of `topk`'s: leaves candidates.
template <typename E>
void SearchKeys(Stream stream, const KvLayer<E>& kv, const AttentionRows& rows,
                const SearchWave& wave);

// The best of each query's candidates, and its answer.
template <typename E>
void AnswerSearch(Stream stream, const KvLayer<E>& kv, const AttentionRows& rows,
                  const SearchWave& wave);

}  // namespace alcca::ALCCA_GPU
