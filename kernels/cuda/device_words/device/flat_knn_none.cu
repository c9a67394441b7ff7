// A CUDA build without FAISS for the GPU.

#include "absl/status/status.h"
#include "kernels/cuda/device_words/flat_knn.h"

namespace alcca::cuda {

absl::Status CheckFlatKnn() {
  return absl::FailedPreconditionError(
      "exact_search: faiss needs FAISS for the GPU, which this build does not have: run `make "
      "faiss-cuda`, then `make cuda`; or leave exact_search out, fused finds the same keys");
}

absl::StatusOr<std::unique_ptr<FlatKnn>> MakeFlatKnn(Stream, size_t) {
  return CheckFlatKnn();
}

}  // namespace alcca::cuda
