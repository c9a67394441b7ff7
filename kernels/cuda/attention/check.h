#pragma once

// Measures the error of approximate outputs against dense's, on the few queries that a sequence
// samples.

#include "kernels/cuda/attention/multipole/multipole.h"

namespace alcca::ALCCA_GPU {

// After AttentionMultipole of the same rows: counts the errors of their sampled queries
// (AttentionCounters::error_millionths). Reads all their keys and values.
template <typename E>
void CheckError(Stream stream, const KvLayer<E>& kv, const AttentionRows& rows,
                const SequenceWork* sequences, const ClusterRow* cluster_rows, int32_t count);

}  // namespace alcca::ALCCA_GPU
