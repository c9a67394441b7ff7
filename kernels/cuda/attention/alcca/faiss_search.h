#pragma once

// Exact search of `alcca` with FAISS, for users who want the published formula's nearest keys from
// the library that the formula names. The fused search is faster. This search is its yardstick on
// the device; it costs one bfKnn call per sequence, layer, KV head, piece of keys and block of
// queries.
//
// bfKnn wants contiguous rows, and a head's keys in pages are not: a page holds kv_heads *
// page_tokens rows of which page_tokens lie together. One call per page would be 512 calls for a
// head at 32k tokens, so a kernel gathers a piece of at most `piece_keys` keys into scratch, in f32
// (FAISS 1.7 knows no bf16; the conversion is exact) and with their norms, which FAISS would
// compute in another pass. The scratch belongs to the thread, not to the request, so no key is kept
// twice.
//
// The answer does not depend on FAISS' rounding. The distances of its k + slack candidates are
// computed anew by SquaredDistance, as in the fused search, and merged into the list over pieces by
// (distance, position). If a key that FAISS left out could still belong (its k-th candidate is not
// clearly farther), the query scans the piece itself. The order is therefore the one that every
// backend has, whatever the batch.
//
// Traffic per call over n keys: n * d * (element + 4) gathered, n * d * 4 read by the product, and
// the distances, queries * n * 4, written and read by the selection.

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/cuda/device_words/flat_knn.h"
#include "kernels/cuda/device_words/runtime.h"
#include "kernels/key_index.h"

namespace alcca::ALCCA_GPU {

// The keys of one sequence, layer and KV head. T: float or BFloat16.
template <typename T>
struct KeyPages {
  const T* keys = nullptr;         // slot 0 of page 0 of this layer and head
  int64_t page_stride = 0;         // elements from one page to the next
  int32_t page_tokens = 0;         // slots of a page, head_dim elements each, contiguous
  const int32_t* pages = nullptr;  // device: page ids in token order
};

// The queries of one sequence's rows in one KV head's group.
template <typename T>
struct GroupQueries {
  const T* queries = nullptr;  // first row, first head of the group; heads head_dim apart
  int64_t row_stride = 0;      // elements
  int32_t rows = 0;
  int32_t group = 1;                // query heads of a KV head
  int32_t first_prefix = 0;         // keys that row 0 sees; row r sees r more
  const int32_t* head_k = nullptr;  // device [group], k at most of each; null: k for all
  int32_t k = 0;                    // 1..kKeysMax
};

struct KeySearchLimits {
  int32_t head_dim = 0;
  int32_t rows = 0;             // of one Search, times group
  int32_t k = 0;                // largest of any Search
  int32_t piece_keys = 16384;   // keys of one bfKnn call
  int32_t block_queries = 256;  // queries of one bfKnn call
};

class FaissKeySearch {
 public:
  // Scratch and FAISS' own memory (FlatKnnTempBytes) from the budget, all at once.
  static absl::StatusOr<std::unique_ptr<FaissKeySearch>> Make(Stream stream, DeviceBudget& budget,
                                                              const KeySearchLimits& limits);

  // Enqueues: out [rows, group, k], nearest first, ties by position; places beyond the number of
  // keys (or beyond head_k) have key -1. NaN distances are never in.
  template <typename Key, typename Query>
  void Search(const KeyPages<Key>& keys, const GroupQueries<Query>& queries, NearestKey* out);

  // Queries that scanned a piece themselves so far; waits for the stream. For benches and tests.
  int64_t CountScans();

 private:
  FaissKeySearch(Stream stream, const KeySearchLimits& limits) : stream_(stream), limits_(limits) {}
  Stream stream_;
  KeySearchLimits limits_;
  DeviceArray flat_knn_memory_;  // what it takes by itself; outlives it
  std::unique_ptr<FlatKnn> flat_knn_;
  DeviceArray queries_;     // f32 [rows * group, head_dim]
  DeviceArray keys_;        // f32 [piece_keys, head_dim]
  DeviceArray key_norms_;   // f32 [piece_keys]
  DeviceArray distances_;   // f32 [block_queries, candidates]
  DeviceArray candidates_;  // i32 [block_queries, candidates]
  DeviceArray scans_;       // u64, one
};

}  // namespace alcca::ALCCA_GPU
