// Building clusters (kernels/key_clusters.h): level by level, every range of every segment and KV
// head at once is split at the median of its projections on its principal axis; then tokens move to
// their places in the pages, and means and variances are taken, weighted by their scores at the
// expansion point. Each query is summed for that point once: d floats a query head.
//
// Bound by bytes from L2: a level reads each key seven times (mean, farthest, four rounds of the
// power method, projection), d elements each; a segment of 16 blocks has 10 levels. Grid of a
// level: segments x KV heads x ranges, 128 threads, a warp a key; the first level of few segments
// fills few SMs, its time halves with every level below. Moving reads and writes 2 d elements a
// token twice.

#include "kernels/cuda/attention/multipole/clusters.h"

#include "kernels/cuda/attention/select.h"

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
  const int32_t first_token = sequence.params.sinks + segment.first_block * kBlockTokens;
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
  const int32_t first_token = sequence.params.sinks + segment.first_block * kBlockTokens;
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

// Weights of rows whose log-masses these are, in place; returns the log of their sum.
template <int32_t kCount>
__device__ __forceinline__ float Normalise(float (&log_masses)[kCount]) {
  float top = log_masses[0], sum = 0.0f;
#pragma unroll
  for (int32_t i = 1; i < kCount; ++i) {
    top = fmaxf(top, log_masses[i]);
  }
#pragma unroll
  for (int32_t i = 0; i < kCount; ++i) {
    log_masses[i] = expf(log_masses[i] - top);
    sum += log_masses[i];
  }
#pragma unroll
  for (int32_t i = 0; i < kCount; ++i) {
    log_masses[i] /= sum;
  }
  return top + logf(sum);
}

// A mean as it is stored, by a warp: returns the scale, NaN where the mean is not finite, so that
// its readers see that. `mean` becomes what is stored.
__device__ __forceinline__ float Store(LaneRow& mean, int32_t d, int8_t* stored) {
  float largest = 0.0f;
  bool is_finite = true;
#pragma unroll
  for (int32_t c = 0; c < kLaneDims; ++c) {
    largest = fmaxf(largest, fabsf(mean.x[c]));
    is_finite = is_finite && fabsf(mean.x[c]) < INFINITY;
  }
  largest = WarpMax(largest);
  is_finite = __all_sync(kFullMask, is_finite) != 0;
  const float steps = is_finite && largest > 0.0f ? kCentreSteps / largest : 0.0f;
  const float scale = is_finite ? largest / kCentreSteps : NAN;
#pragma unroll
  for (int32_t c = 0; c < kLaneDims; ++c) {
    const int32_t i = threadIdx.x % kWarp + c * kWarp;
    const float step = is_finite ? rintf(mean.x[c] * steps) : 0.0f;
    if (i < d) {
      stored[i] = static_cast<int8_t>(step);
    }
    mean.x[c] = scale * step;
  }
  return scale;
}
__device__ __forceinline__ LaneRow LoadStored(const int8_t* stored, float scale, int32_t d) {
  LaneRow out;
#pragma unroll
  for (int32_t c = 0; c < kLaneDims; ++c) {
    const int32_t i = threadIdx.x % kWarp + c * kWarp;
    out.x[c] = i < d ? scale * static_cast<float>(stored[i]) : 0.0f;
  }
  return out;
}

// sum_i weights[i] row(i)
template <int32_t kCount, typename Row>
__device__ __forceinline__ LaneRow WeightedMean(const float (&weights)[kCount], Row row) {
  LaneRow mean = {};
#pragma unroll
  for (int32_t i = 0; i < kCount; ++i) {
    AddScaled(mean, row(i), weights[i]);
  }
  return mean;
}

