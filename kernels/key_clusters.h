#pragma once

// The clusters of `multipole`: a Barnes-Hut hierarchy over one sequence's keys, per layer and KV
// head. Old keys are closed in blocks of 256 tokens; within a segment of one, four or sixteen
// blocks a binary tree of median splits, each across the principal axis of its keys, orders the
// tokens so that every 4 neighbours form a fine cluster, every 32 a middle and every 256 a coarse
// one: 8 fine ones in a middle one, 8 of those in a coarse one. Attention does not depend on the
// place of a key within a segment, because RoPE is already applied. The tokens are therefore
// reordered in their pages, and a cluster is contiguous.
//
// A cluster stands for its keys k_j in a softmax over q . k_j / sqrt(d) by the expansion of the log
// of their mass about p, the mean query of late. With w_j = exp(p . k_j / sqrt(d) - a), a such that
// they sum to 1, its log-mass and value are
//   a + (q - p) . mu / sqrt(d) + min(|q - p'|^2 var / (2 d), 2),   sum_j w_j v_j,
// mu = sum_j w_j k_j, the gradient; var: sum_j w_j |k_j - mu|^2 / d, the second cumulant where keys
// scatter alike in all directions; p' the p of the newest segment, one for all. Why not expand
// about 0, that is, use plain means? Some keys attract every query although their values are almost
// zero (attention sinks). In a plain mean over 16 keys such a key keeps only 1/16 of its weight,
// and the weight it does get is multiplied by the values of its 15 neighbours.
//
// Both means are stored in int8, each with one scale, its largest magnitude / 127: a cluster costs
// 2 d + 16 bytes beside the 32 d of its four keys and values in f32, so that clusters can be small.
// mu above is the stored one, so that the expansion is exact at p. A middle or coarse cluster is
// made of the stored ones a level below.
//
// The cluster that is opened first is not the one with the largest mass but the one with the
// largest root mean square of its mass: mass times exp(correction) if scores are normally
// distributed. A cluster about which little is known may matter more than one that is surely
// middling. Values have no part in the choice, so that it depends on queries and keys alone. A
// round opens the first kOpenedAtOnce of the clusters that are not opened yet, so that a device has
// enough to read at once. Among equals, coarse clusters come first, by position, then the others in
// the order in which they were revealed. Clusters inside the opened ones wait for the next round.
// Opening stops at the first cluster that no longer fits into max_keys. The `mass` limit is tested
// between rounds, not inside one.
//
// p is the mean, over the query heads of the group, of the queries in the last kQueryBlocks whole
// blocks of 256 positions before the position at which the segment closes; 0 before the first.
//
// Only tokens that every later query sees are closed, and the schedule depends on positions alone,
// so an answer does not depend on how a prompt was cut into chunks.

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "attention/params.h"

