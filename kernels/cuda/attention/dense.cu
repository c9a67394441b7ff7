// Softmax attention for any head_dim up to 256 and either element type: the simple kernel, and the
// yardstick of attention_dense_mma.
//
// Bound by bytes: every key and value of the splits, once per tile and KV head (2 d elements a
// token; a decode row reads 2 d n elements), but through shared memory as floats, one fused
// multiply-add each: about half of what an H200 can stream. Grid: tiles x KV heads x splits, 128
// threads; a decode tile has a block a split of 256 keys, so one sequence of 32k gives 128 blocks
// for each KV head.

#include "kernels/cuda/attention/dense.h"

#include <type_traits>

#include "kernels/cuda/attention/tile.h"

namespace alcca::ALCCA_GPU {
namespace {

// Where packed row r's softmax of one split goes: d outputs, then maximum and sum.
__device__ __forceinline__ float* Partial(float* partials, const SoftmaxTile& tile, int32_t split,
                                          int32_t kv_heads, int32_t kv_head, int32_t r, int32_t d) {
  const size_t row = size_t(tile.partial) +
                     (size_t(split - tile.split_begin) * kv_heads + kv_head) * tile.packed() + r;
  return partials + row * (d + 2);
}

template <typename E>
class DenseBlock {
 public:
  __device__ DenseBlock(const KvLayer<E>& kv, const AttentionRows& rows,
                        const SequenceWork& sequence, const SoftmaxTile& tile, float* dynamic,
                        SoftmaxStats& stats)
      : kv_(kv),
        rows_(rows),
        sequence_(sequence),
        tile_(tile),
        shared_(dynamic, kv.head_dim),
        stats_(stats),
        packed_(tile.packed()),
        first_(sequence.FirstKey(sequence.Position(tile.row_begin))),
        last_(sequence.Position(tile.row_begin + tile.row_count - 1)) {}

  __device__ __forceinline__ int32_t Head(int32_t r) const {
    return blockIdx.y * rows_.group() + tile_.head_begin + r % tile_.head_count;
  }
  __device__ __forceinline__ int32_t Row(int32_t r) const {
    return tile_.row_begin + r / tile_.head_count;
  }

  __device__ __forceinline__ void LoadQueries() {
    const int32_t d = kv_.head_dim;
    const float scale = 1.0f / sqrtf(static_cast<float>(d));
    for (int32_t r = 0; r < packed_; ++r) {
      const float* q = rows_.Query(sequence_.query_start + Row(r), Head(r));
      for (int32_t i = threadIdx.x; i < d; i += kAttentionThreads) {
        shared_.queries[r * d + i] = q[i] * scale;
      }
    }
  }

  // Leaves the split's softmax in the statistics and `part`.
  __device__ __forceinline__ void AnswerSplit(int32_t split, OutputPart& part) {
    const int32_t d = kv_.head_dim;
    const int32_t begin = max(split * kSplitKeys, first_ / kTileKeys * kTileKeys);
    const int32_t end = min((split + 1) * kSplitKeys, last_ + 1);
    Clear(part);
    Clear(stats_);
    for (int32_t key = begin; key < end; key += kTileKeys) {
      const int32_t skipped = max(0, first_ - key);  // no row of the tile sees these
      const int32_t count = min(kTileKeys, end - key);
      __syncthreads();
      const auto row = [&](const E* base) {
        return [this, base, key, skipped](int32_t j) {
          return base + kv_.Row(sequence_.pages, blockIdx.y, key + max(j, skipped));
        };
      };
      StageTile(shared_.tile, count, d, row(kv_.keys));
      __syncthreads();
      ScoreTile(shared_, packed_, count, d);
      __syncthreads();
      StageTile(shared_.tile, count, d, row(kv_.values));
      WeighTile(shared_, stats_, packed_, count, [this, key](int32_t r, int32_t j) {
        const int32_t position = sequence_.Position(Row(r));
        return key + j <= position && key + j >= sequence_.FirstKey(position);
      });
      __syncthreads();
      AccumulateTile(shared_, stats_, part, packed_, count, d);
    }
    __syncthreads();
  }

  __device__ __forceinline__ void StorePartial(float* partials, int32_t split,
                                               const OutputPart& part) const {
    const int32_t d = kv_.head_dim;
    for (int32_t r = 0; r < packed_; ++r) {
      float* to = Partial(partials, tile_, split, kv_.kv_heads, blockIdx.y, r, d);
      StoreRow(to, part, r, 1.0f);
      if (threadIdx.x == 0) {
        to[d] = stats_.max[r];
        to[d + 1] = stats_.sum[r];
      }
    }
  }

  // In registers of each thread: all threads keep all rows' statistics alike.
  __device__ __forceinline__ void AnswerAll() {
    OutputPart total, part;
    Clear(total);
    float max[kPackedRows], sum[kPackedRows];
#pragma unroll
    for (int32_t r = 0; r < kPackedRows; ++r) {
      max[r] = -INFINITY;
      sum[r] = 0.0f;
    }
    for (int32_t split = tile_.split_begin; split < tile_.split_end; ++split) {
      AnswerSplit(split, part);
#pragma unroll
      for (int32_t r = 0; r < kPackedRows; ++r) {
        if (r < packed_) {
          const MergeScales scales = MergeOf(max[r], stats_.max[r]);
          max[r] = scales.max;
          sum[r] = Merged(scales, sum[r], stats_.sum[r]);
#pragma unroll
          for (int32_t half = 0; half < 2; ++half) {
            total.value[half][r] = Merged(scales, total.value[half][r], part.value[half][r]);
          }
        }
      }
      __syncthreads();  // the next split clears the statistics
    }
#pragma unroll
    for (int32_t r = 0; r < kPackedRows; ++r) {
      if (r < packed_) {
        StoreRow(rows_.Out(sequence_.query_start + Row(r), Head(r)), total, r, 1.0f / sum[r]);
      }
    }
  }