// One cluster of the rows key(i), value(i) of the given weights, by a warp; variance(i) is what
// lies within those already. `log_mass`: at the expansion point.
template <int32_t kCount, typename Key, typename Value, typename Variance>
__device__ __forceinline__ void MakeCluster(const ClusterRows& to, int32_t row,
                                            const LaneRow& point, float log_mass,
                                            const float (&weights)[kCount], Key key, Value value,
                                            Variance variance) {
  LaneRow mean = WeightedMean(weights, key);
  float within = 0.0f, between = 0.0f;
#pragma unroll
  for (int32_t i = 0; i < kCount; ++i) {
    LaneRow centred = key(i);
    AddScaled(centred, mean, -1.0f);
    within += weights[i] * variance(i);
    between += weights[i] * WarpDot(centred, centred);
  }
  const float key_scale = Store(mean, to.d, to.Key(row));
  const float shift = WarpDot(point, mean);
  mean = WeightedMean(weights, value);
  const float value_scale = Store(mean, to.d, to.Value(row));
  if (threadIdx.x % kWarp == 0) {
    to.KeyScales()[row] = key_scale;
    to.ValueScales()[row] = value_scale;
    to.Offsets()[row] = log_mass - shift;
    to.Variances()[row] = within + between / static_cast<float>(to.d);
  }
}

// Row `row` of `to` from the children of a parent in its block, whose log-masses these are; returns
// its own.
__device__ __forceinline__ float MakeOfChildren(const ClusterRows& to, int32_t row,
                                                const LaneRow& point, const float* log_masses,
                                                const ClusterRows& block, int32_t parent) {
  const int32_t first = ChildRow(parent, 0), d = to.d;
  float weights[kFanout];
#pragma unroll
  for (int32_t i = 0; i < kFanout; ++i) {
    weights[i] = log_masses[i];
  }
  const float log_mass = Normalise(weights);
  MakeCluster(
      to, row, point, log_mass, weights,
      [&](int32_t i) { return LoadStored(block.Key(first + i), block.KeyScales()[first + i], d); },
      [&](int32_t i) {
        return LoadStored(block.Value(first + i), block.ValueScales()[first + i], d);
      },
      [&](int32_t i) { return block.Variances()[first + i]; });
  return log_mass;
}

// The clusters of block blockIdx.z, from fine to coarse.
template <typename E>
__global__ void __launch_bounds__(kAttentionThreads, 1)
    ClusterMeansKernel(KvLayer<E> kv, const SequenceWork* sequences,
                       const ClosingSegment* segments) {
  ALCCA_SHARED(float[kBlockClusters], log_masses);
  const ClosingSegment segment = segments[blockIdx.x];
  const SequenceWork& sequence = sequences[segment.sequence];
  const int32_t kv_head = blockIdx.y, d = kv.head_dim;
  const int32_t block = segment.first_block + static_cast<int32_t>(blockIdx.z);
  const int32_t lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const LaneRow point =
      LoadRow(sequence.state.points + (size_t(kv.layer) * kv.kv_heads + kv_head) * d, d);
  const ClusterRows inner =
      ClustersAt(sequence.state.inners, block, kBlockClusters, kv.layer, kv.kv_heads, kv_head, d);
  const auto none = [](int32_t) { return 0.0f; };
  for (int32_t f = kFanout + warp; f < kBlockClusters; f += kAttentionWarps) {
    const int32_t token = sequence.params.sinks + block * kBlockTokens + FineToken(f);
    const auto row = [&](int32_t i) { return kv.Row(sequence.pages, kv_head, token + i); };
    const auto key = [&](int32_t i) { return LoadRow(kv.keys + row(i), d); };
    const auto value = [&](int32_t i) { return LoadRow(kv.values + row(i), d); };
    float weights[kFineTokens];
#pragma unroll
    for (int32_t i = 0; i < kFineTokens; ++i) {
      weights[i] = WarpDot(point, key(i));
    }
    const float log_mass = Normalise(weights);
    MakeCluster(inner, f, point, log_mass, weights, key, value, none);
    if (lane == 0) {
      log_masses[f] = log_mass;
    }
  }
  __syncthreads();
  for (int32_t m = warp; m < kFanout; m += kAttentionWarps) {
    const float log_mass =
        MakeOfChildren(inner, m, point, log_masses + ChildRow(1 + m, 0), inner, 1 + m);
    if (lane == 0) {
      log_masses[m] = log_mass;
    }
  }
  __syncthreads();
  if (warp == 0) {
    const ClusterRows coarse = ClustersAt(sequence.state.coarses, block / kSegmentBlocks,
                                          kSegmentBlocks, kv.layer, kv.kv_heads, kv_head, d);
    MakeOfChildren(coarse, block % kSegmentBlocks, point, log_masses, inner, 0);
  }
}

