#include "kernels/cuda/device_words/emulated/backend_emulated.h"

#include "kernels/cuda/backend_cuda.h"

namespace alcca {

absl::StatusOr<std::unique_ptr<Backend>> MakeEmulatedCudaBackend(const CudaOptions& options,
                                                                 uint64_t seed) {
  cuda_emulated::simt::SetSeed(seed);
  return cuda_emulated::MakeBackend(options);
}

}  // namespace alcca
