// The CUDA backend of a build without CUDA.

#include "absl/status/status.h"
#include "kernels/make_backend.h"

namespace alcca {
namespace {

absl::Status NoCuda() {
  return absl::UnimplementedError("this build has no CUDA; rebuild with -DALCCA_CUDA=ON");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(const CudaOptions&) {
  return NoCuda();
}

absl::StatusOr<CudaCard> FindCudaCard() {
  return NoCuda();
}

}  // namespace alcca
