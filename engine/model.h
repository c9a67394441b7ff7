#pragma once

// The model as the engine and everything that measures see it: batches in, tokens or logits out.
// engine/model/model_folder.h loads one; scheduler and engine tests use a deterministic stand-in.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "engine/attention_states.h"
#include "kernels/backend.h"
#include "kernels/batch.h"
#include "kernels/sampling.h"

namespace alcca {

class Model : public AttentionStates {
 public:
  virtual int32_t vocab_size() const = 0;
  virtual const KvShape& kv_shape() const = 0;
  // Does all device work of the step and decides nothing. Result i answers rows[i] from the logits
  // of batch.logit_rows[i]; there are as many results as logit rows. They are valid until the next
  // call, and the caller may move from them. `meanwhile` is called once: while a device computes,
  // or before this thread computes.
  virtual std::span<SampledRow> Forward(const Batch& batch, std::span<const SamplingRow> rows,
                                        absl::FunctionRef<void()> meanwhile) = 0;
  // The logits of batch.logit_rows, [logit_rows, vocab_size], in the place of Forward; valid until
  // the next call. For measuring and tests: serving has no use for them on the host.
  virtual std::span<const float> Logits(const Batch& batch) = 0;

  // What it takes, and where it computes ("cpu (avx512, 2 threads)").
  virtual size_t weight_bytes() const = 0;  // as loaded
  virtual size_t kv_bytes() const = 0;
  virtual std::string Describe() const = 0;
};

}  // namespace alcca
