// FAISS on the GPU: the only file of the CUDA backend that includes it. Compiled where
// ALCCA_FAISS_CUDA_ROOT points at a FAISS with gpu/ headers (tools/build_faiss_cuda.sh makes one).

#include <faiss/gpu/GpuDistance.h>
#include <faiss/gpu/StandardGpuResources.h>

#include <exception>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "kernels/cuda/device_words/flat_knn.h"
#include "kernels/device_fault.h"

namespace alcca::cuda {
namespace {

// Neither resources nor their indices may be used by two threads, so each engine thread has its
// own.
class FaissFlatKnn final : public FlatKnn {
 public:
  FaissFlatKnn(Stream stream, size_t temp_bytes) {
    int device = 0;
    if (cudaGetDevice(&device) != cudaSuccess) {
      DeviceFault("cudaGetDevice");
    }
    // Before the first use, or FAISS takes 1.5 GiB of the card and 256 MiB of page-locked memory.
    resources_.setTempMemory(temp_bytes);
    resources_.setPinnedMemory(0);  // nothing of ours is on the host
    resources_.setDefaultStream(device, stream);
    resources_.getResources()->initializeForDevice(device);
  }

  void Search(const FlatKnnCall& call) override {
    faiss::gpu::GpuDistanceParams params;
    params.metric = faiss::METRIC_L2;
    params.k = call.k;
    params.dims = call.head_dim;
    params.vectors = call.keys;
    params.vectorType = faiss::gpu::DistanceDataType::F32;
    params.numVectors = call.key_count;
    params.vectorNorms = call.key_norms;
    params.queries = call.queries;
    params.queryType = faiss::gpu::DistanceDataType::F32;
    params.numQueries = call.query_count;
    params.outDistances = call.distances;
    params.outIndicesType = faiss::gpu::IndicesDataType::I32;
    params.outIndices = call.found;
    try {
      faiss::gpu::bfKnn(&resources_, params);
    } catch (const std::exception& e) {
      DeviceFault(absl::StrCat("faiss: ", e.what()));
    }
  }

 private:
  faiss::gpu::StandardGpuResources resources_;
};

}  // namespace

absl::Status CheckFlatKnn() {
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<FlatKnn>> MakeFlatKnn(Stream stream, size_t temp_bytes) {
  try {
    return std::make_unique<FaissFlatKnn>(stream, temp_bytes);
  } catch (const std::exception& e) {
    return absl::ResourceExhaustedError(
        absl::StrCat("faiss: no resources with ", temp_bytes, " bytes: ", e.what()));
  }
}

}  // namespace alcca::cuda
