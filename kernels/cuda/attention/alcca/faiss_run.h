#pragma once

// Exact search of `alcca` by FAISS instead of SearchKeys, if CudaOptions::faiss_search asks for it.
// It takes the published formula's nearest keys from the library that the formula names. Neighbours
// and lists are the same, so outputs and counters are those of the fused search. Only the time
// differs, because bfKnn takes one KV head of one sequence per call.

#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "kernels/cuda/attention/alcca/alcca.h"
#include "kernels/cuda/attention/alcca/faiss_search.h"
#include "kernels/cuda/attention/plan.h"
#include "kernels/cuda/context.h"
#include "kernels/cuda/kv_cache.h"

namespace alcca::ALCCA_GPU {

class FaissSearch {
 public:
  // FAISS and its memory, once for the engine's thread and for the life of the KV cache.
  // Errors of CheckFlatKnn.
  static absl::StatusOr<std::unique_ptr<FaissSearch>> Make(const DeviceContext& device,
                                                           const KvShape& shape);

  // Leaves the runs' candidates. Enqueues only. `pages` and `ks`: the plan's arrays on the device.
  template <typename E>
  void Search(const KvLayer<E>& kv, const AttentionRows& rows, const SearchWave& wave,
              std::span<const FaissRun> runs, const int32_t* pages, const int32_t* ks);

 private:
  explicit FaissSearch(Stream stream) : stream_(stream) {}
  Stream stream_;
  std::unique_ptr<FaissKeySearch> search_;
  DeviceArray nearest_;  // NearestKey [kQueries, kKeysMax]
};

}  // namespace alcca::ALCCA_GPU
