#pragma once

// What a request asks of attention, and the integers that say what it cost.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

namespace alcca {

// kWindow and kTopK are the model card's two baselines: softmax over the most recent keys, and over
// the best-scored share of all keys.
enum class AttentionMode : uint8_t { kDense, kAlcca, kMultipole, kWindow, kTopK };
inline constexpr int kAttentionModeCount = 5;
constexpr const char* AttentionModeName(AttentionMode mode) {
  constexpr const char* kNames[kAttentionModeCount] = {"dense", "alcca", "multipole", "window",
                                                       "topk"};
  return kNames[static_cast<int>(mode)];
}

// How `alcca` finds the k nearest keys. kExact scans the request's whole index; kTree opens the
// nearest leaves of a space partition and may miss some (kernels/key_index.h).
enum class KeySearch : uint8_t { kExact, kTree };

// What alcca.json may set for each layer and query head, [layers * heads], layer by layer; empty:
// the scalar of AttentionParams holds. Shared by all requests that do not say otherwise.
using PerHeadTheta = std::shared_ptr<const std::vector<float>>;
using PerHeadK = std::shared_ptr<const std::vector<int32_t>>;

// One request's attention, fully resolved (request > server config > alcca.json > defaults).
struct AttentionParams {
  AttentionMode mode = AttentionMode::kDense;
  KeySearch search = KeySearch::kExact;
  float theta = 0.0f;            // near gate radius: ||q - c|| < theta takes mean(V); >= 0, finite
  int32_t k = 8;                 // nearest keys, 1..kKeysMax
  float epsilon = 1e-8f;         // added to a Euclidean distance before 1/x; > 0, finite
  int32_t tree_distances = 11;   // tree: distances computed for a far query at most; 1..kKeysMax
  int32_t tree_recent = 6;       // tree: of these, the newest keys; 0..tree_distances
  float recall_sample = 0.001f;  // tree: share of far queries checked by exact search; [0, 1]
  int32_t window = 100;          // window: keys a query sees, its own included; 1..kWindowMax
  float sparsity = 0.1f;         // topk: share of the visible keys that is kept; (0, 1]
  PerHeadTheta head_theta = nullptr;  // null: theta for all
  PerHeadK head_k = nullptr;          // null: k for all; every entry in 1..kKeysMax
  // alcca: above 0, theta is no constant but, for each head, the quantile of ||q - c|| at this
  // share over the sequence's queries so far, so that about this share is near; [0, 1].
  float near_share = 0.0f;
  // multipole (kernels/key_clusters.h): the rows (keys, or centres in an opened cluster)
  // that a query reads, 0: no bound; the softmax mass that lets it stop before, once real keys
  // cover it by estimate, [0, 1], 1: never; contexts up to dense_below are answered by dense; the
  // first `sinks` and at least the last `recent` keys are always read. An estimate may miss the one
  // far key that matters, so that stopping by it loses what lies far back (docs/decisions.md).
  float mass = 1.0f;
  int32_t max_keys = 1024;
  int32_t dense_below = 8192;
  int32_t sinks = 16;
  int32_t recent = 320;
  float error_sample = 0.0002f;  // share of queries compared with dense's output; [0, 1]
  // Bytes that one sequence's clusters may take; beyond, it is answered by dense. 0: no bound.
  int64_t index_bytes_max = 0;
};
inline constexpr int32_t kKeysMax = 2048;
inline constexpr int32_t kWindowMax = 1 << 20;    // also of max_keys and dense_below
inline constexpr int32_t kAlwaysReadMax = 65536;  // of sinks and of recent

// Keys that `topk` keeps of `visible` ones: the nearest whole number to the share, at least one.
inline int64_t TopKCount(float sparsity, int64_t visible) {
  return std::clamp<int64_t>(std::llround(double{sparsity} * static_cast<double>(visible)), 1,
                             visible);
}

#ifdef __CUDACC__
#define ALCCA_HOST_DEVICE __host__ __device__
#else
#define ALCCA_HOST_DEVICE
#endif

// Whether a query is among the share that is checked: a hash of where it stands, so that counters
// repeat. `head` is a query head.
ALCCA_HOST_DEVICE constexpr bool IsSampled(int32_t layer, int32_t head, int32_t position,
                                           float share) {
  uint64_t x = (uint64_t(layer) << 48) ^ (uint64_t(head) << 32) ^ uint64_t(position);
  x = (x + 0x9e3779b97f4a7c15ull) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return double(x >> 11) * 0x1p-53 < double{share};
}
// A relative error as AttentionCounters sums it; the cap keeps sums far from overflow.
inline constexpr double kErrorMillionthsMax = 1e9;

enum class Phase : uint8_t { kPrefill, kDecode };
inline constexpr int kPhaseCount = 2;

// Counted interactions (docs/counting.md). Unit: one d-vector dot product, distance or
// accumulation. Per query head, summed over layers and heads, so that a test can predict each.
struct AttentionCounters {
  int64_t qk_exact = 0;             // q against a real key
  int64_t qk_centroid = 0;          // q against a cluster's centre
  int64_t com_test = 0;             // ||q - c|| of the near gate: 1 per alcca query
  int64_t index_build = 0;          // spent on an index (0 for exact search)
  int64_t pv_exact = 0;             // a real value accumulated into an output
  int64_t pv_centroid = 0;          // a mean value accumulated: 1 per near query, 1 per far cluster
  int64_t running_sums = 0;         // key and value added to running sums: 2 per token and KV head
  int64_t queries = 0;              // (token, layer, query head) triples answered
  int64_t near_queries = 0;         // of these, answered by mean(V)
  int64_t dense_equivalent_qk = 0;  // what `dense` would have done for the same queries, causal
  int64_t dense_equivalent_pv = 0;
  int64_t scalar_comparisons = 0;  // of one coordinate, in a tree: no interactions
  // Of the far queries whose tree search was checked by an exact one, which is not counted above:
  // keys it should have found, and those it did.
  int64_t recall_wanted = 0;
  int64_t recall_found = 0;
  // multipole queries whose output o' was compared with dense's o, which is not counted above, and
  // the sum of their ||o' - o|| / ||o|| in millionths, each rounded. Not counted where o is zero or
  // not finite.
  int64_t error_checked = 0;
  int64_t error_millionths = 0;
  int64_t kv_bytes_read = 0;  // bytes of keys and values read, per KV head (union over its group)

  AttentionCounters& operator+=(const AttentionCounters& other) {
    qk_exact += other.qk_exact;
    qk_centroid += other.qk_centroid;
    com_test += other.com_test;
    index_build += other.index_build;
    pv_exact += other.pv_exact;
    pv_centroid += other.pv_centroid;
    running_sums += other.running_sums;
    queries += other.queries;
    near_queries += other.near_queries;
    dense_equivalent_qk += other.dense_equivalent_qk;
    dense_equivalent_pv += other.dense_equivalent_pv;
    scalar_comparisons += other.scalar_comparisons;
    recall_wanted += other.recall_wanted;
    recall_found += other.recall_found;
    error_checked += other.error_checked;
    error_millionths += other.error_millionths;
    kv_bytes_read += other.kv_bytes_read;
    return *this;
  }
  // All interactions performed, build included.
  int64_t performed() const {
    return qk_exact + qk_centroid + com_test + index_build + pv_exact + pv_centroid + running_sums;
  }
  int64_t dense_equivalent() const { return dense_equivalent_qk + dense_equivalent_pv; }
  bool operator==(const AttentionCounters&) const = default;
};

using PhaseCounters = std::array<AttentionCounters, kPhaseCount>;  // indexed by Phase

}  // namespace alcca
