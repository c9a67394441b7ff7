#pragma once

// The one thing we ask of FAISS on the GPU: the keys nearest to each query, by brute force.
// device/flat_knn_faiss.cu calls faiss::gpu::bfKnn; a build without FAISS for the GPU has
// device/flat_knn_none.cu; tests on the host have emulated/flat_knn_emulated.cc.

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/cuda/device_words/runtime.h"

namespace alcca::ALCCA_GPU {

// bfKnn selects at most this many.
inline constexpr int32_t kFlatKnnMax = 2048;

// All pointers are device memory and contiguous.
struct FlatKnnCall {
  const float* queries = nullptr;    // [query_count, head_dim]
  const float* keys = nullptr;       // [key_count, head_dim]
  const float* key_norms = nullptr;  // [key_count], ||key||^2
  int32_t query_count = 0;
  int32_t key_count = 0;
  int32_t head_dim = 0;
  int32_t k = 0;               // 1..kFlatKnnMax; may exceed key_count
  float* distances = nullptr;  // [query_count, k], squared, ascending
  int32_t* found = nullptr;    // [query_count, k], row of `keys`; -1: no more keys
};

// Distances are ||k||^2 - 2 q.k + ||q||^2 in f32 without tensor cores: they differ from the exact
// ones by up to FlatKnnError, and so may the selection. Which of two keys at one distance is
// selected is unspecified; a key at NaN never is.
class FlatKnn {
 public:
  virtual ~FlatKnn() = default;
  // Enqueues the search on the stream; no host synchronisation.
  virtual void Search(const FlatKnnCall& call) = 0;
};

// Bound on |distance - ||q - k||^2| over keys no longer than `key_norm`: (2 d + 32) roundings of
// 2^-24 of (||q|| + ||k||)^2, which covers dot product, both norms and a direct sum alike.
__device__ __forceinline__ float FlatKnnError(int32_t head_dim, float query_norm, float key_norm) {
  const float reach = query_norm + key_norm;
  return static_cast<float>(2 * head_dim + 32) * 5.9604645e-8f * reach * reach;
}

// Bytes that a Search of at most these sizes takes from FAISS' own temporary memory: two matrices
// of distances, and two of results, for streams that alternate. With less it would call cudaMalloc.
inline size_t FlatKnnTempBytes(int32_t queries, int32_t keys, int32_t k) {
  return 2 * (sizeof(float) * static_cast<size_t>(queries) * static_cast<size_t>(keys) +
              2 * sizeof(float) * static_cast<size_t>(queries) * static_cast<size_t>(k)) +
         sizeof(float) * static_cast<size_t>(queries) + (size_t{1} << 20);
}

// FAILED_PRECONDITION, and how to get one, in a build without FAISS for the GPU.
absl::Status CheckFlatKnn();

// One per engine thread; about a tenth of a second. Takes temp_bytes of the current device at once
// and for its life by itself: the caller reserves them in its DeviceBudget. Errors of CheckFlatKnn.
absl::StatusOr<std::unique_ptr<FlatKnn>> MakeFlatKnn(Stream stream, size_t temp_bytes);

}  // namespace alcca::ALCCA_GPU