// A thread a dimension, tokens in order, so that sums are the same however they were cut.
__global__ void __launch_bounds__(kAttentionThreads)
    ObserveQueriesKernel(AttentionRows rows, int32_t layer, const SequenceWork* sequences,
                         const QueryRun* runs) {
  const QueryRun run = runs[blockIdx.x];
  const SequenceWork& sequence = sequences[run.sequence];
  const int32_t kv_head = blockIdx.y, d = rows.head_dim, group = rows.group();
  double* sums =
      sequence.state.query_sums + (size_t(layer) * rows.kv_heads + kv_head) * kQuerySlots * d;
  for (int32_t i = threadIdx.x; i < d; i += kAttentionThreads) {
    for (int32_t r = 0; r < run.count; ++r) {
      const int32_t position = run.position + r, block = position / kBlockTokens;
      const bool first = position == max(block * kBlockTokens, sequence.first_observed);
      double& place = sums[block % kQuerySlots * d + i];
      double sum = first ? 0.0 : place;
      for (int32_t g = 0; g < group; ++g) {
        sum += rows.Query(run.row + r, kv_head * group + g)[i];
      }
      place = sum;
    }
  }
}

__global__ void __launch_bounds__(kAttentionThreads)
    SetExpansionPointsKernel(AttentionRows rows, int32_t layer, const SequenceWork* sequences,
                             const PointUpdate* updates) {
  const PointUpdate update = updates[blockIdx.x];
  const StateView& state = sequences[update.sequence].state;
  const int32_t kv_head = blockIdx.y, d = rows.head_dim;
  const size_t head = size_t(layer) * rows.kv_heads + kv_head;
  const int32_t now = update.position / kBlockTokens, blocks = min(now, kQueryBlocks);
  const double scale =
      1 / (max(1, blocks * kBlockTokens * rows.group()) * sqrt(static_cast<double>(d)));
  for (int32_t i = threadIdx.x; i < d; i += kAttentionThreads) {
    double total = 0;
    for (int32_t block = now - blocks; block < now; ++block) {
      total += state.query_sums[(head * kQuerySlots + block % kQuerySlots) * d + i];
    }
    state.points[head * d + i] = static_cast<float>(total * scale);
  }
}

}  // namespace

void ObserveQueries(Stream stream, const AttentionRows& rows, int32_t layer,
                    const SequenceWork* sequences, const QueryRun* runs, int32_t count) {
  Launch(ObserveQueriesKernel,
         {.name = "observe_queries",
          .grid = {static_cast<unsigned>(count), static_cast<unsigned>(rows.kv_heads), 1},
          .block = {kAttentionThreads},
          .stream = stream},
         rows, layer, sequences, runs);
}

void SetExpansionPoints(Stream stream, const AttentionRows& rows, int32_t layer,
                        const SequenceWork* sequences, const PointUpdate* updates, int32_t count) {
  Launch(SetExpansionPointsKernel,
         {.name = "expansion_points",
          .grid = {static_cast<unsigned>(count), static_cast<unsigned>(rows.kv_heads), 1},
          .block = {kAttentionThreads},
          .stream = stream},
         rows, layer, sequences, updates);
}

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
