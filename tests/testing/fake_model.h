#pragma once

// A model without arithmetic for scheduler and engine tests. It keeps token ids in pages as a real
// KV cache keeps keys, and its logits are a hash of everything read back through them. So a wrong
// page, position, chunk or order, or a page shared by two sequences, changes the tokens.

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/model.h"
#include "engine/text/sentencepiece_tokenizer.h"
#include "kernels/make_backend.h"

namespace alcca::testing {

struct FakeModelOptions {
  int32_t vocab_size = 61;
  int32_t page_tokens = 4;
  int32_t pages = 64;
  std::vector<int32_t> likely = {};  // ids whose logits are 8 higher
  // Not empty: the token after position p is script[p % size], whatever came before.
  std::vector<int32_t> script = {};
  bool asynchronous = false;  // `meanwhile` runs after the step's work, else before it
  int32_t nan_after = -1;     // a row of this token has NaN logits
  int32_t stateless_k = -1;   // attention with this k gets no state: RESOURCE_EXHAUSTED
  bool out_of_forks = false;  // likewise every fork
  std::function<void(const Batch&)> on_forward = nullptr;  // called before a step's work
};

class FakeModel final : public Model {
 public:
  explicit FakeModel(FakeModelOptions options);

  int32_t vocab_size() const override { return options_.vocab_size; }
  const KvShape& kv_shape() const override { return shape_; }
  std::span<SampledRow> Forward(const Batch& batch, std::span<const SamplingRow> rows,
                                absl::FunctionRef<void()> meanwhile) override;
  absl::StatusOr<std::unique_ptr<AttentionState>> MakeAttentionState(
      const AttentionParams& params) override;
  bool forks() const override { return true; }
  // It reorders nothing, but says that the second half of them may move.
  int32_t FinalTokens(const AttentionState&, const AttentionParams&,
                      int32_t tokens) const override {
    return tokens / 2;
  }
  absl::StatusOr<std::unique_ptr<AttentionState>> ForkAttentionState(
      const AttentionFork& fork) override;
  std::span<const float> Logits(const Batch& batch) override;
  size_t weight_bytes() const override { return 0; }
  size_t kv_bytes() const override { return memory_.size() * sizeof(memory_[0]); }
  std::string Describe() const override { return "fake"; }

  // Attention states alive in all models of this process.
  static int64_t live_states();

 private:
  uint64_t& Slot(const int32_t* pages, int32_t position);
  void Store(const Batch& batch, const BatchSequence& sequence);
  void RowLogits(const Batch& batch, const BatchSequence& sequence, int32_t row, float* out);

  FakeModelOptions options_;
  KvShape shape_;
  std::vector<uint64_t> memory_;                                     // [pages, page_tokens]
  const std::unique_ptr<Backend> backend_ = MakeReferenceBackend();  // samples
  std::vector<float> logits_;
  std::vector<SampledRow> sampled_;
};

// Ids 0 <unk>, 1 <s>, 2 </s>, 3 + b for each byte b, then `pieces`. With `dummy_prefix` a text's
// first space is not written.
SentencePieceTokenizer MakeByteTokenizer(const std::vector<std::string>& pieces,
                                         bool dummy_prefix = false);

}  // namespace alcca::testing
