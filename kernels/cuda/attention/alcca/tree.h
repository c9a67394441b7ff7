#pragma once

#include "kernels/cuda/attention/alcca/alcca.h"

namespace alcca::ALCCA_GPU {

// The keys of tree_runs enter their trees; then the tree search of tree queries: leaves candidates.
template <typename E>
void SearchTrees(Stream stream, const KvLayer<E>& kv, const AttentionRows& rows,
                 const SearchWave& wave);

// Exact search beside some tree searches, to count what they missed. After AnswerSearch.
template <typename E>
void CheckRecall(Stream stream, const KvLayer<E>& kv, const AttentionRows& rows,
                 const SearchWave& wave);

}  // namespace alcca::ALCCA_GPU
