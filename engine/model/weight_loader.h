#pragma once

// From the tensors of a checkpoint to the matrices and vectors of a backend, by role.

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>

#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/model/tensor_table.h"
#include "kernels/backend.h"

namespace alcca {

// Bytes of tensors loaded so far, of all; called on the loading thread.
using LoadProgress = std::function<void(int64_t done_bytes, int64_t all_bytes)>;

// Every argument outlives it. Errors are those of Checkpoint::Find and of the backend.
class WeightLoader {
 public:
  static absl::StatusOr<WeightLoader> Make(const Checkpoint& checkpoint, const TensorTable& table,
                                           Backend& backend, const LoadProgress& progress);

  absl::StatusOr<std::unique_ptr<Buffer>> Vector(TensorRole role, int64_t layer = 0);
  // The tensors of these roles, one above the other, in one matrix with the biases they have.
  absl::StatusOr<std::unique_ptr<Matrix>> Stack(std::initializer_list<TensorRole> roles,
                                                int64_t layer, WeightDType dtype);
  // The rows of the embedding, as stored; those of quantised blocks in `format`'s precision, f32 or
  // bf16 (EmbeddingFormat).
  absl::StatusOr<std::unique_ptr<Matrix>> Embedding(WeightDType format);

 private:
  WeightLoader(const Checkpoint& checkpoint, const TensorTable& table, Backend& backend,
               const LoadProgress& progress)
      : checkpoint_(checkpoint), table_(table), backend_(backend), progress_(progress) {}
  absl::StatusOr<TensorRef> Find(const TensorSpec& spec) const;
  // The tensor has been copied: gives its file pages back, so that a load never holds two models.
  void Done(const TensorRef& ref);

  const Checkpoint& checkpoint_;
  const TensorTable& table_;
  Backend& backend_;
  const LoadProgress& progress_;
  int64_t all_bytes_ = 0, done_bytes_ = 0;
};

}  // namespace alcca
