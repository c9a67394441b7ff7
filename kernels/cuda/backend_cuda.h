#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/cuda/device_words/simt.h"
#include "kernels/make_backend.h"

namespace alcca::ALCCA_GPU {

// The backend on the device of this build: the card, or the emulator's.
absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(const CudaOptions& options);

}  // namespace alcca::ALCCA_GPU