namespace alcca {

inline constexpr int32_t kFineTokens = 4;
inline constexpr int32_t kFanout = 8;  // clusters in one of the level above
inline constexpr int32_t kMiddleTokens = kFanout * kFineTokens;
inline constexpr int32_t kBlockTokens = kFanout * kMiddleTokens;    // of a coarse cluster
inline constexpr int32_t kBlockFines = kBlockTokens / kFineTokens;  // fine clusters in it
// Clusters in a coarse one: its middle ones, then the fine ones of each.
inline constexpr int32_t kBlockClusters = kFanout + kBlockFines;
inline constexpr int32_t kBlockParents = 1 + kFanout;  // itself and its middle ones
// Parent 0 is the coarse cluster itself, 1 + m its middle one m: where child i of it stands among
// the kBlockClusters, middle ones first.
ALCCA_HOST_DEVICE constexpr int32_t ChildRow(int32_t parent, int32_t i) {
  return parent * kFanout + i;
}
// Where in its block the keys of the fine cluster in a row of these begin.
ALCCA_HOST_DEVICE constexpr int32_t FineToken(int32_t row) {
  return (row - kFanout) * kFineTokens;
}
inline constexpr int32_t kOpenedAtOnce = 8;
inline constexpr int32_t kSegmentBlocks = 16;  // at most
inline constexpr int32_t kSegmentTokens = kSegmentBlocks * kBlockTokens;
inline constexpr int32_t kQueryBlocks = 4;         // whose queries make an expansion point
inline constexpr int32_t kAxisIterations = 4;      // of the power method, per split
inline constexpr float kClusterCorrectionMax = 2;  // nats

// Whether a query that sees `visible` keys is answered by dense.
inline bool MultipoleIsDense(const AttentionParams& params, int32_t sliding_window,
                             int32_t visible) {
  // Under a sliding window keys leave one by one, and no cluster could follow.
  return sliding_window > 0 || visible <= params.dense_below;
}

// Blocks closed for such a query: tokens [sinks, sinks + 256 * result).
inline int32_t ClosedBlocks(const AttentionParams& params, int32_t sliding_window,
                            int32_t visible) {
  return MultipoleIsDense(params, sliding_window, visible)
             ? 0
             : std::max(0, (visible - params.sinks - params.recent) / kBlockTokens);
}

// Whether the query at `position` may enter an expansion point: the first block closes at position
// dense_below at the earliest.
inline bool EntersExpansion(const AttentionParams& params, int32_t sliding_window,
                            int32_t position) {
  return sliding_window == 0 &&
         int64_t{position} + (kQueryBlocks + 1) * kBlockTokens > params.dense_below;
}

// Closing block number `blocks` (from 1) builds the segment of so many blocks that ends there: four
// single blocks merge into one of four, four of these into one of sixteen.
constexpr int32_t SegmentBlocks(int32_t blocks) {
  return blocks % kSegmentBlocks == 0 ? kSegmentBlocks : blocks % 4 == 0 ? 4 : 1;
}

// Interactions of building a segment (docs/counting.md): a split costs each of its keys a mean, a
// distance, kAxisIterations products and accumulations, and a projection; a fine cluster four per
// key (its product with p, and its part in key, value and variance), a middle or coarse one three
// per cluster in it. Beside that each query that enters an expansion point costs one.
constexpr int64_t SegmentBuildInteractions(int32_t blocks) {
  const int64_t keys = int64_t{blocks} * kBlockTokens;
  int64_t splits = 0;
  for (int64_t tokens = keys; tokens > kFineTokens; tokens /= 2) {
    ++splits;
  }
  return keys * splits * (3 + 2 * kAxisIterations) + 4 * keys + 3 * keys / kFineTokens +
         3 * keys / kMiddleTokens;
}

inline constexpr float kCentreSteps = 127.0f;  // of a stored mean: +-127 scales

// Bytes that scoring a cluster reads: its mean key, that one's scale, offset (a - p . mu /
// sqrt(d)) and variance; and what taking its mean value reads: that and its scale.
ALCCA_HOST_DEVICE constexpr int64_t ClusterKeyBytes(int32_t head_dim) {
  return head_dim + 3 * int64_t{sizeof(float)};
}
ALCCA_HOST_DEVICE constexpr int64_t ClusterValueBytes(int32_t head_dim) {
  return head_dim + int64_t{sizeof(float)};
}

// `count` clusters side by side, in one piece of memory aligned to floats.
struct ClusterRows {
  unsigned char* base;
  int32_t count, d;

  ALCCA_HOST_DEVICE float* KeyScales() const { return reinterpret_cast<float*>(base); }
  ALCCA_HOST_DEVICE float* Offsets() const { return KeyScales() + count; }
  ALCCA_HOST_DEVICE float* Variances() const { return KeyScales() + 2 * count; }
  ALCCA_HOST_DEVICE float* ValueScales() const { return KeyScales() + 3 * count; }
  ALCCA_HOST_DEVICE int8_t* Key(int32_t row) const {
    return reinterpret_cast<int8_t*>(KeyScales() + 4 * count) + size_t(row) * d;
  }
  ALCCA_HOST_DEVICE int8_t* Value(int32_t row) const { return Key(count + row); }
};
ALCCA_HOST_DEVICE constexpr size_t ClusterRowsBytes(int32_t count, int32_t head_dim) {
  return size_t(count) *
         static_cast<size_t>(ClusterKeyBytes(head_dim) + ClusterValueBytes(head_dim));
}

// Memory of so many closed blocks: their clusters, and of coarse ones room for 16 a segment.
constexpr size_t ClusterBytes(int32_t blocks, int32_t head_dim) {
  const int32_t segments = (blocks + kSegmentBlocks - 1) / kSegmentBlocks;
  return size_t(blocks) * ClusterRowsBytes(kBlockClusters, head_dim) +
         size_t(segments) * ClusterRowsBytes(kSegmentBlocks, head_dim);
}

// What a CPU keeps beside them, so that others may fork the sequence: where each closed token was,
// and the sum of the queries of each block of positions.
constexpr size_t ForkBytes(int32_t blocks, int32_t head_dim) {
  return size_t(blocks) *
         (kBlockTokens * sizeof(uint16_t) + static_cast<size_t>(head_dim) * sizeof(double));
}

}  // namespace alcca
