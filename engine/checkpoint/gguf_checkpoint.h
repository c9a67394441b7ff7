#pragma once

// The tensors of a GGUF as a Checkpoint: blocks are dequantised row by row while a backend packs
// them, so that no second copy of a matrix exists.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/gguf.h"

namespace alcca {

class GgufCheckpoint final : public Checkpoint {
 public:
  // llama.cpp turns pairs of neighbouring rows where transformers turns row i with row i + d/2, and
  // stores the rows of attn_q and attn_k of some architectures in that order. `rotated_head_dim` is
  // d, or 0 for an architecture whose rows stay; with it, Find undoes the order.
  GgufCheckpoint(GgufModel model, int64_t rotated_head_dim)
      : model_(std::move(model)), rotated_head_dim_(rotated_head_dim) {}

  std::vector<std::string_view> TensorNames() const override;
  bool Contains(std::string_view name) const override { return model_.Find(name).first != nullptr; }
  const std::string& FileOf(std::string_view name) const override;
  // The dtype of a tensor in blocks is bf16: what a backend keeps an embedding in.
  absl::StatusOr<TensorRef> Find(std::string_view name,
                                 const std::vector<int64_t>& expected_shape) const override;

 private:
  GgufModel model_;
  int64_t rotated_head_dim_;
};

}  // namespace alcca