 private:
  __device__ __forceinline__ void StoreRow(float* to, const OutputPart& part, int32_t r,
                                           float scale) const {
#pragma unroll
    for (int32_t half = 0; half < 2; ++half) {
      const int32_t i = threadIdx.x + half * kAttentionThreads;
      if (i < kv_.head_dim) {
        float value = 0.0f;
#pragma unroll
        for (int32_t u = 0; u < kPackedRows; ++u) {  // registers have no index
          value = u == r ? part.value[half][u] : value;
        }
        to[i] = value * scale;
      }
    }
  }

  const KvLayer<E>& kv_;
  const AttentionRows& rows_;
  const SequenceWork& sequence_;
  const SoftmaxTile& tile_;
  const SoftmaxShared shared_;
  SoftmaxStats& stats_;
  const int32_t packed_, first_, last_;
};

template <typename E>
__global__ void __launch_bounds__(kAttentionThreads)
    AttentionDenseKernel(KvLayer<E> kv, AttentionRows rows, const SequenceWork* sequences,
                         const SoftmaxTile* tiles, float* partials) {
  ALCCA_DYNAMIC_SHARED(float, dynamic);
  ALCCA_SHARED(SoftmaxStats, stats);
  const SoftmaxTile tile = tiles[blockIdx.x];
  const int32_t split = tile.split_begin + static_cast<int32_t>(blockIdx.z);
  if (split >= tile.split_end) {
    return;
  }
  DenseBlock<E> block(kv, rows, sequences[tile.sequence], tile, dynamic, stats);
  block.LoadQueries();
  if (tile.partial < 0) {
    block.AnswerAll();
  } else {
    OutputPart part;
    block.AnswerSplit(split, part);
    block.StorePartial(partials, split, part);
  }
}

// One packed row: its splits in order. Grid: tiles x KV heads x 16.
__global__ void __launch_bounds__(kAttentionThreads)
    MergeSplitsKernel(AttentionRows rows, const SequenceWork* sequences, const SoftmaxTile* tiles,
                      float* partials) {
  const SoftmaxTile tile = tiles[blockIdx.x];
  const int32_t kv_head = blockIdx.y, r = blockIdx.z, d = rows.head_dim;
  if (r >= tile.packed()) {
    return;
  }
  const int32_t row = sequences[tile.sequence].query_start + tile.row_begin + r / tile.head_count;
  const int32_t head = kv_head * rows.group() + tile.head_begin + r % tile.head_count;
  for (int32_t i = threadIdx.x; i < d; i += kAttentionThreads) {
    float max = -INFINITY, sum = 0.0f, out = 0.0f;
    for (int32_t split = tile.split_begin; split < tile.split_end; ++split) {
      const float* part = Partial(partials, tile, split, rows.kv_heads, kv_head, r, d);
      const MergeScales scales = MergeOf(max, part[d]);
      max = scales.max;
      sum = Merged(scales, sum, part[d + 1]);
      out = Merged(scales, out, part[i]);
    }
    rows.Out(row, head)[i] = out * (1.0f / sum);
  }
}

}  // namespace

namespace {

dim3 TileGrid(int32_t tiles, int32_t kv_heads, int32_t z) {
  return {static_cast<unsigned>(tiles), static_cast<unsigned>(kv_heads), static_cast<unsigned>(z)};
}

template <typename E>
void StartSimple(Stream stream, const KvLayer<E>& kv, const AttentionRows& rows,
                 const SequenceWork* sequences, const SoftmaxTiles& tiles) {
  LaunchConfig config = {.name = "attention_dense",
                         .grid = TileGrid(tiles.whole_count, rows.kv_heads, 1),
                         .block = {kAttentionThreads},
                         .shared_bytes = SoftmaxShared::Bytes(kv.head_dim),
                         .stream = stream};
  Launch(AttentionDenseKernel<E>, config, kv, rows, sequences, tiles.whole, tiles.partials);
  config.grid = TileGrid(tiles.split_count, rows.kv_heads, tiles.splits_max);
  Launch(AttentionDenseKernel<E>, config, kv, rows, sequences, tiles.split, tiles.partials);
}

}  // namespace

template <typename E>
void AttentionDense(Stream stream, const KvLayer<E>& kv, const AttentionRows& rows,
                    const SequenceWork* sequences, const SoftmaxTiles& tiles) {
  bool started = false;
  if constexpr (std::is_same_v<E, BFloat16>) {
    started = AttentionDenseMma(stream, kv, rows, sequences, tiles);
  }
  if (!started) {
    StartSimple(stream, kv, rows, sequences, tiles);
  }
  Launch(MergeSplitsKernel,
         {.name = "attention_merge",
          .grid = TileGrid(tiles.split_count, rows.kv_heads, kPackedRows),
          .block = {kAttentionThreads},
          .stream = stream},
         rows, sequences, tiles.split, tiles.partials);
}

template void AttentionDense<float>(Stream, const KvLayer<float>&, const AttentionRows&,
                                    const SequenceWork*, const SoftmaxTiles&);
template void AttentionDense<BFloat16>(Stream, const KvLayer<BFloat16>&, const AttentionRows&,
                                       const SequenceWork*, const SoftmaxTiles&);

}  // namespace alcca::ALCCA_GPU
