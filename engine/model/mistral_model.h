#pragma once

// Mistral (Jiang et al. 2023), and the families that have exactly its layers (model_family.h), over
// any Backend: weights in, batches through the layer loop.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/model.h"
#include "engine/model/model_config.h"
#include "engine/model/model_options.h"
#include "engine/model/weight_loader.h"
#include "kernels/backend.h"
#include "kernels/sampling.h"

namespace alcca {

class MistralModel final : public Model {
 public:
  // `checkpoint` has passed TensorTable's Validate; it may be closed afterwards. `backend` is
  // owned, so that everything it made is destroyed before it.
  static absl::StatusOr<std::unique_ptr<MistralModel>> Load(const Checkpoint& checkpoint,
                                                            const ModelConfig& config,
                                                            std::unique_ptr<Backend> backend,
                                                            const ModelOptions& options,
                                                            const LoadProgress& progress);

  int32_t vocab_size() const override { return static_cast<int32_t>(config_.vocab_size); }
  const KvShape& kv_shape() const override { return kv_->shape(); }
  std::span<SampledRow> Forward(const Batch& batch, std::span<const SamplingRow> rows,
                                absl::FunctionRef<void()> meanwhile) override;
  absl::StatusOr<std::unique_ptr<AttentionState>> MakeAttentionState(
      const AttentionParams& params) override {
    return backend_->MakeAttentionState(kv_->shape(), params);
  }
  bool forks() const override { return backend_->forks(); }
  int32_t FinalTokens(const AttentionState& state, const AttentionParams& params,
                      int32_t tokens) const override {
    return backend_->FinalTokens(state, params, tokens);
  }
  absl::StatusOr<std::unique_ptr<AttentionState>> ForkAttentionState(
      const AttentionFork& fork) override {
    return backend_->ForkAttentionState(fork, *kv_, attention_);
  }

  std::span<const float> Logits(const Batch& batch) override;
  size_t weight_bytes() const override;
  size_t kv_bytes() const override { return kv_->bytes(); }
  std::string Describe() const override { return backend_->Describe(); }

 private:
  struct Layer {
    std::unique_ptr<Buffer> attention_norm;  // [1, hidden]
    std::unique_ptr<Matrix> qkv;             // [(heads + 2 kv_heads) * head_dim, hidden]
    std::unique_ptr<Matrix> o;               // [hidden, heads * head_dim]
    std::unique_ptr<Buffer> ffn_norm;        // [1, hidden]
    std::unique_ptr<Matrix> gate_up;         // [2 * intermediate, hidden]
    std::unique_ptr<Matrix> down;            // [hidden, intermediate]
  };
  // Activations of a step; every buffer has max_batch_tokens rows unless said otherwise.
  struct Activations {
    std::unique_ptr<Buffer> x;        // [hidden], the residual stream
    std::unique_ptr<Buffer> normed;   // [hidden]
    std::unique_ptr<Buffer> qkv;      // [(heads + 2 kv_heads) * head_dim]
    std::unique_ptr<Buffer> heads;    // [heads * head_dim]
    std::unique_ptr<Buffer> gate_up;  // [2 * intermediate]
    std::unique_ptr<Buffer> ffn;      // [intermediate]
    std::unique_ptr<Buffer> last;     // [max_logit_rows, hidden]
    std::unique_ptr<Buffer> logits;   // [max_logit_rows, vocab]
  };

  MistralModel(const ModelConfig& config, std::unique_ptr<Backend> backend);
  absl::Status Allocate(const ModelOptions& options);
  absl::Status LoadWeights(const Checkpoint& checkpoint, WeightDType dtype,
                           const LoadProgress& progress);
  // Between BeginStep and EndStep: the layers, then the head where a row asks for it. The logits
  // are left in the backend's memory, [logit_rows, vocab].
  TensorView RunLayers(const Batch& batch);

  ModelConfig config_;
  AttentionShape attention_;
  std::unique_ptr<Backend> backend_;   // first owned, last destroyed
  std::unique_ptr<Matrix> embedding_;  // [vocab, hidden]
  std::vector<Layer> layers_;
  std::unique_ptr<Buffer> frequencies_;  // [1, head_dim / 2], of RoPE
  std::unique_ptr<Buffer> final_norm_;   // [1, hidden]
  std::unique_ptr<Matrix> head_;         // [vocab, hidden]
  std::unique_ptr<KvCache> kv_;
  Activations act_;
  std::vector<SampledRow> sampled_;  // [max_logit_rows]
  std::vector<float> host_logits_;   // of Logits, grown by it
};

}  // namespace alcca
