#pragma once

#include <span>

#include "kernels/backend.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/host/kv_cache_host.h"

namespace alcca {

inline constexpr int32_t kRopePairsMax = 256;  // head_dim / 2

// Rotates q and k of `qkv` [tokens, qkv_cols] in place (pairs i, i + d/2) and writes k and v of
// every row to its sequence's pages of `layer`. Angles as transformers computes them, in f32:
// position * frequencies[i], with `frequencies` [head_dim / 2].
void RopeAndStoreCpu(ThreadPool& pool, TensorView qkv, KvCacheHost& kv, int32_t layer,
                     const Batch& batch, const AttentionShape& shape,
                     std::span<const float> frequencies);

}  // namespace alcca
