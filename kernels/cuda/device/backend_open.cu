// The CUDA backend's door. This build links the toolkit and finds the card; the ops are not here
// yet, so it says so instead of serving (docs/decisions.md, "CUDA").

#include <cuda_runtime.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/backend.h"

namespace alcca {

absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(const CudaOptions& options) {
  cudaDeviceProp device;
  const cudaError_t error = cudaGetDeviceProperties(&device, options.device);
  if (error != cudaSuccess) {
    return absl::FailedPreconditionError(
        absl::StrCat("no CUDA device ", options.device, ": ", cudaGetErrorString(error)));
  }
  return absl::UnimplementedError(absl::StrCat("found ", device.name,
                                               ", but this version has no CUDA kernels yet; use "
                                               "--device cpu"));
}

}  // namespace alcca
