#pragma once

// A Backend that forwards every op to another one and shows an observer what attention is about to
// compute. The engine and the kernels need no hook for it: it is a Backend like any other.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace alcca::lab {

class AttentionObserver {
 public:
  virtual ~AttentionObserver() = default;
  // Before the inner attention of `layer` runs. `qkv` [batch.tokens(), shape.qkv_cols()] are the
  // rows after RoPE, in the inner backend's memory. `batch` is a copy for this call alone: its
  // AttentionParams may be changed, within what the sequence's AttentionState was made for.
  virtual void OnAttention(int32_t layer, TensorView qkv, Batch& batch,
                           const AttentionShape& shape) = 0;
};

class RecordingBackend final : public Backend {
 public:
  explicit RecordingBackend(std::unique_ptr<Backend> inner) : inner_(std::move(inner)) {}

  // Null stops observing. Not owned; outlives its use.
  void set_observer(AttentionObserver* observer) { observer_ = observer; }
  Backend& inner() { return *inner_; }

  std::string Describe() const override { return inner_->Describe(); }
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int32_t rows, int32_t cols) override {
    return inner_->Allocate(rows, cols);
  }
  absl::StatusOr<std::unique_ptr<Matrix>> MakeMatrix(std::span<const HostTensor> parts,
                                                     WeightDType dtype,
                                                     std::span<const HostTensor> bias) override {
    return inner_->MakeMatrix(parts, dtype, bias);
  }
  absl::StatusOr<std::unique_ptr<Matrix>> MakeEmbedding(const HostTensor& table) override {
    return inner_->MakeEmbedding(table);
  }
  absl::StatusOr<std::unique_ptr<Buffer>> MakeVector(const HostTensor& vector) override {
    return inner_->MakeVector(vector);
  }
  absl::StatusOr<std::unique_ptr<KvCache>> MakeKvCache(const KvShape& shape) override {
    return inner_->MakeKvCache(shape);
  }
  absl::StatusOr<std::unique_ptr<AttentionState>> MakeAttentionState(
      const KvShape& shape, const AttentionParams& params) override {
    return inner_->MakeAttentionState(shape, params);
  }
  bool forks() const override { return inner_->forks(); }
  int32_t FinalTokens(const AttentionState& state, const AttentionParams& params,
                      int32_t tokens) const override {
    return inner_->FinalTokens(state, params, tokens);
  }
  absl::StatusOr<std::unique_ptr<AttentionState>> ForkAttentionState(
      const AttentionFork& fork, KvCache& kv, const AttentionShape& shape) override {
    return inner_->ForkAttentionState(fork, kv, shape);
  }
  void BeginStep(const Batch& batch) override { inner_->BeginStep(batch); }
  void EndStep(const Batch& batch) override { inner_->EndStep(batch); }
  void Embed(TensorView out, const Matrix& table, std::span<const int32_t> token_ids) override {
    inner_->Embed(out, table, token_ids);
  }
  void RmsNorm(TensorView out, TensorView x, const Buffer& weight, float eps) override {
    inner_->RmsNorm(out, x, weight, eps);
  }
  void MatMul(TensorView out, TensorView x, const Matrix& weight, Accumulate mode) override {
    inner_->MatMul(out, x, weight, mode);
  }
  void RopeAndStore(TensorView qkv, KvCache& kv, int32_t layer, const Batch& batch,
                    const AttentionShape& shape, const Buffer& frequencies) override {
    inner_->RopeAndStore(qkv, kv, layer, batch, shape, frequencies);
  }
  void Attention(TensorView out, TensorView qkv, KvCache& kv, int32_t layer, const Batch& batch,
                 const AttentionShape& shape) override;
  void SwiGlu(TensorView out, TensorView gate_up) override { inner_->SwiGlu(out, gate_up); }
  void GatherRows(TensorView out, TensorView x, std::span<const int32_t> rows) override {
    inner_->GatherRows(out, x, rows);
  }
  void Sample(std::span<SampledRow> results, TensorView logits,
              std::span<const SamplingRow> rows) override {
    inner_->Sample(results, logits, rows);
  }
  void Download(std::span<float> out, TensorView x) override { inner_->Download(out, x); }

 private:
  std::unique_ptr<Backend> inner_;
  AttentionObserver* observer_ = nullptr;
};

// Keeps the rows of every layer, in the order fed. For one sequence a batch.
class QkvRecorder final : public AttentionObserver {
 public:
  // `backend` copies the rows to host memory; outlives this.
  explicit QkvRecorder(Backend* backend) : backend_(backend) {}

  void OnAttention(int32_t layer, TensorView qkv, Batch& batch,
                   const AttentionShape& shape) override;

  int32_t layers() const { return static_cast<int32_t>(rows_.size()); }
  const AttentionShape& shape() const { return shape_; }
  // [tokens, shape().qkv_cols()] of `layer`: q heads, k heads, v heads of each token.
  const std::vector<float>& qkv(int32_t layer) const { return rows_[layer]; }

 private:
  Backend* backend_;
  AttentionShape shape_;
  std::vector<std::vector<float>> rows_;  // [layers]
};

}  // namespace alcca::lab
