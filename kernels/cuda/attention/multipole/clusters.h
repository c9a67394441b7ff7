#pragma once

// The clusters of kernels/key_clusters.h in device memory: built where tokens are closed.

#include "kernels/cuda/attention/work.h"
#include "kernels/cuda/device_words/runtime.h"
#include "kernels/key_clusters.h"

namespace alcca::ALCCA_GPU {

// Clusters of one layer and KV head in a piece of state that holds those of all.
__device__ __forceinline__ ClusterRows ClustersAt(unsigned char* const* pieces, int32_t piece,
                                                  int32_t count, int32_t layer, int32_t kv_heads,
                                                  int32_t kv_head, int32_t d) {
  return {pieces[piece] + (size_t(layer) * kv_heads + kv_head) * ClusterRowsBytes(count, d), count,
          d};
}

// Blocks [first_block, first_block + blocks) of a sequence become one segment.
struct ClosingSegment {
  int32_t sequence, first_block, blocks;
};

// Slots of SequenceWork's query sums: a block being filled beside those that make a point.
inline constexpr int32_t kQuerySlots = kQueryBlocks + 1;
// Queries of consecutive tokens of a sequence, to be summed for later expansion points.
struct QueryRun {
  int32_t sequence, row, position, count;  // row: of the step
};
void ObserveQueries(Stream stream, const AttentionRows& rows, int32_t layer,
                    const SequenceWork* sequences, const QueryRun* runs, int32_t count);
// What closes next in a sequence closes at `position`.
struct PointUpdate {
  int32_t sequence, position;
};
void SetExpansionPoints(Stream stream, const AttentionRows& rows, int32_t layer,
                        const SequenceWork* sequences, const PointUpdate* updates, int32_t count);

// Scratch of one segment and KV head: two orders of its tokens, its keys and values as they will
// lie.
template <typename E>
__host__ __device__ constexpr size_t ClosingBytes(int32_t blocks, int32_t d) {
  return size_t(blocks) * kBlockTokens * (2 * sizeof(int32_t) + 2 * size_t(d) * sizeof(E));
}

// Closes segments of the same number of blocks; `scratch` holds ClosingBytes for each of them and
// each KV head.
template <typename E>
void CloseSegments(Stream stream, const KvLayer<E>& kv, const SequenceWork* sequences,
                   const ClosingSegment* segments, int32_t count, int32_t blocks, void* scratch);

}  // namespace alcca::ALCCA_GPU
