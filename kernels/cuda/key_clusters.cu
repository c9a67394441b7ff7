// Building clusters (kernels/key_clusters.h): level by level, every range of every segment and KV
// head at once is split at the median of its projections on its principal axis; then tokens move to
// their places in the pages, and means and variances are taken.
//
// Bound by bytes from L2: a level reads each key seven times (mean, farthest, four rounds of the
// power method, projection), d elements each; a segment of 16 blocks has 8 levels. Grid of a level:
// segments x KV heads x ranges, 128 threads, a warp a key; the first level of few segments fills
// few SMs, its time halves with every level below. Moving reads and writes 2 d elements a token
// twice.

#include "kernels/cuda/key_clusters.h"

#include "kernels/cuda/attention_select.h"

namespace alcca::ALCCA_GPU {
namespace {

constexpr int32_t kLaneDims = kHeadDimMax / kWarp;

template <typename E>
struct Scratch {
  int32_t* orders;  // [2][tokens]
  E* moved;         // [2][tokens, d]: keys, values
  __device__ Scratch(void* base, int32_t segment, int32_t kv_heads, int32_t kv_head, int32_t blocks,
                     int32_t d)
      : orders(reinterpret_cast<int32_t*>(static_cast<unsigned char*>(base) +
                                          (size_t(segment) * kv_heads + kv_head) *
                                              ClosingBytes<E>(blocks, d))),
        moved(reinterpret_cast<E*>(orders + 2 * blocks * kBlockTokens)) {}
};

// A row's share of one lane: dimensions lane, lane + 32, ...
struct LaneRow {
  float x[kLaneDims];
};
template <typename Source>
__device__ __forceinline__ LaneRow LoadRow(const Source* row, int32_t d) {
  LaneRow out;
#pragma unroll
  for (int32_t c = 0; c < kLaneDims; ++c) {
    const int32_t i = threadIdx.x % kWarp + c * kWarp;
    out.x[c] = i < d ? ToFloat(row[i]) : 0.0f;
  }
  return out;
}
__device__ __forceinline__ void AddScaled(LaneRow& sum, const LaneRow& row, float scale) {
#pragma unroll
  for (int32_t c = 0; c < kLaneDims; ++c) {
    sum.x[c] += row.x[c] * scale;
  }
}
__device__ __forceinline__ float WarpDot(const LaneRow& a, const LaneRow& b) {
  float sum = 0.0f;
#pragma unroll
  for (int32_t c = 0; c < kLaneDims; ++c) {
    sum += a.x[c] * b.x[c];
  }
  return WarpSum(sum);
}

struct SplitShared {
  SelectShared select;
  float partial[kAttentionWarps][kHeadDimMax];
  float farthest[kAttentionWarps];
  int32_t farthest_at[kAttentionWarps];
  float projections[kSegmentTokens];
};

// By the block: every warp's `row` added up, in order; all get the result.
__device__ __forceinline__ LaneRow SumOverWarps(SplitShared& shared, const LaneRow& row) {
  const int32_t lane = threadIdx.x % kWarp;
#pragma unroll
  for (int32_t c = 0; c < kLaneDims; ++c) {
    shared.partial[threadIdx.x / kWarp][lane + c * kWarp] = row.x[c];
  }
  __syncthreads();
  LaneRow sum;
#pragma unroll
  for (int32_t c = 0; c < kLaneDims; ++c) {
    sum.x[c] = shared.partial[0][lane + c * kWarp];
    for (int32_t w = 1; w < kAttentionWarps; ++w) {
      sum.x[c] += shared.partial[w][lane + c * kWarp];
    }
  }
  __syncthreads();
  return sum;
}
__device__ __forceinline__ LaneRow Normalised(LaneRow row) {
  const float squared = WarpDot(row, row);
  const float scale = squared > 0.0f ? 1.0f / sqrtf(squared) : 0.0f;
#pragma unroll
  for (int32_t c = 0; c < kLaneDims; ++c) {
    row.x[c] *= scale;
  }
  return row;
}

// key(i): token i of the range.
template <typename Key>
__device__ __forceinline__ void ProjectOnAxis(SplitShared& shared, int32_t count, int32_t d,
                                              Key key) {
  const int32_t lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  LaneRow mean = {};
  for (int32_t i = warp; i < count; i += kAttentionWarps) {
    AddScaled(mean, LoadRow(key(i), d), 1.0f / static_cast<float>(count));
  }
  mean = SumOverWarps(shared, mean);
  const auto centred = [&](int32_t i) {
    LaneRow row = LoadRow(key(i), d);
    AddScaled(row, mean, -1.0f);
    return row;
  };
  // The power method on the scatter matrix, started at the key farthest from the mean; of equally
  // far ones the first.
  float farthest = -1.0f;
  int32_t at = 0;
  for (int32_t i = warp; i < count; i += kAttentionWarps) {
    const LaneRow row = centred(i);
    const float squared = WarpDot(row, row);
    at = squared > farthest ? i : at;
    farthest = squared > farthest ? squared : farthest;
  }
  if (lane == 0) {
    shared.farthest[warp] = farthest;
    shared.farthest_at[warp] = at;
  }
  __syncthreads();
  for (int32_t w = 0; w < kAttentionWarps; ++w) {
    const bool take = shared.farthest[w] > farthest ||
                      (shared.farthest[w] == farthest && shared.farthest_at[w] < at);
    at = take ? shared.farthest_at[w] : at;
    farthest = take ? shared.farthest[w] : farthest;
  }
  LaneRow axis = Normalised(centred(at));
  for (int32_t iteration = 0; iteration < kAxisIterations; ++iteration) {
    LaneRow next = {};
    for (int32_t i = warp; i < count; i += kAttentionWarps) {
      const LaneRow row = centred(i);
      AddScaled(next, row, WarpDot(row, axis));
    }
    axis = Normalised(SumOverWarps(shared, next));
  }
  for (int32_t i = warp; i < count; i += kAttentionWarps) {
    const float projection = WarpDot(centred(i), axis);
    if (lane == 0) {
      // A key that is not finite would break the order: it counts as the mean.
      shared.projections[i] = fabsf(projection) < INFINITY ? projection : 0.0f;
    }
  }
  __syncthreads();
}

// Splits range blockIdx.z of its segment: the half with the lower projections first, equal ones by
// their order; within a half the order stays.
template <typename E>
__global__ void __launch_bounds__(kAttentionThreads)
    SplitRangesKernel(KvLayer<E> kv, const SequenceWork* sequences, const ClosingSegment* segments,
                      void* scratch_base, int32_t level) {
  ALCCA_SHARED(SplitShared, shared);
  const ClosingSegment segment = segments[blockIdx.x];
  const SequenceWork& sequence = sequences[segment.sequence];
  const int32_t kv_head = blockIdx.y, d = kv.head_dim;
  const int32_t tokens = segment.blocks * kBlockTokens, count = tokens >> level;
  const int32_t begin = static_cast<int32_t>(blockIdx.z) * count;
  const int32_t first_token = sequence.sinks + segment.first_block * kBlockTokens;
  const Scratch<E> scratch(scratch_base, blockIdx.x, kv.kv_heads, kv_head, segment.blocks, d);
  const int32_t* from = scratch.orders + (level % 2) * tokens + begin;
  int32_t* to = scratch.orders + ((level + 1) % 2) * tokens + begin;
  const auto place = [&](int32_t i) { return level == 0 ? i : from[i]; };
  ProjectOnAxis(shared, count, d, [&](int32_t i) {
    return kv.keys + kv.Row(sequence.pages, kv_head, first_token + place(i));
  });
  const auto order = [&](int32_t i) {
    const uint32_t bits = __float_as_uint(shared.projections[i] + 0.0f);
    return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  };
  const int32_t half = count / 2;
  const Selection lower = SelectInBlock(shared.select, count, half, order);
  ForAllInBlock(shared.select, count, lower, order, [&](int32_t i, bool is_lower, int32_t rank) {
    to[is_lower ? rank : half + i - rank] = place(i);
  });
}

// The tokens of block blockIdx.z, in their new order, to scratch; then from there to the pages.
template <typename E, bool kBack>
__global__ void __launch_bounds__(kAttentionThreads, 1)
    MoveTokensKernel(KvLayer<E> kv, const SequenceWork* sequences, const ClosingSegment* segments,
                     void* scratch_base, int32_t levels) {
  const ClosingSegment segment = segments[blockIdx.x];
  const SequenceWork& sequence = sequences[segment.sequence];
  const int32_t kv_head = blockIdx.y, d = kv.head_dim;
  const int32_t tokens = segment.blocks * kBlockTokens;
  const int32_t first_token = sequence.sinks + segment.first_block * kBlockTokens;
  const Scratch<E> scratch(scratch_base, blockIdx.x, kv.kv_heads, kv_head, segment.blocks, d);
  const int32_t* order = scratch.orders + (levels % 2) * tokens;
  const int32_t begin = static_cast<int32_t>(blockIdx.z) * kBlockTokens;
  for (int32_t i = begin + static_cast<int32_t>(threadIdx.x) / kWarp; i < begin + kBlockTokens;
       i += kAttentionWarps) {
    const size_t row = kv.Row(sequence.pages, kv_head, first_token + (kBack ? i : order[i]));
    E* key = scratch.moved + size_t(i) * d;
    E* value = scratch.moved + size_t(tokens + i) * d;
    for (int32_t x = threadIdx.x % kWarp; x < d; x += kWarp) {
      if (kBack) {
        kv.keys[row + x] = key[x];
        kv.values[row + x] = value[x];
      } else {
        key[x] = kv.keys[row + x];
        value[x] = kv.values[row + x];
      }
    }
  }
}

// Fine and coarse clusters of block blockIdx.z.
template <typename E>
__global__ void __launch_bounds__(kAttentionThreads)
    ClusterMeansKernel(KvLayer<E> kv, const SequenceWork* sequences,
                       const ClosingSegment* segments) {
  ALCCA_SHARED(float[kBlockFines], variances);
  const ClosingSegment segment = segments[blockIdx.x];
  const SequenceWork& sequence = sequences[segment.sequence];
  const int32_t kv_head = blockIdx.y, d = kv.head_dim;
  const int32_t block = segment.first_block + static_cast<int32_t>(blockIdx.z);
  const int32_t lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const ClusterRows fine =
      ClustersAt(sequence.state.fines, block, kv.layer, kv.kv_heads, kv_head, d);
  const auto store = [&](float* to, const LaneRow& row) {
    for (int32_t c = 0; c < kLaneDims; ++c) {
      if (lane + c * kWarp < d) {
        to[lane + c * kWarp] = row.x[c];
      }
    }
  };
  for (int32_t f = warp; f < kBlockFines; f += kAttentionWarps) {
    const int32_t token = sequence.sinks + block * kBlockTokens + f * kFineTokens;
    LaneRow key = {}, value = {};
    for (int32_t i = 0; i < kFineTokens; ++i) {
      const size_t row = kv.Row(sequence.pages, kv_head, token + i);
      AddScaled(key, LoadRow(kv.keys + row, d), 1.0f / kFineTokens);
      AddScaled(value, LoadRow(kv.values + row, d), 1.0f / kFineTokens);
    }
    float squared = 0.0f;
    for (int32_t i = 0; i < kFineTokens; ++i) {
      LaneRow row = LoadRow(kv.keys + kv.Row(sequence.pages, kv_head, token + i), d);
      AddScaled(row, key, -1.0f);
      squared += WarpDot(row, row);
    }
    store(fine.Key(f), key);
    store(fine.Value(f), value);
    if (lane == 0) {
      variances[f] = squared / static_cast<float>(kFineTokens * d);
      fine.Variance(f) = variances[f];
    }
  }
  __syncthreads();
  if (warp != 0) {
    return;
  }
  const ClusterRows coarse =
      ClustersAt(sequence.state.coarses, block / kSegmentBlocks, kv.layer, kv.kv_heads, kv_head, d);
  LaneRow key = {}, value = {};
  float within = 0.0f;
  for (int32_t f = 0; f < kBlockFines; ++f) {
    AddScaled(key, LoadRow(fine.Key(f), d), 1.0f / kBlockFines);
    AddScaled(value, LoadRow(fine.Value(f), d), 1.0f / kBlockFines);
    within += variances[f] / kBlockFines;
  }
  float between = 0.0f;
  for (int32_t f = 0; f < kBlockFines; ++f) {
    LaneRow row = LoadRow(fine.Key(f), d);
    AddScaled(row, key, -1.0f);
    between += WarpDot(row, row);
  }
  store(coarse.Key(block % kSegmentBlocks), key);
  store(coarse.Value(block % kSegmentBlocks), value);
  if (lane == 0) {
    coarse.Variance(block % kSegmentBlocks) =
        within + between / static_cast<float>(kBlockFines * d);
  }
}

}  // namespace

template <typename E>
void CloseSegments(Stream stream, const KvLayer<E>& kv, const SequenceWork* sequences,
                   const ClosingSegment* segments, int32_t count, int32_t blocks, void* scratch) {
  const auto config = [&](const char* name, int32_t z) {
    return LaunchConfig{.name = name,
                        .grid = {static_cast<unsigned>(count), static_cast<unsigned>(kv.kv_heads),
                                 static_cast<unsigned>(z)},
                        .block = {kAttentionThreads},
                        .stream = stream};
  };
  int32_t level = 0;
  for (int32_t range = blocks * kBlockTokens; range > kFineTokens; range /= 2, ++level) {
    Launch(SplitRangesKernel<E>, config("split_ranges", 1 << level), kv, sequences, segments,
           scratch, level);
  }
  Launch(MoveTokensKernel<E, false>, config("move_tokens", blocks), kv, sequences, segments,
         scratch, level);
  Launch(MoveTokensKernel<E, true>, config("move_tokens", blocks), kv, sequences, segments, scratch,
         level);
  Launch(ClusterMeansKernel<E>, config("cluster_means", blocks), kv, sequences, segments);
}

template void CloseSegments<float>(Stream, const KvLayer<float>&, const SequenceWork*,
                                   const ClosingSegment*, int32_t, int32_t, void*);
template void CloseSegments<BFloat16>(Stream, const KvLayer<BFloat16>&, const SequenceWork*,
                                      const ClosingSegment*, int32_t, int32_t, void*);

}  // namespace alcca::ALCCA_GPU
