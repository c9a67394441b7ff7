// The CUDA backend of a build without CUDA.

#include "absl/status/status.h"
#include "kernels/backend.h"

namespace alcca {

absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(const CudaOptions&) {
  return absl::UnimplementedError("this build has no CUDA; rebuild with -DALCCA_CUDA=ON");
}

}  // namespace alcca
