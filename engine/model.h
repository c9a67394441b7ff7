#pragma once

// The model as the engine sees it: batches in, tokens out. MistralModel (mistral_model.h) is the
// real one; scheduler and engine tests use a deterministic stand-in.

#include <cstdint>
#include <memory>
#include <span>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/batch.h"
#include "kernels/sampling.h"

namespace alcca {

class Model {
 public:
  virtual ~Model() = default;
  virtual int32_t vocab_size() const = 0;
  virtual const KvShape& kv_shape() const = 0;
  // What rows[i] asks of the logits of batch.logit_rows[i], as many as those; valid until the next
  // call, and the caller's to move from. All device work of the step; decides nothing.
  // `meanwhile` is called once, while a device computes; where this thread does, before it begins.
  virtual std::span<SampledRow> Forward(const Batch& batch, std::span<const SamplingRow> rows,
                                        absl::FunctionRef<void()> meanwhile) = 0;
  virtual absl::StatusOr<std::unique_ptr<AttentionState>> MakeAttentionState(
      const AttentionParams& params) = 0;
};

}  // namespace alcca
