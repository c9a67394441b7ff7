#pragma once

// The nearest keys of one request in one layer and KV head.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

namespace alcca {

struct NearestKey {
  float squared_distance = 0;
  int32_t key = 0;  // token position
};

// What one search cost.
struct SearchCost {
  int64_t distances = 0;           // full distances computed
  int64_t scalar_comparisons = 0;  // of one coordinate with a cut
  // Positions whose keys were read, in no order; empty if the whole prefix was read.
  std::vector<int32_t> keys_read;
};

// Append-only while the request lives. Reads the keys where the KV pages hold them; never copies
// one. Not thread-safe.
class KeyIndex {
 public:
  virtual ~KeyIndex() = default;
  // The keys of the next tokens, [count, head_dim], contiguous; stays valid for the index' life. A
  // block that grows is appended piece by piece with the same stride.
  virtual void Append(const float* keys, int32_t count) = 0;
  virtual int32_t size() const = 0;
  // The k nearest by Euclidean distance among the first `prefix` keys, nearest first. At equal
  // distance the lower position comes first, which also decides which keys are in. Returns how many
  // were found: min(k, prefix), or fewer if distances are NaN.
  virtual int32_t Search(const float* query, int32_t k, int32_t prefix,
                         std::span<NearestKey> out) = 0;
  virtual const SearchCost& last_cost() const = 0;
  // Interactions (distances, or vectors added up) spent on building so far.
  virtual int64_t build_interactions() const = 0;
  virtual size_t bytes() const = 0;
};

// out[j] = ||query - keys[j]||^2 for n keys of d floats each, contiguous. A key's result must not
// depend on the other keys.
using SquaredDistances = void (*)(float* out, const float* query, const float* keys, int32_t n,
                                  int32_t d);

// A flat faiss::Index over blocks of `block_keys` keys (one KV page each). Every block but the last
// is full. `distances`: null for FAISS' own function, which Debian's build leaves scalar.
absl::StatusOr<std::unique_ptr<KeyIndex>> MakeFaissKeyIndex(int32_t head_dim, int32_t block_keys,
                                                            SquaredDistances distances = nullptr);

struct TreeParams {
  int32_t distances = 11;  // computed for a query at most, >= 1
  int32_t recent = 6;      // of these, the newest keys, always compared; 0..distances
};

// The most bytes that a tree holds per key: 28, in vectors that may just have doubled.
inline constexpr size_t kTreeBytesPerKey = 56;

// A binary space partition that grows key by key: a leaf holds one key and the keys equal to it. A
// new key descends to a leaf and splits it halfway between the two keys, across the coordinate in
// which they differ most relative to how much keys vary there. A search opens leaves in ascending
// order of their least possible distance (Arya & Mount 1993) and stops early, so it may miss
// neighbours. If keys are appended one by one, the result depends on the keys alone. Append takes
// any number of keys; Search needs prefix == size(). Distances have the bits of `distances`.
std::unique_ptr<KeyIndex> MakeTreeKeyIndex(int32_t head_dim, const TreeParams& params,
                                           SquaredDistances distances);

}  // namespace alcca
