#pragma once

// The attention op of the CPU backend: each sequence of the batch by its own mode.

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cpu/cpu_features.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/host/kv_cache_host.h"

namespace alcca {

// Backend::Attention. The keys and values of the step are already in `kv` (RopeAndStore).
void AttentionCpu(ThreadPool& pool, CpuIsa isa, TensorView out, TensorView qkv, KvCacheHost& kv,
                  int32_t layer, const Batch& batch, const AttentionShape& shape);

// Backend::MakeAttentionState. RESOURCE_EXHAUSTED when memory for the sums is not to be had.
absl::StatusOr<std::unique_ptr<AttentionState>> MakeAttentionStateCpu(const KvShape& shape,
                                                                      const AttentionParams& params,
                                                                      CpuIsa isa);

// Backend::FinalTokens and Backend::ForkAttentionState, of `multipole`.
int32_t FinalTokensCpu(const AttentionState& state, const AttentionParams& params, int32_t tokens);
absl::StatusOr<std::unique_ptr<AttentionState>> ForkAttentionStateCpu(ThreadPool& pool, CpuIsa isa,
                                                                      const AttentionFork& fork,
                                                                      KvCacheHost& kv,
                                                                      const AttentionShape& shape);

}  // namespace alcca
