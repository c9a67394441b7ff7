#pragma once

// The CUDA backend on the emulated device, for tests.

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/make_backend.h"

namespace alcca {

// `seed`: order of threads and blocks, of the whole process; 0 as numbered.
absl::StatusOr<std::unique_ptr<Backend>> MakeEmulatedCudaBackend(const CudaOptions& options,
                                                                 uint64_t seed = 0);

}  // namespace alcca
