#pragma once

// What attention kernels are told: plain structs in device memory, filled once a step by
// attention_plan and the same for every layer.
//
// Words used below. A *packed row* is one query: a (token, query head) pair; up to 16 packed rows
// of one KV head, the heads of a group first, then tokens, share every key that is read. A *split*
// is an aligned run of keys that is softmaxed on its own and merged in order: how splits are dealt
// to blocks is free, the arithmetic is not, so a token's bits depend on its position alone.

#include <cstddef>
#include <cstdint>

#include "attention/params.h"
#include "kernels/cuda/device_words/simt.h"
#include "kernels/cuda/kv_cache.h"

namespace alcca::ALCCA_GPU {

inline constexpr int32_t kPackedRows = 16;
inline constexpr int32_t kSplitKeys = 256;    // of a softmax
inline constexpr int32_t kTileKeys = 64;      // keys in shared memory at a time
inline constexpr int32_t kSearchKeys = 512;   // of one search block
inline constexpr int32_t kChunkTokens = 256;  // tokens of one piece of a sequence's state
inline constexpr int32_t kAttentionThreads = 128;
inline constexpr int32_t kAttentionWarps = kAttentionThreads / kWarp;

// Counts that depend on data, by sequence of the step; the rest the host knows by itself.
enum AttentionCount : int32_t {
  kCountQkExact,
  kCountQkCentroid,
  kCountPvExact,
  kCountPvCentroid,
  kCountNear,
  kCountComparisons,
  kCountRecallWanted,
  kCountRecallFound,
  kCountErrorChecked,
  kCountErrorMillionths,
  kCountKvRows,        // key or value rows read, once per KV head
  kCountClusterBytes,  // of clusters' keys and values, and of expansion points, the same way
  kAttentionCounts
};
using Count = unsigned long long;

// Keys and values of one layer, each [page][kv_head][page_tokens][head_dim].
template <typename E>
struct KvLayer {
  E* keys;
  E* values;
  int32_t layer, kv_heads, page_tokens, head_dim;

  __device__ size_t Row(const int32_t* pages, int32_t kv_head, int32_t token) const {
    const int32_t page = pages[token / page_tokens];
    return ((size_t(page) * kv_heads + kv_head) * page_tokens + token % page_tokens) * head_dim;
  }
};

// The step's activations: qkv [rows, (heads + 2 kv_heads) d], rotated; out [rows, heads * d].
struct AttentionRows {
  const float* qkv;
  float* out;
  int32_t heads, kv_heads, head_dim;

  __device__ int32_t group() const { return heads / kv_heads; }
  __device__ const float* Query(int32_t row, int32_t head) const {
    return qkv + size_t(row) * (heads + 2 * kv_heads) * head_dim + size_t(head) * head_dim;
  }
  __device__ float* Out(int32_t row, int32_t head) const {
    return out + (size_t(row) * heads + head) * head_dim;
  }
};

// A node of the key tree (kernels/key_index.h), at the position of the key that made it. A link is
// a node's position, or the complement of a leaf's first key. A search at position p takes a node
// younger than p for the leaf it was made from, `other`: so a whole chunk may be inserted before
// any of its queries looks.
struct TreeNode {
  float cut;
  int32_t axis;
  int32_t
      child[2];  // [0]: key[axis] < cut. While the key is on its way: child[0] is its link's slot
  int32_t other;
  int32_t next_equal;  // next key of the leaf that begins with the key at this position, or -1
  int32_t claim[2];    // the oldest key waiting at each child link
};

// Device memory of one sequence beside its pages. Chunk c is of tokens [256 c, 256 c + 256).
struct StateView {
  // [layers][kv_heads][4][head_dim]: sums of keys, of values; of the first 256 keys their sums and
  // sums of squares.
  double* sums;
  int32_t* roots;                // [layers][kv_heads][2]: root link, its claim
  unsigned char* const* chunks;  // alcca: gate distances, then tree nodes
  // multipole (ClusterRows of kernels/key_clusters.h): by block, [layers][kv_heads][72 clusters];
  // by segment of 16 blocks, [layers][kv_heads][16 clusters].
  unsigned char* const* inners;
  unsigned char* const* coarses;
  // multipole: sums of the queries of a block of 256 positions, block b at b % 5:
  // [layers][kv_heads][5][head_dim]; and the newest expansion point / sqrt(d):
  // [layers][kv_heads][head_dim].
  double* query_sums;
  float* points;
};

struct SequenceWork {
  AttentionScalars params;  // the request's
  const int32_t* pages;
  StateView state;
  const float* head_theta;  // [layers * heads], or null
  const int32_t* head_k;
  Count* counts;  // [kAttentionCounts]
  int32_t query_start, query_count, kv_len;
  int32_t softmax_window;  // keys a softmax sees, 0: all
  bool is_topk, is_tree;
  bool keeps_gaps;          // near_share > 0
  int32_t first_observed;   // position from which on queries enter expansion points
  int32_t chunk_gap_bytes;  // of the gate distances at the start of a chunk

