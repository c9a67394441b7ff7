// The CUDA backend's door in a build with CUDA.

#include "base/status_macros.h"
#include "kernels/cuda/backend_cuda.h"
#include "kernels/cuda/device_words/runtime.h"

namespace alcca {

absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(const CudaOptions& options) {
  return cuda::MakeBackend(options);
}

absl::StatusOr<CudaCard> FindCudaCard() {
  ASSIGN_OR_RETURN(const cuda::DeviceInfo info, cuda::OpenDevice());
  return CudaCard{.name = info.name, .free_bytes = info.free_bytes};
}

}  // namespace alcca
