#pragma once

// How a backend comes to be: options, and a factory for each kind.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/sampling.h"
#include "kernels/tensor.h"

namespace alcca {

struct BackendLimits {
  int32_t batch_tokens = 0;  // rows of the largest step
  SamplingLimits sampling = {};
};

struct CpuOptions {
  int32_t threads = 0;       // 0: one per available core
  std::string isa = "auto";  // auto | avx512 | avx2 | portable; the best the machine has
  BackendLimits limits;
};

// Plain loops in double: the yardstick of every conformance test, far too slow to serve.
std::unique_ptr<Backend> MakeReferenceBackend();
absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(const CpuOptions& options);

struct CudaOptions {
  // All device memory that the backend may take, except workspaces of libraries. 0: nine tenths of
  // the free memory.
  size_t memory_bytes = 0;
  DType kv_dtype = DType::kBF16;  // of cached keys and values: kBF16 or kF32
  // Computes bf16 and fp8 products of many rows by our own kernels, whose sums do not depend on the
  // number of rows. If false, cuBLASLt computes them, and row independence holds for int8 and f32
  // weights only.
  bool row_independent = false;
  // Finds the nearest keys of alcca's exact search by faiss::gpu::bfKnn over each request's keys
  // instead of by our fused kernels. Neighbours, outputs and counters are the same.
  // FAILED_PRECONDITION in a build without FAISS for the GPU.
  bool faiss_search = false;
  // Steps of up to so many rows replay recorded launches, a graph for each number of rows and
  // layer (kernels/cuda/recording.h); 0: none do. At most kGraphRowsMax.
  int32_t graph_rows = 0;
  BackendLimits limits;
};
// A library computes products of more rows, and its launches are not recorded.
inline constexpr int32_t kGraphRowsMax = 96;
// On the first card that the process sees (CUDA_VISIBLE_DEVICES chooses). UNIMPLEMENTED in a build
// without CUDA (kernels/cuda/device_words/device/backend_cuda_stub.cc), FAILED_PRECONDITION without
// a card.
absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(const CudaOptions& options);
struct CudaCard {
  std::string name;
  size_t free_bytes = 0;
};
absl::StatusOr<CudaCard> FindCudaCard();  // errors as above

}  // namespace alcca