  __host__ __device__ int32_t Position(int32_t row) const { return kv_len - query_count + row; }
  __host__ __device__ int32_t FirstKey(int32_t position) const {
    return alcca::FirstKey(softmax_window, position);
  }
  // Distance of query `head` from the centre of mass at `token`.
  __device__ float* Gap(int32_t layer, int32_t heads, int32_t head, int32_t token) const {
    return reinterpret_cast<float*>(state.chunks[token / kChunkTokens]) +
           (size_t(layer) * heads + head) * kChunkTokens + token % kChunkTokens;
  }
  __device__ TreeNode* Node(int32_t layer, int32_t kv_heads, int32_t kv_head, int32_t token) const {
    return reinterpret_cast<TreeNode*>(state.chunks[token / kChunkTokens] + chunk_gap_bytes) +
           (size_t(layer) * kv_heads + kv_head) * kChunkTokens + token % kChunkTokens;
  }
  __device__ int32_t KeysWanted(int32_t layer, int32_t heads, int32_t head) const {
    return head_k == nullptr ? params.k : head_k[layer * heads + head];
  }
  __device__ float Theta(int32_t layer, int32_t heads, int32_t head) const {
    return head_theta == nullptr ? params.theta : head_theta[layer * heads + head];
  }
};

// Packed rows of one sequence: tokens [row_begin, row_begin + row_count) of its step, heads
// [head_begin, head_begin + head_count) of each group.
struct SoftmaxTile {
  int32_t sequence, row_begin, row_count, head_begin, head_count;
  int32_t split_begin, split_end;
  int32_t partial;  // first of its rows in the partial results, or -1: one block does all splits

  __host__ __device__ int32_t packed() const { return row_count * head_count; }
};

// One token whose neighbours are searched. Its candidates: for each head `splits` lists of `keep`.
struct SearchRow {
  int32_t sequence, row;  // of the step; of the sequence
  int32_t position;       // of its token
  int32_t splits, keep;   // lists, entries of a list
  int32_t first_split;
  size_t candidates;  // where they start

  __device__ size_t List(int32_t head) const { return candidates + size_t(head) * splits * keep; }
};
// Packed rows of consecutive SearchRows of one sequence.
struct SearchTile {
  int32_t first, row_count, head_begin, head_count;
};
// SearchRows [first, first + count), all of one sequence, in order. The `before` tokens ahead of
// them, of shared pages, are not in the sequence's state yet.
struct SearchRun {
  int32_t first, count, before;
};

struct Candidate {
  uint32_t order;  // ascending: better; kAbsent: none
  int32_t key;     // position
};
inline constexpr uint32_t kAbsent = 0xffffffffu;

// Not negative, so its bits are in order.
__device__ __forceinline__ uint32_t OrderOfDistance(float squared) {
  return squared != squared ? kAbsent : __float_as_uint(squared + 0.0f);
}
__device__ __forceinline__ float DistanceOfOrder(uint32_t order) {
  return __uint_as_float(order);
}
// The largest score first; NaN before all, so that it is kept and shows in the output.
__device__ __forceinline__ uint32_t OrderOfScore(float score) {
  const uint32_t bits = __float_as_uint(score + 0.0f);  // -0 becomes 0
  const uint32_t rising = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return score != score ? 0 : ~rising;
}
__device__ __forceinline__ float ScoreOfOrder(uint32_t order) {
  const uint32_t rising = ~order;
  return __uint_as_float((rising & 0x80000000u) != 0 ? rising & 0x7fffffffu : ~rising);
}

__device__ __forceinline__ void AddCount(const SequenceWork& sequence, AttentionCount which,
                                         int64_t amount) {
  if (amount != 0) {
    atomicAdd(&sequence.counts[which], static_cast<Count>(amount));
  }
}

// ||a - b||^2 and a . b in one order of operations, whoever computes them.
template <typename A, typename B>
__device__ __forceinline__ float SquaredDistance(const A* a, const B* b, int32_t d) {
  float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  for (int32_t i = 0; i < d; i += 4) {
#pragma unroll
    for (int32_t u = 0; u < 4; ++u) {
      if (i + u < d) {
        const float gap = ToFloat(a[i + u]) - ToFloat(b[i + u]);
        sum[u] += gap * gap;
      }
    }
  }
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}
template <typename A, typename B>
__device__ __forceinline__ float Dot(const A* a, const B* b, int32_t d) {
  float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  for (int32_t i = 0; i < d; i += 4) {
#pragma unroll
    for (int32_t u = 0; u < 4; ++u) {
      if (i + u < d) {
        sum[u] += ToFloat(a[i + u]) * ToFloat(b[i + u]);
      }
    }
  }
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

}  // namespace alcca::ALCCA_GPU
