#pragma once

// The integers that say what attention did and what it cost, once: a member of AttentionCounters
// and a row of kCounters, which sums, wire, JSON, metrics and reports walk.

#include <array>
#include <cstdint>

namespace alcca {

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
  // the sum of their ||o' - o|| / ||o|| in millionths, each rounded. A query whose o is zero or not
  // finite is not counted.
  int64_t error_checked = 0;
  int64_t error_millionths = 0;
  int64_t kv_bytes_read = 0;  // bytes of keys and values read, per KV head (union over its group)

  AttentionCounters& operator+=(const AttentionCounters& other);
  // All interactions performed, build included; and those of the query-key side alone.
  int64_t performed() const;
  int64_t qk_performed() const;
  int64_t dense_equivalent() const { return dense_equivalent_qk + dense_equivalent_pv; }
  bool operator==(const AttentionCounters&) const = default;
};

using PhaseCounters = std::array<AttentionCounters, kPhaseCount>;  // indexed by Phase

// A relative error as AttentionCounters sums it; the cap keeps sums far from overflow.
inline constexpr double kErrorMillionthsMax = 1e9;

// What a counter counts.
enum class CounterSide : uint8_t {
  kNeither,   // no interaction, or one of both sides
  kQueryKey,  // interactions of a query with a key or a centre; an index is built for these
  kValue      // interactions of a weight with a value
};

struct CounterTraits {
  const char* name;  // the field of v1.AttentionCounters, the key in JSON, the label `kind`
  int64_t AttentionCounters::*field;
  CounterSide side = CounterSide::kNeither;
  bool is_performed = false;  // in performed()
};
inline constexpr CounterTraits kCounters[] = {
    {"qk_exact", &AttentionCounters::qk_exact, CounterSide::kQueryKey, true},
    {"qk_centroid", &AttentionCounters::qk_centroid, CounterSide::kQueryKey, true},
    {"com_test", &AttentionCounters::com_test, CounterSide::kQueryKey, true},
    {"index_build", &AttentionCounters::index_build, CounterSide::kQueryKey, true},
    {"pv_exact", &AttentionCounters::pv_exact, CounterSide::kValue, true},
    {"pv_centroid", &AttentionCounters::pv_centroid, CounterSide::kValue, true},
    {"running_sums", &AttentionCounters::running_sums, CounterSide::kNeither, true},
    {"queries", &AttentionCounters::queries},
    {"near_queries", &AttentionCounters::near_queries},
    {"dense_equivalent_qk", &AttentionCounters::dense_equivalent_qk, CounterSide::kQueryKey},
    {"dense_equivalent_pv", &AttentionCounters::dense_equivalent_pv, CounterSide::kValue},
    {"scalar_comparisons", &AttentionCounters::scalar_comparisons},
    {"recall_wanted", &AttentionCounters::recall_wanted},
    {"recall_found", &AttentionCounters::recall_found},
    {"error_checked", &AttentionCounters::error_checked},
    {"error_millionths", &AttentionCounters::error_millionths},
    {"kv_bytes_read", &AttentionCounters::kv_bytes_read},
};
// A member without a row would be lost in every sum.
static_assert(sizeof(kCounters) / sizeof(kCounters[0]) * sizeof(int64_t) ==
              sizeof(AttentionCounters));

inline AttentionCounters& AttentionCounters::operator+=(const AttentionCounters& other) {
  for (const CounterTraits& counter : kCounters) {
    this->*counter.field += other.*counter.field;
  }
  return *this;
}

inline int64_t AttentionCounters::performed() const {
  int64_t sum = 0;
  for (const CounterTraits& counter : kCounters) {
    sum += counter.is_performed ? this->*counter.field : 0;
  }
  return sum;
}

inline int64_t AttentionCounters::qk_performed() const {
  int64_t sum = 0;
  for (const CounterTraits& counter : kCounters) {
    const bool counts = counter.is_performed && counter.side == CounterSide::kQueryKey;
    sum += counts ? this->*counter.field : 0;
  }
  return sum;
}

}  // namespace alcca
