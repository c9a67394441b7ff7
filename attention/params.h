#pragma once

// What one request asks of attention, resolved: every number has a value.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

#include "attention/modes.h"

namespace alcca {

inline constexpr int32_t kKeysMax = 2048;         // of k and tree_distances
inline constexpr int32_t kWindowMax = 1 << 20;    // of window, max_keys and dense_below
inline constexpr int32_t kAlwaysReadMax = 65536;  // of sinks and recent

// Plain numbers, which a device takes as they are. The defaults are those that hold when nobody
// says otherwise; ranges and names stand in attention/knobs.h.
struct AttentionScalars {
  AttentionMode mode = AttentionMode::kDense;
  KeySearch search = KeySearch::kExact;
  float theta = 0.0f;            // near gate radius: ||q - c|| < theta takes mean(V)
  int32_t k = 8;                 // nearest keys
  float epsilon = 1e-8f;         // added to a Euclidean distance before 1/x
  int32_t tree_distances = 11;   // tree: distances computed for a far query at most
  int32_t tree_recent = 6;       // tree: of these, the newest keys; at most tree_distances
  float recall_sample = 0.001f;  // tree: share of far queries checked by exact search
  int32_t window = 100;          // window: keys a query sees, its own included
  float sparsity = 0.1f;         // topk: share of the visible keys that is kept
  // alcca: above 0, theta is no constant but, for each head, the quantile of ||q - c|| at this
  // share over the sequence's queries so far, so that about this share is near.
  float near_share = 0.0f;
  // multipole (kernels/key_clusters.h): the rows (keys, or centres in an opened cluster)
  // that a query reads, 0: no bound; the softmax mass that lets it stop before, once real keys
  // cover it by estimate, 1: never; contexts up to dense_below are answered by dense; the
  // first `sinks` and at least the last `recent` keys are always read. An estimate may miss the one
  // far key that matters, so that stopping by it loses what lies far back (docs/decisions.md).
  float mass = 1.0f;
  int32_t max_keys = 1024;
  int32_t dense_below = 8192;
  int32_t sinks = 16;
  int32_t recent = 320;
  float error_sample = 0.0002f;  // multipole: share of queries compared with dense's output
  // Bytes that one sequence's clusters may take; beyond, it is answered by dense. 0: no bound.
  int64_t index_bytes_max = 0;
};

// What alcca.json may set for each layer and query head, [layers * heads], layer by layer; null:
// the number of AttentionScalars holds. Shared by all requests that do not say otherwise.
using PerHeadTheta = std::shared_ptr<const std::vector<float>>;
using PerHeadK = std::shared_ptr<const std::vector<int32_t>>;

struct AttentionParams : AttentionScalars {
  PerHeadTheta head_theta = nullptr;  // in place of theta
  PerHeadK head_k = nullptr;          // in place of k; every entry in the range of k
};

#ifdef __CUDACC__
#define ALCCA_HOST_DEVICE __host__ __device__
#else
#define ALCCA_HOST_DEVICE
#endif

// Keys that `topk` keeps of `visible` ones: the nearest whole number to the share, at least one.
inline int64_t TopKCount(float sparsity, int64_t visible) {
  return std::clamp<int64_t>(std::llround(double{sparsity} * static_cast<double>(visible)), 1,
                             visible);
}

// First key that the query at `position` sees if it sees the newest `window` keys, its own
// included; 0: all.
ALCCA_HOST_DEVICE constexpr int32_t FirstKey(int32_t window, int32_t position) {
  return window > 0 && position >= window ? position - window + 1 : 0;
}

// Keys that a query sees at most, its own included, under a model's sliding window of so many
// (0: it has none); 0: all. The model's window holds unless the mode ignores it.
inline int32_t SeenKeys(const AttentionScalars& params, int32_t sliding_window) {
  const bool ignores = TraitsOf(params.mode).sliding_window == SlidingWindow::kIgnores;
  const int32_t models = ignores ? 0 : sliding_window;
  if (params.mode != AttentionMode::kWindow) {
    return models;
  }
  return models > 0 ? std::min(models, params.window) : params.window;
}

// First key that attention reads for the query at `position`: both of the above.
inline int32_t FirstKey(const AttentionScalars& params, int32_t sliding_window, int32_t position) {
  return FirstKey(SeenKeys(params, sliding_window), position);
}

// Whether a query is among the share that is checked: a hash of where it stands, so that counters
// repeat. `head` is a query head.
ALCCA_HOST_DEVICE constexpr bool IsSampled(int32_t layer, int32_t head, int32_t position,
                                           float share) {
  uint64_t x = (uint64_t(layer) << 48) ^ (uint64_t(head) << 32) ^ uint64_t(position);
  x = (x + 0x9e3779b97f4a7c15ull) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return double(x >> 11) * 0x1p-53 < double{share};
}

}  // namespace alcca
