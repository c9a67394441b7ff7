#pragma once

#include "kernels/cuda/attention/alcca/alcca.h"

namespace alcca::ALCCA_GPU {

// The keys of tree_runs enter their trees; then the tree search of tree queries: leaves candidates.
template <typename E>
void SearchTrees(Stream stream, const KvLayer<E>& kv, const AttentionRows& rows,
                 const SearchWave& wave);

// Repeats some tree searches exactly, to count what they missed. Called after AnswerSearch.
template <typename E>
void CheckRecall(Stream stream, const KvLayer<E>& kv, const AttentionRows& rows,
                 const SearchWave& wave);

}  // namespace alcca::ALCCA_GPU
