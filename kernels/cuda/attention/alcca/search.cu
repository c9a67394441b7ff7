// The exact search of `alcca` (k nearest keys by Euclidean distance, ties to the lower position)
// and of `topk` (the best share of keys by product): distances and the choice of the best fused,
// for all sequences, heads and tokens of a wave in one launch; then a second one merges the lists
// and weighs the values.
//
// SearchKeys is bound by bytes in decoding: d elements a key, once for all query heads of its KV
// head; k of 512 keys are handed on, 8 bytes each. With many packed rows a tile it is bound by its
// two float operations a dimension, key and query. Grid: tiles x KV heads x splits of 512 keys, 128
// threads. AnswerSearch reads 8 bytes a candidate and d elements a chosen value. Grid: tokens x KV
// heads, 128 threads.

#include "kernels/cuda/attention/alcca/search.h"

#include "kernels/cuda/attention/select.h"
#include "kernels/cuda/attention/tile.h"

namespace alcca::ALCCA_GPU {
namespace {

// Dynamic shared memory of a search block: queries [16, d], a tile [64, d + 1], orders [16, 512].
size_t SearchSharedBytes(int32_t d) {
  return (size_t(kPackedRows) * d + size_t(kTileKeys) * (d + 1) +
          size_t(kPackedRows) * kSearchKeys) *
         sizeof(float);
}

__device__ __forceinline__ bool IsFar(const SearchWave& wave, const AttentionRows& rows,
                                      const SequenceWork& sequence, int32_t r, int32_t head) {
  return sequence.is_topk || wave.near[size_t(r) * rows.heads + head] == 0;
}

// How many keys query `head` of the row wants.
__device__ __forceinline__ int32_t Wanted(const SequenceWork& sequence, const AttentionRows& rows,
                                          int32_t layer, int32_t position, int32_t head) {
  if (!sequence.is_topk) {
    return sequence.KeysWanted(layer, rows.heads, head);
  }
  const int32_t visible = position + 1 - sequence.FirstKey(position);
  const auto kept = static_cast<int32_t>(
      llround(double{sequence.params.sparsity} * static_cast<double>(visible)));
  return max(1, min(visible, kept));
}

// The orders of `count` <= 64 keys in the tile for every packed row, at `orders` + r * 512.
// A thread takes one key and eight rows. The sums are those of SquaredDistance and Dot.
template <bool kIsScore>
__device__ __forceinline__ void OrderTile(const float* queries, const float* tile, uint32_t* orders,
                                          int32_t packed, int32_t count, int32_t d) {
  constexpr int32_t kRows = kPackedRows / 2;
  const int32_t j = threadIdx.x % kTileKeys, first = threadIdx.x / kTileKeys * kRows;
  if (j >= count) {
    return;
  }
  const float* key = tile + j * (d + 1);
  for (int32_t r = first; r < min(first + kRows, packed); ++r) {
    const float* q = queries + r * d;
    orders[r * kSearchKeys + j] =
        kIsScore ? OrderOfScore(Dot(q, key, d)) : OrderOfDistance(SquaredDistance(q, key, d));
  }
}

template <typename E>
__global__ void __launch_bounds__(kAttentionThreads)
    SearchKeysKernel(KvLayer<E> kv, AttentionRows rows, SearchWave wave) {
  ALCCA_DYNAMIC_SHARED(float, queries);
  const int32_t d = kv.head_dim, kv_head = blockIdx.y;
  float* tile_keys = queries + kPackedRows * d;
  uint32_t* orders = reinterpret_cast<uint32_t*>(tile_keys + kTileKeys * (d + 1));
  const SearchTile tile = wave.tiles[blockIdx.x];
  const SearchRow first_row = wave.rows[tile.first];
  const SearchRow last_row = wave.rows[tile.first + tile.row_count - 1];
  const SequenceWork& sequence = wave.sequences[first_row.sequence];
  const int32_t split = first_row.first_split + static_cast<int32_t>(blockIdx.z);
  const int32_t begin = max(split * kSearchKeys, sequence.FirstKey(first_row.position));
  const int32_t end = min((split + 1) * kSearchKeys, last_row.position + 1);
  if (begin >= end) {
    return;
  }
  const int32_t packed = tile.row_count * tile.head_count;
  const auto head_of = [&](int32_t r) {
    return kv_head * rows.group() + tile.head_begin + r % tile.head_count;
  };
  const auto row_of = [&](int32_t r) { return tile.first + r / tile.head_count; };
  bool any_far = false;
  for (int32_t r = 0; r < packed; ++r) {
    any_far = any_far || IsFar(wave, rows, sequence, row_of(r), head_of(r));
  }
  if (!any_far) {
    return;
  }
  for (int32_t r = 0; r < packed; ++r) {
    const float* q = rows.Query(wave.rows[row_of(r)].row, head_of(r));
    for (int32_t i = threadIdx.x; i < d; i += kAttentionThreads) {
      queries[r * d + i] = q[i];
    }
  }
  for (int32_t key = begin; key < end; key += kTileKeys) {
    const int32_t count = min(kTileKeys, end - key);
    __syncthreads();
    StageTile(tile_keys, count, d,
              [&](int32_t j) { return kv.keys + kv.Row(sequence.pages, kv_head, key + j); });
    __syncthreads();
    if (sequence.is_topk) {
      OrderTile<true>(queries, tile_keys, orders + (key - begin), packed, count, d);
    } else {
      OrderTile<false>(queries, tile_keys, orders + (key - begin), packed, count, d);
    }
  }
  __syncthreads();
  // A warp chooses for one packed row. Rows of a tile may start in different splits.
  const int32_t lane = threadIdx.x % kWarp;
  for (int32_t r = threadIdx.x / kWarp; r < packed; r += kAttentionWarps) {
    const SearchRow row = wave.rows[row_of(r)];
    const int32_t list_number = split - row.first_split;
    if (!IsFar(wave, rows, sequence, row_of(r), head_of(r)) || list_number < 0 ||
        list_number >= row.splits) {
      continue;
    }
    const int32_t first_key = sequence.FirstKey(row.position);
    uint32_t order[kWarpEntries];
#pragma unroll
    for (int32_t u = 0; u < kWarpEntries; ++u) {
      const int32_t key = begin + u * kWarp + lane;
      order[u] = key < end && key <= row.position && key >= first_key
                     ? orders[r * kSearchKeys + key - begin]
                     : kAbsent;
    }
    const int32_t keep = min(row.keep, Wanted(sequence, rows, kv.layer, row.position, head_of(r)));
    const Selection selection = SelectInWarp(order, keep);
    Candidate* list = wave.candidates + row.List(head_of(r)) + size_t(list_number) * row.keep;
    ForChosenInWarp(order, selection, [&](int32_t rank, int32_t u) {
      list[rank] = {order[u], begin + u * kWarp + lane};
    });
    for (int32_t rank = selection.found + lane; rank < row.keep; rank += kWarp) {
      list[rank] = {kAbsent, 0x7fffffff};
    }
  }
}

// Sum of weights * values over every fourth entry of a list, from entry `part` on. Lane l holds
// dimensions l, l + 32, ...
struct ValueSum {
  float value[kHeadDimMax / kWarp];
  float weight;
};
template <typename E, typename Weight>
__device__ __forceinline__ ValueSum SumValues(const KvLayer<E>& kv, const int32_t* pages,
                                              int32_t kv_head, const Candidate* list, int32_t found,
                                              int32_t part, Weight weigh) {
  const int32_t lane = threadIdx.x % kWarp, d = kv.head_dim;
  ValueSum sum = {};
  for (int32_t e = part; e < found; e += kAttentionWarps) {
    const Candidate candidate = list[e];
    const float weight = weigh(candidate.order);
    const E* value = kv.values + kv.Row(pages, kv_head, candidate.key);
    sum.weight += weight;
#pragma unroll
    for (int32_t c = 0; c < kHeadDimMax / kWarp; ++c) {
      if (lane + c * kWarp < d) {
        sum.value[c] += weight * ToFloat(value[lane + c * kWarp]);
      }
    }
  }
  return sum;
}

// alcca: 1 / (distance + epsilon). topk: exp of the score less the best one's.
struct Weigher {
  bool is_score;
  float epsilon, best, scale;
  __device__ __forceinline__ float operator()(uint32_t order) const {
    return is_score ? expf((ScoreOfOrder(order) - best) * scale)
                    : 1.0f / (sqrtf(DistanceOfOrder(order)) + epsilon);
  }
};
// By one warp.
__device__ __forceinline__ Weigher MakeWeigher(const SequenceWork& sequence, const Candidate* list,
                                               int32_t found, int32_t d) {
  Weigher weigher = {sequence.is_topk, sequence.params.epsilon, 0.0f,
                     1.0f / sqrtf(static_cast<float>(d))};
  if (sequence.is_topk) {
    uint32_t best = kAbsent;
    for (int32_t e = threadIdx.x % kWarp; e < found; e += kWarp) {
      best = min(best, list[e].order);
    }
    weigher.best = ScoreOfOrder(__reduce_min_sync(kFullMask, best));
  }
  return weigher;
}

struct AnswerShared {
  SelectShared select;
  ValueSum sums[kAttentionWarps][kWarp];
  int32_t values;  // different ones read by the group
};

// A list that one warp can hold: that warp does all of it. Returns how many were found.
template <typename E>
__device__ __forceinline__ int32_t AnswerInWarp(const KvLayer<E>& kv, const SequenceWork& sequence,
                                                int32_t kv_head, Candidate* list, int32_t entries,
                                                int32_t keep, float* out) {
  const int32_t lane = threadIdx.x % kWarp;
  Candidate entry[kWarpEntries];
  uint32_t order[kWarpEntries];
#pragma unroll
  for (int32_t u = 0; u < kWarpEntries; ++u) {
    const int32_t e = u * kWarp + lane;
    entry[u] = e < entries ? list[e] : Candidate{kAbsent, 0};
    order[u] = entry[u].order;
  }
  const Selection selection = SelectInWarp(order, keep);
  __syncwarp();
  ForChosenInWarp(order, selection, [&](int32_t rank, int32_t u) { list[rank] = entry[u]; });
  __syncwarp();
  const Weigher weigh = MakeWeigher(sequence, list, selection.found, kv.head_dim);
  ValueSum total = {};
  for (int32_t part = 0; part < kAttentionWarps; ++part) {
    const ValueSum sum = SumValues(kv, sequence.pages, kv_head, list, selection.found, part, weigh);
    total.weight = part == 0 ? sum.weight : total.weight + sum.weight;
#pragma unroll
    for (int32_t c = 0; c < kHeadDimMax / kWarp; ++c) {
      total.value[c] = part == 0 ? sum.value[c] : total.value[c] + sum.value[c];
    }
  }
  const float norm = 1.0f / total.weight;
#pragma unroll
  for (int32_t c = 0; c < kHeadDimMax / kWarp; ++c) {
    if (lane + c * kWarp < kv.head_dim) {
      out[lane + c * kWarp] = total.value[c] * norm;
    }
  }
  return selection.found;
}

// A longer list: the whole block's.
template <typename E>
__device__ __forceinline__ int32_t AnswerInBlock(const KvLayer<E>& kv, const SequenceWork& sequence,
                                                 int32_t kv_head, Candidate* list, int32_t entries,
                                                 int32_t keep, float* out, AnswerShared& shared) {
  const int32_t lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const Selection selection =
      SelectInBlock(shared.select, entries, keep, [list](int32_t e) { return list[e].order; });
  Candidate entry = {};
  ForAllInBlock(
      shared.select, entries, selection,
      [&](int32_t e) {
        entry = list[e];
        return entry.order;
      },
      [&](int32_t, bool chosen, int32_t rank) {
        if (chosen) {
          list[rank] = entry;
        }
      });
  const Weigher weigh = MakeWeigher(sequence, list, selection.found, kv.head_dim);
  shared.sums[warp][lane] =
      SumValues(kv, sequence.pages, kv_head, list, selection.found, warp, weigh);
  __syncthreads();
  for (int32_t i = threadIdx.x; i < kv.head_dim; i += kAttentionThreads) {
    const ValueSum* sums = &shared.sums[0][i % kWarp];
    float value = sums[0].value[i / kWarp], weight = sums[0].weight;
    for (int32_t part = 1; part < kAttentionWarps; ++part) {
      value += sums[part * kWarp].value[i / kWarp];
      weight += sums[part * kWarp].weight;
    }
    out[i] = value * (1.0f / weight);
  }
  __syncthreads();
  return selection.found;
}

template <typename E>
__global__ void __launch_bounds__(kAttentionThreads, 1)
    AnswerSearchKernel(KvLayer<E> kv, AttentionRows rows, SearchWave wave) {
  ALCCA_SHARED(AnswerShared, shared);
  const int32_t r = blockIdx.x, kv_head = blockIdx.y, group = rows.group();
  const SearchRow row = wave.rows[r];
  const SequenceWork& sequence = wave.sequences[row.sequence];
  const int32_t entries = row.splits * row.keep;
  int32_t* all_found = wave.found + size_t(r) * rows.heads + kv_head * group;
  const auto list_of = [&](int32_t g) { return wave.candidates + row.List(kv_head * group + g); };
  const bool in_warp = entries <= kWarpListMax;
  if (threadIdx.x == 0) {
    shared.values = 0;
  }
  for (int32_t g = in_warp ? threadIdx.x / kWarp : 0; g < group;
       g += in_warp ? kAttentionWarps : 1) {
    const int32_t head = kv_head * group + g;
    int32_t found = 0;
    if (IsFar(wave, rows, sequence, r, head)) {
      const int32_t wanted = Wanted(sequence, rows, kv.layer, row.position, head);
      float* out = rows.Out(row.row, head);
      found = in_warp
                  ? AnswerInWarp(kv, sequence, kv_head, list_of(g), entries, wanted, out)
                  : AnswerInBlock(kv, sequence, kv_head, list_of(g), entries, wanted, out, shared);
    }
    if (in_warp ? threadIdx.x % kWarp == 0 : threadIdx.x == 0) {
      all_found[g] = found;
    }
  }
  __syncthreads();
  // Memory is read once for the group: values as a union of the heads' lists, which ascend by key.
  int64_t pv = 0, far = 0;
  for (int32_t g = 0; g < group; ++g) {
    pv += all_found[g];
    far += IsFar(wave, rows, sequence, r, kv_head * group + g) ? 1 : 0;
    int32_t different = 0;
    for (int32_t e = threadIdx.x; e < all_found[g]; e += kAttentionThreads) {
      bool seen = false;
      for (int32_t other = 0; other < g && !seen; ++other) {
        seen = HoldsKey(list_of(other), all_found[other], list_of(g)[e].key);
      }
      different += seen ? 0 : 1;
    }
    atomicAdd(&shared.values, different);
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    const int64_t visible = row.position + 1 - sequence.FirstKey(row.position);
    AddCount(sequence, kCountPvExact, pv);
    // A tree search has counted its own keys.
    AddCount(sequence, kCountQkExact, sequence.is_tree ? 0 : far * visible);
    AddCount(sequence, kCountKvRows, shared.values + (far > 0 && !sequence.is_tree ? visible : 0));
  }
}

}  // namespace

template <typename E>
void SearchKeys(Stream stream, const KvLayer<E>& kv, const AttentionRows& rows,
                const SearchWave& wave) {
  Launch(SearchKeysKernel<E>,
         {.name = "search_keys",
          .grid = {static_cast<unsigned>(wave.tile_count), static_cast<unsigned>(kv.kv_heads),
                   static_cast<unsigned>(wave.splits_max)},
          .block = {kAttentionThreads},
          .shared_bytes = SearchSharedBytes(kv.head_dim),
          .stream = stream},
         kv, rows, wave);
}

template <typename E>
void AnswerSearch(Stream stream, const KvLayer<E>& kv, const AttentionRows& rows,
                  const SearchWave& wave) {
  Launch(AnswerSearchKernel<E>,
         {.name = "answer_search",
          .grid = {static_cast<unsigned>(wave.row_count), static_cast<unsigned>(kv.kv_heads), 1},
          .block = {kAttentionThreads},
          .stream = stream},
         kv, rows, wave);
}

template void SearchKeys<float>(Stream, const KvLayer<float>&, const AttentionRows&,
                                const SearchWave&);
template void SearchKeys<BFloat16>(Stream, const KvLayer<BFloat16>&, const AttentionRows&,
                                   const SearchWave&);
template void AnswerSearch<float>(Stream, const KvLayer<float>&, const AttentionRows&,
                                  const SearchWave&);
template void AnswerSearch<BFloat16>(Stream, const KvLayer<BFloat16>&, const AttentionRows&,
                                     const SearchWave&);

}  // namespace alcca::ALCCA_GPU
