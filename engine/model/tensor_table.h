#pragma once

// The tensors of a model family's checkpoint: one table of names, shapes and roles. Validation,
// sizes, loading and the writer of random checkpoints all walk it.

#include <cstdint>
#include <functional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/model/model_config.h"

namespace alcca {

// What a tensor is to the forward pass.
enum class TensorRole : uint8_t {
  kEmbedding,
  kAttentionNorm,
  kQuery,
  kKey,
  kValue,
  kQueryBias,  // optional, as the two below
  kKeyBias,
  kValueBias,
  kOutput,
  kFfnNorm,
  kGate,
  kUp,
  kDown,
  kFinalNorm,
  kHead,  // optional: a model with tied embeddings has none of its own
};

struct TensorSpec {
  TensorRole role;
  int64_t layer;  // 0 for a tensor that belongs to no layer
  std::string name;
  std::vector<int64_t> shape;  // [rows, cols], or [cols] of a vector
};

class TensorTable {
 public:
  explicit TensorTable(const ModelConfig& config);

  // All tensors that the model needs, in the order in which a loader reads them: embedding, layers,
  // final norm, head.
  std::span<const TensorSpec> tensors() const { return tensors_; }
  // The tensor of this role; of a model with tied embeddings the embedding is the head.
  const TensorSpec& Get(TensorRole role, int64_t layer = 0) const;
  // The bias of the matrix of this role; nullptr if the model has none.
  const TensorSpec* FindBias(TensorRole role, int64_t layer) const;

  // That `checkpoint` has every tensor, in its shape and of a type that can be loaded, and nothing
  // that contradicts the table: a tensor of another model, such as a bias that no row names or an
  // adapter (UNIMPLEMENTED), or a layer beyond the config's (INVALID_ARGUMENT).
  absl::Status Validate(const Checkpoint& checkpoint) const;
  // A line on the tensors of a checkpoint that passed, and are not read; empty if there are none.
  std::string Unused(const Checkpoint& checkpoint) const;

 private:
  const TensorSpec* Find(TensorRole role, int64_t layer) const;
  bool IsNeeded(std::string_view name) const;

  int64_t num_layers_;
  std::vector<TensorSpec> tensors_;
  std::set<std::string, std::less<>> names_;  // of tensors_
};

// Elements of one layer's matrices, and of the output head: what a token is multiplied with.
int64_t LayerElements(const ModelConfig& config);
int64_t HeadElements(const ModelConfig& config);

}  // namespace alcca
