#pragma once

// The model as the engine sees it: batches in, logits out. MistralModel (mistral_model.h) is the
// real one; scheduler and engine tests use a deterministic stand-in.

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/batch.h"

namespace alcca {

class Model {
 public:
  virtual ~Model() = default;
  virtual int32_t vocab_size() const = 0;
  virtual const KvShape& kv_shape() const = 0;
  // Logits of batch.logit_rows: [logit_rows, vocab_size], f32, valid until the next call. All
  // device work of the step; decides nothing.
  virtual std::span<const float> Forward(const Batch& batch) = 0;
  virtual absl::StatusOr<std::unique_ptr<AttentionState>> MakeAttentionState(
      const AttentionParams& params) = 0;
};

}  // namespace alcca
