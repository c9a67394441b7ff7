#pragma once

#include <span>

#include "kernels/backend.h"
#include "kernels/host/kv_cache_host.h"

namespace alcca {

// Rotates q and k in place and stores k and v; angles in f32 as transformers computes them, the
// rotation in double. `frequencies` [head_dim / 2].
void RopeAndStoreReference(TensorView qkv, KvCacheHost& kv, int32_t layer, const Batch& batch,
                           const AttentionShape& shape, std::span<const float> frequencies);

}  // namespace alcca
