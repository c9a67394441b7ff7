// The CUDA backend's door in a build with CUDA.

#include "kernels/cuda/backend_cuda.h"

namespace alcca {

absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(const CudaOptions& options) {
  return cuda::MakeBackend(options);
}

}  // namespace alcca
