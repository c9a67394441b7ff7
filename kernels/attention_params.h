#pragma once

// What a request asks of attention, and the integers that say what it cost.

#include <array>
#include <cstdint>

namespace alcca {

enum class AttentionMode : uint8_t { kDense, kAlcca };
inline constexpr int kAttentionModeCount = 2;
constexpr const char* AttentionModeName(AttentionMode mode) {
  return mode == AttentionMode::kDense ? "dense" : "alcca";
}

// How `alcca` finds the k nearest keys. kExact scans the request's whole index.
enum class KeySearch : uint8_t { kExact };

// One request's attention, fully resolved (request > server config > alcca.json > defaults).
struct AttentionParams {
  AttentionMode mode = AttentionMode::kDense;
  KeySearch search = KeySearch::kExact;
  float theta = 0.0f;     // near gate radius: ||q - c|| < theta takes mean(V); >= 0, finite
  int32_t k = 8;          // nearest keys, 1..kKeysMax
  float epsilon = 1e-8f;  // added to a Euclidean distance before 1/x; > 0, finite
};
inline constexpr int32_t kKeysMax = 2048;

enum class Phase : uint8_t { kPrefill, kDecode };
inline constexpr int kPhaseCount = 2;

// Counted interactions (docs/counting.md). Unit: one d-vector dot product, distance or
// accumulation. Per query head, summed over layers and heads, so that a test can predict each.
struct AttentionCounters {
  int64_t qk_exact = 0;             // q against a real key
  int64_t qk_centroid = 0;          // q against a cluster's centre
  int64_t com_test = 0;             // ||q - c|| of the near gate: 1 per alcca query
  int64_t index_build = 0;          // distances spent on building an index (0 for exact search)
  int64_t pv_exact = 0;             // a real value accumulated into an output
  int64_t pv_centroid = 0;          // a mean value accumulated (1 per near query)
  int64_t running_sums = 0;         // key and value added to running sums: 2 per token and KV head
  int64_t queries = 0;              // (token, layer, query head) triples answered
  int64_t near_queries = 0;         // of these, answered by mean(V)
  int64_t dense_equivalent_qk = 0;  // what `dense` would have done for the same queries, causal
  int64_t dense_equivalent_pv = 0;
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
