#pragma once

#include "kernels/backend.h"
#include "kernels/host/kv_cache_host.h"

namespace alcca {

// Rotates q and k in place and stores k and v; angles in f32 as transformers computes them, the
// rotation in double.
void RopeAndStoreReference(TensorView qkv, KvCacheHost& kv, int32_t layer, const Batch& batch,
                           const AttentionShape& shape, const RopeParams& rope);

}  // namespace alcca
