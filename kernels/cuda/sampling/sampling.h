#pragma once

#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cuda/context.h"

namespace alcca::ALCCA_GPU {

// Backend::Sample on the device. Ids and log-probabilities come back, not logits.
class SamplerCuda {
 public:
  virtual ~SamplerCuda() = default;
  // Takes the memory of the largest call: device and page-locked memory for tasks and answers, and
  // [rows, vocab] for adjusted logits. INVALID_ARGUMENT: the vocabulary is larger than the sums can
  // hold.
  static absl::StatusOr<std::unique_ptr<SamplerCuda>> Make(const DeviceContext& device,
                                                           const SamplingLimits& limits);

  // Enqueues. Waits only if the call exceeds the limits.
  virtual void Sample(std::span<SampledRow> results, TensorView logits,
                      std::span<const SamplingRow> rows) = 0;
  // Once the stream has been synchronised: fills in the results of the last Sample.
  virtual void Finish() = 0;
};

}  // namespace alcca::ALCCA_GPU
