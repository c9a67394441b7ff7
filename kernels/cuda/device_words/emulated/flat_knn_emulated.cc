// What stands in for FAISS on the host. It keeps the letter of flat_knn.h and is unkind otherwise:
// distances carry the rounding of the expanded formula, summed backwards, and of keys at one
// distance the higher is selected.

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "base/check.h"
#include "kernels/cuda/device_words/flat_knn.h"

namespace alcca::cuda_emulated {
namespace {

class EmulatedFlatKnn final : public FlatKnn {
 public:
  EmulatedFlatKnn(Stream stream, size_t temp_bytes) : stream_(stream), temp_bytes_(temp_bytes) {}

  void Search(const FlatKnnCall& call) override {
    ALCCA_CHECK(call.query_count > 0 && call.key_count > 0 && call.k > 0 && call.k <= kFlatKnnMax);
    ALCCA_CHECK(FlatKnnTempBytes(call.query_count, call.key_count, call.k) <= temp_bytes_);
    Enqueue(stream_, [call] {
      for (int32_t query = 0; query < call.query_count; ++query) {
        SearchOne(call, query);
      }
    });
  }

 private:
  static void SearchOne(const FlatKnnCall& call, int32_t query) {
    const int32_t d = call.head_dim;
    const float* q = call.queries + int64_t{query} * d;
    std::vector<std::pair<float, int32_t>> all;  // distance, minus the key
    for (int32_t key = 0; key < call.key_count; ++key) {
      float dot = 0.0f, query_norm = 0.0f;
      for (int32_t i = d - 1; i >= 0; --i) {
        dot += q[i] * call.keys[int64_t{key} * d + i];
        query_norm += q[i] * q[i];
      }
      const float distance = std::fmax(call.key_norms[key] - 2.0f * dot + query_norm, 0.0f);
      if (!std::isnan(call.key_norms[key] + dot + query_norm)) {
        all.emplace_back(distance, -key);
      }
    }
    std::sort(all.begin(), all.end());
    for (int32_t i = 0; i < call.k; ++i) {
      const bool exists = i < static_cast<int32_t>(all.size());
      call.distances[int64_t{query} * call.k + i] = exists ? all[i].first : INFINITY;
      call.found[int64_t{query} * call.k + i] = exists ? -all[i].second : -1;
    }
  }

  Stream stream_;
  size_t temp_bytes_;
};

}  // namespace

absl::Status CheckFlatKnn() {
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<FlatKnn>> MakeFlatKnn(Stream stream, size_t temp_bytes) {
  return std::make_unique<EmulatedFlatKnn>(stream, temp_bytes);
}

}  // namespace alcca::cuda_emulated
