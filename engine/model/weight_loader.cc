#include "engine/model/weight_loader.h"

#include <vector>

#include "base/status_macros.h"

namespace alcca {

absl::StatusOr<WeightLoader> WeightLoader::Make(const Checkpoint& checkpoint,
                                                const TensorTable& table, Backend& backend,
                                                const LoadProgress& progress) {
  WeightLoader loader(checkpoint, table, backend, progress);
  for (const TensorSpec& spec : table.tensors()) {
    ASSIGN_OR_RETURN(const TensorRef ref, checkpoint.Find(spec.name, spec.shape));
    // A tied embedding is read twice: as rows, and as the head.
    const bool tied = &spec == &table.Get(TensorRole::kHead) && spec.role != TensorRole::kHead;
    loader.all_bytes_ += static_cast<int64_t>(ref.bytes) * (tied ? 2 : 1);
  }
  return loader;
}

absl::StatusOr<std::unique_ptr<Buffer>> WeightLoader::Vector(TensorRole role, int64_t layer) {
  ASSIGN_OR_RETURN(const TensorRef ref, Find(table_.Get(role, layer)));
  ASSIGN_OR_RETURN(auto vector, backend_.MakeVector(ref.host()));
  Done(ref);
  return vector;
}

absl::StatusOr<std::unique_ptr<Matrix>> WeightLoader::Stack(std::initializer_list<TensorRole> roles,
                                                            int64_t layer, WeightDType dtype) {
  std::vector<TensorRef> refs;
  std::vector<HostTensor> weights, biases;
  for (const TensorRole role : roles) {
    ASSIGN_OR_RETURN(refs.emplace_back(), Find(table_.Get(role, layer)));
    weights.push_back(refs.back().host());
    if (const TensorSpec* bias = table_.FindBias(role, layer)) {
      ASSIGN_OR_RETURN(refs.emplace_back(), Find(*bias));
      biases.push_back(refs.back().host());
    }
  }
  ASSIGN_OR_RETURN(auto matrix, backend_.MakeMatrix(weights, dtype, biases));
  for (const TensorRef& ref : refs) {
    Done(ref);
  }
  return matrix;
}

absl::StatusOr<std::unique_ptr<Matrix>> WeightLoader::Embedding(WeightDType format) {
  ASSIGN_OR_RETURN(const TensorRef ref, Find(table_.Get(TensorRole::kEmbedding)));
  HostTensor rows = ref.host();
  if (rows.source != nullptr) {
    rows.dtype = format == WeightDType::kF32 ? DType::kF32 : DType::kBF16;
  }
  ASSIGN_OR_RETURN(auto table, backend_.MakeEmbedding(rows));
  Done(ref);
  return table;
}

absl::StatusOr<TensorRef> WeightLoader::Find(const TensorSpec& spec) const {
  return checkpoint_.Find(spec.name, spec.shape);
}

void WeightLoader::Done(const TensorRef& ref) {
  ref.Release();
  done_bytes_ += static_cast<int64_t>(ref.bytes);
  if (progress_) {
    progress_(done_bytes_, all_bytes_);
  }
}

}  // namespace alcca
