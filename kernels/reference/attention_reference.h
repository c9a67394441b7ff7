#pragma once

// Attention in double and plain loops, straight from the definitions; shares no code with
// kernels/cpu but the cache's layout. Counts nothing.

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/host/kv_cache_host.h"

namespace alcca {

void AttentionReference(TensorView out, TensorView qkv, const KvCacheHost& kv, int32_t layer,
                        const Batch& batch, const AttentionShape& shape);

// Call it with every row that is stored, because `multipole` expands its clusters about past
// queries.
void RememberQueriesReference(TensorView qkv, int32_t layer, const Batch& batch,
                              const AttentionShape& shape);

// Remembers what the pages do not hold; every sum, neighbour and cluster is computed anew.
absl::StatusOr<std::unique_ptr<AttentionState>> MakeAttentionStateReference(
    const KvShape& shape, const AttentionParams& params);
// Backend::ForkAttentionState. It reorders no token, so all of them are final.
std::unique_ptr<AttentionState> ForkAttentionStateReference(const AttentionFork& fork);

}  // namespace alcca
