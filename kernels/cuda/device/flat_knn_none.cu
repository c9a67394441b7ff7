// A CUDA build without FAISS for the GPU.

#include "absl/status/status.h"
#include "kernels/cuda/flat_knn.h"

namespace alcca::cuda {

absl::StatusOr<std::unique_ptr<FlatKnn>> MakeFlatKnn(Stream, size_t) {
  return absl::UnimplementedError(
      "this build has no FAISS for the GPU: run tools/build_faiss_cuda.sh and configure with "
      "-DALCCA_FAISS_CUDA_ROOT=build/faiss-cuda");
}

}  // namespace alcca::cuda
