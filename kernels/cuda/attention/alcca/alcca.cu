// The near gate of `alcca`: the running sums of keys and values, ||q - c|| of every query, theta
// where it is a running quantile, and the answer of the near queries. Decided before any key is
// searched.
//
// Bound by bytes, of which there are few: AlccaSums reads a token's key and value once per KV head
// (2 d elements), the gate a mean key for each query head (4 d bytes from L2). Grids: runs x KV
// heads, 128 threads, a thread a dimension, tokens in order; then tokens x KV heads, a warp a query
// head. The quantile reads 4 bytes a past query of the head, five times: tokens x heads, 128
// threads.

#include "kernels/cuda/attention/alcca/alcca.h"

#include "kernels/cuda/attention/select.h"

namespace alcca::ALCCA_GPU {
namespace {

// Sums are double and added token by token, so they are the same however the tokens were cut into
// chunks.
template <typename E>
__global__ void __launch_bounds__(kAttentionThreads)
    AlccaSumsKernel(KvLayer<E> kv, SearchWave wave) {
  const SearchRun run = wave.alcca_runs[blockIdx.x];
  const int32_t kv_head = blockIdx.y, d = kv.head_dim;
  const SequenceWork& sequence = wave.sequences[wave.rows[run.first].sequence];
  const int32_t first = wave.rows[run.first].position, begin = first - run.before;
  double* sums = sequence.state.sums + (size_t(kv.layer) * kv.kv_heads + kv_head) * 4 * d;
  for (int32_t i = threadIdx.x; i < 2 * d; i += kAttentionThreads) {
    const E* source = i < d ? kv.keys : kv.values;
    const int32_t dimension = i < d ? i : i - d;
    double sum = begin == 0 ? 0.0 : sums[i];
    for (int32_t t = begin; t < first; ++t) {
      sum += ToFloat(source[kv.Row(sequence.pages, kv_head, t) + dimension]);
    }
    for (int32_t r = 0; r < run.count; ++r) {
      sum += ToFloat(source[kv.Row(sequence.pages, kv_head, first + r) + dimension]);
      const double inverse = 1.0 / (first + r + 1);
      wave.means[(size_t(run.first + r) * kv.kv_heads + kv_head) * 2 * d + i] =
          static_cast<float>(sum * inverse);
    }
    sums[i] = sum;
  }
}

// One warp.
__device__ __forceinline__ void DecideGate(const AttentionRows& rows, const SearchWave& wave,
                                           int32_t r, int32_t head, float gap, float theta) {
  const SearchRow& row = wave.rows[r];
  const int32_t lane = threadIdx.x % kWarp, d = rows.head_dim;
  const bool near = gap < theta;
  if (lane == 0) {
    wave.near[size_t(r) * rows.heads + head] = near ? 1 : 0;
  }
  if (near) {
    const int32_t kv_head = head / rows.group();
    const float* mean = wave.means + ((size_t(r) * rows.kv_heads + kv_head) * 2 + 1) * d;
    for (int32_t i = lane; i < d; i += kWarp) {
      rows.Out(row.row, head)[i] = mean[i];
    }
    if (lane == 0) {
      AddCount(wave.sequences[row.sequence], kCountNear, 1);
      AddCount(wave.sequences[row.sequence], kCountPvCentroid, 1);
    }
  }
}

__global__ void __launch_bounds__(kAttentionThreads)
    AlccaGateKernel(AttentionRows rows, int32_t layer, SearchWave wave) {
  const int32_t r = blockIdx.x, kv_head = blockIdx.y, d = rows.head_dim;
  const SearchRow row = wave.rows[r];
  const SequenceWork& sequence = wave.sequences[row.sequence];
  if (sequence.is_topk) {
    return;
  }
  const int32_t lane = threadIdx.x % kWarp, group = rows.group();
  for (int32_t g = threadIdx.x / kWarp; g < group; g += kAttentionWarps) {
    const int32_t head = kv_head * group + g;
    const float* q = rows.Query(row.row, head);
    const float* mean = wave.means + (size_t(r) * rows.kv_heads + kv_head) * 2 * d;
    float sum = 0.0f;
    for (int32_t i = lane; i < d; i += kWarp) {
      const float difference = q[i] - mean[i];
      sum += difference * difference;
    }
    const float gap = sqrtf(WarpSum(sum));
    if (sequence.keeps_gaps) {
      if (lane == 0) {
        wave.gaps[size_t(r) * rows.heads + head] = gap;
        *sequence.Gap(layer, rows.heads, head, row.position) = gap;
      }
    } else {
      DecideGate(rows, wave, r, head, gap, sequence.Theta(layer, rows.heads, head));
    }
  }
}

// Theta is the number below which the wanted share of the head's earlier distances lies. Those that
// are not finite are left out.
__global__ void __launch_bounds__(kAttentionThreads, 1)
    AlccaQuantileKernel(AttentionRows rows, int32_t layer, SearchWave wave) {
  ALCCA_SHARED(SelectShared, shared);
  ALCCA_SHARED(int32_t, finite);
  const int32_t r = blockIdx.x, head = blockIdx.y;
  const SearchRow row = wave.rows[r];
  const SequenceWork& sequence = wave.sequences[row.sequence];
  if (!sequence.keeps_gaps) {
    return;
  }
  const auto order = [&](int32_t token) {
    const float gap = *sequence.Gap(layer, rows.heads, head, token);
    return gap < INFINITY ? OrderOfDistance(gap) : kAbsent;
  };
  if (threadIdx.x == 0) {
    finite = 0;
  }
  __syncthreads();
  int32_t mine = 0;
  for (int32_t token = threadIdx.x; token < row.position; token += kAttentionThreads) {
    mine += order(token) != kAbsent ? 1 : 0;
  }
  atomicAdd(&finite, mine);
  __syncthreads();
  const auto below = static_cast<int32_t>(double{sequence.params.near_share} * finite);
  float theta = finite == 0 ? 0.0f : INFINITY;
  if (below < finite) {
    const Selection selection = SelectInBlock(shared, row.position, below + 1, order);
    if (selection.threshold != kSelectAll.threshold) {
      theta = DistanceOfOrder(selection.threshold);
    } else {  // the largest of all
      uint32_t largest = 0;
      for (int32_t token = threadIdx.x % kWarp; token < row.position; token += kWarp) {
        const uint32_t value = order(token);
        largest = value != kAbsent && value > largest ? value : largest;
      }
      theta = DistanceOfOrder(__reduce_max_sync(kFullMask, largest));
    }
  }
  if (threadIdx.x < kWarp) {
    DecideGate(rows, wave, r, head, wave.gaps[size_t(r) * rows.heads + head], theta);
  }
}

}  // namespace

template <typename E>
void AlccaGate(Stream stream, const KvLayer<E>& kv, const AttentionRows& rows,
               const SearchWave& wave) {
  const dim3 block = {kAttentionThreads};
  const auto grid = [](int32_t x, int32_t y) {
    return dim3{static_cast<unsigned>(x), static_cast<unsigned>(y), 1};
  };
  Launch(AlccaSumsKernel<E>,
         {.name = "alcca_sums",
          .grid = grid(wave.alcca_run_count, kv.kv_heads),
          .block = block,
          .stream = stream},
         kv, wave);
  Launch(AlccaGateKernel,
         {.name = "alcca_gate",
          .grid = grid(wave.row_count, kv.kv_heads),
          .block = block,
          .stream = stream},
         rows, kv.layer, wave);
  if (wave.any_gaps) {
    Launch(AlccaQuantileKernel,
           {.name = "alcca_quantile",
            .grid = grid(wave.row_count, rows.heads),
            .block = block,
            .stream = stream},
           rows, kv.layer, wave);
  }
}

template void AlccaGate<float>(Stream, const KvLayer<float>&, const AttentionRows&,
                               const SearchWave&);
template void AlccaGate<BFloat16>(Stream, const KvLayer<BFloat16>&, const AttentionRows&,
                                  const SearchWave&);

}  // namespace alcca::ALCCA_GPU
