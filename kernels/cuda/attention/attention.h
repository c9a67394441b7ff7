#pragma once

// Attention of every mode on the device: what the backend asks of it.

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cuda/context.h"
#include "kernels/cuda/kv_cache.h"

namespace alcca::ALCCA_GPU {

// One per KV cache; owns the workspace, the pools of per-request state and the counters on the
// device. Everything is taken from the budget in Make.
class AttentionCuda {
 public:
  // `device` outlives it. `shape` is the cache's. `faiss_search`: as in CudaOptions.
  static absl::StatusOr<std::unique_ptr<AttentionCuda>> Make(const DeviceContext& device,
                                                             const KvShape& shape, DType dtype,
                                                             bool faiss_search);
  virtual ~AttentionCuda() = default;

  virtual absl::StatusOr<std::unique_ptr<AttentionState>> MakeState(
      const AttentionParams& params) = 0;
  // A new step: nothing that was planned or uploaded for the last one holds.
  virtual void BeginStep() = 0;
  // As Backend::Attention. Enqueues only: no waiting for the device.
  virtual void Run(TensorView out, TensorView qkv, KvCacheCuda& kv, int32_t layer,
                   const Batch& batch, const AttentionShape& shape) = 0;
  // Enqueues the way back of what the device counted.
  virtual void EndStep(const Batch& batch) = 0;
  // Once the stream has been waited for: completes the counters of the step's sequences.
  virtual void Finish(const Batch& batch) = 0;
};

}  // namespace alcca::ALCCA_GPU
