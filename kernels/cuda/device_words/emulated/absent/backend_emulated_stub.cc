// In builds without the emulated device: ThreadSanitizer's, to which its fibers have nothing to
// tell.

#include "absl/status/status.h"
#include "kernels/cuda/device_words/emulated/backend_emulated.h"

namespace alcca {

absl::StatusOr<std::unique_ptr<Backend>> MakeEmulatedCudaBackend(const CudaOptions& /*options*/,
                                                                 uint64_t /*seed*/) {
  return absl::UnimplementedError("this build has no emulated device");
}

}  // namespace alcca
