// Softmax attention on tensor cores: bf16 keys and values, head_dim 64 or 128, queries and weights
// rounded to bf16, sums in f32. A warp takes 16 packed rows and tiles of 32 keys, double buffered
// by cp.async in shared memory; every split of 256 keys is softmaxed on its own and merged in
// order, so a query's bits are the same in a long prefill and decoded alone.
//
// Decoding (`split` tiles) is bound by bytes: 4 d of a token, once for all query heads of a KV
// head. A warp has a split to itself, so a block streams four. Grid: tiles x KV heads x splits / 4,
// 128 threads. Prefill (`whole` tiles) is bound by the tensor cores: 64 packed rows share a block's
// tile, a key is read n / (64 / group) times, from L2. Grid: tiles x KV heads, 128 threads.
//
// A value that is not finite reaches, as 0 * NaN, rows of its tile that do not see it yet.

#include "kernels/cuda/attention/dense.h"
#include "kernels/cuda/attention/tile.h"
#include "kernels/cuda/device_words/async_copy.h"
#include "kernels/cuda/device_words/mma.h"

namespace alcca::ALCCA_GPU {
namespace {

constexpr int32_t kKeys = 32;  // of a tile
constexpr int32_t kStages = 2;

__device__ __forceinline__ uint32_t PackBFloat16(float low, float high) {
  return static_cast<uint32_t>(ToBFloat16(low).bits) | static_cast<uint32_t>(ToBFloat16(high).bits)
                                                           << 16;
}

// One tile in shared memory. Rows are padded so that the 16-byte reads of eight lanes touch all
// banks once: keys are read by rows g, g + 1 and four columns, values by rows 2t and two columns.
template <int D>
struct KeyTile {
  static constexpr int32_t kKeyStride = D + 32, kValueStride = D + 8;  // elements
  alignas(16) uint16_t keys[kKeys][kKeyStride];
  alignas(16) uint16_t values[kKeys][kValueStride];
};

// What one warp knows of its 16 packed rows: a lane has rows g and g + 8, lane = 4 g + t.
template <int D>
class WarpRows {
 public:
  __device__ __forceinline__ WarpRows(const AttentionRows& rows, const SequenceWork& sequence,
                                      const SoftmaxTile& tile, int32_t base)
      : g_(threadIdx.x % kWarp / 4), t_(threadIdx.x % 4) {
    const float scale = 1.0f / sqrtf(static_cast<float>(D));
#pragma unroll
    for (int32_t half = 0; half < 2; ++half) {
      const int32_t r = base + g_ + 8 * half;
      const bool exists = r < tile.packed();
      const int32_t row = tile.row_begin + (exists ? r / tile.head_count : 0);
      const int32_t position = sequence.Position(row);
      last_[half] = exists ? position : -1;
      first_[half] = sequence.FirstKey(position);
      out_row_[half] = sequence.query_start + row;
      head_[half] = static_cast<int32_t>(blockIdx.y) * rows.group() + tile.head_begin +
                    (exists ? r % tile.head_count : 0);
      const float* q = rows.Query(out_row_[half], head_[half]);
      // Dimension 32 c + 8 t + 2 w is where a lane's 16-byte read of a key has word w.
#pragma unroll
      for (int32_t c = 0; c < D / 32; ++c) {
#pragma unroll
        for (int32_t w = 0; w < 4; ++w) {
          const float* x = q + 32 * c + 8 * t_ + 2 * w;
          query_[2 * c + w / 2][w % 2 * 2 + half] = PackBFloat16(x[0] * scale, x[1] * scale);
        }
      }
    }
    Clear();
  }

  __device__ __forceinline__ void Clear() {
#pragma unroll
    for (int32_t half = 0; half < 2; ++half) {
      max_[half] = -INFINITY;
      sum_[half] = 0.0f;
    }
#pragma unroll
    for (int32_t n = 0; n < D / 8; ++n) {
#pragma unroll
      for (int32_t c = 0; c < 4; ++c) {
        out_[n][c] = 0.0f;
      }
    }
  }

  // Keys [key, key + 32), staged in `tile`.
  __device__ __forceinline__ void AddTile(const KeyTile<D>& tile, int32_t key) {
    float score[kKeys / 8][4];
    Score(tile, key, score);
    uint32_t weight[kKeys / 16][4];
    Weigh(score, weight);
#pragma unroll
    for (int32_t step = 0; step < kKeys / 16; ++step) {
      const int32_t row = 16 * step + 2 * t_;
#pragma unroll
      for (int32_t chunk = 0; chunk < D / 64; ++chunk) {
        // Lane column g of product u is dimension 64 chunk + 8 g + u: four reads serve eight.
        const int32_t column = 64 * chunk + 8 * g_;
        uint32_t v[4][4];
        Read(v[0], &tile.values[row][column]);
        Read(v[1], &tile.values[row + 1][column]);
        Read(v[2], &tile.values[row + 8][column]);
        Read(v[3], &tile.values[row + 9][column]);
#pragma unroll
        for (int32_t u = 0; u < 8; ++u) {
          const uint32_t select = u % 2 == 0 ? 0x5410 : 0x7632;
          const uint32_t b[2] = {__byte_perm(v[0][u / 2], v[1][u / 2], select),
                                 __byte_perm(v[2][u / 2], v[3][u / 2], select)};
          Mma(out_[8 * chunk + u], weight[step], b, BFloat16{});
        }
      }
    }
  }

  // The split's softmax as partial results: d outputs, maximum, sum.
  __device__ __forceinline__ void StorePartial(float* partial, int32_t packed) const {
#pragma unroll
    for (int32_t half = 0; half < 2; ++half) {
      const int32_t r = g_ + 8 * half;
      const float sum = RowSum(half);  // by all lanes
      if (r < packed) {
        float* to = partial + size_t(r) * (D + 2);
        StoreOut(to, half, out_, 1.0f);
        if (t_ == 0) {
          to[D] = max_[half];
          to[D + 1] = sum;
        }
      }
    }
  }

  // Merges the split's softmax into the total: outputs in shared memory, a thread's own at
  // [place][threadIdx.x]; clears the split's.
  __device__ __forceinline__ void MergeInto(float* total, float (&max)[2], float (&sum)[2]) {
    MergeScales scales[2];
#pragma unroll
    for (int32_t half = 0; half < 2; ++half) {
      scales[half] = MergeOf(max[half], max_[half]);
      max[half] = scales[half].max;
      sum[half] = Merged(scales[half], sum[half], RowSum(half));
    }
#pragma unroll
    for (int32_t n = 0; n < D / 8; ++n) {
#pragma unroll
      for (int32_t c = 0; c < 4; ++c) {
        float& place = total[(4 * n + c) * kAttentionThreads + threadIdx.x];
        place = Merged(scales[c / 2], place, out_[n][c]);
      }
    }
    Clear();
  }
  __device__ __forceinline__ void StoreTotal(const AttentionRows& rows, const float* total,
                                             const float (&sum)[2]) {
#pragma unroll
    for (int32_t n = 0; n < D / 8; ++n) {
#pragma unroll
      for (int32_t c = 0; c < 4; ++c) {
        out_[n][c] = total[(4 * n + c) * kAttentionThreads + threadIdx.x];
      }
    }
#pragma unroll
    for (int32_t half = 0; half < 2; ++half) {
      if (last_[half] >= 0) {
        StoreOut(rows.Out(out_row_[half], head_[half]), half, out_, 1.0f / sum[half]);
      }
    }
  }

 private:
  static __device__ __forceinline__ void Read(uint32_t (&words)[4], const uint16_t* from) {
    const uint4 x = *reinterpret_cast<const uint4*>(from);
    words[0] = x.x;
    words[1] = x.y;
    words[2] = x.z;
    words[3] = x.w;
  }

  // score[n]: keys 8 n + 2 t, + 1 of rows g and g + 8; -infinity where a row does not see a key.
  __device__ __forceinline__ void Score(const KeyTile<D>& tile, int32_t key,
                                        float (&score)[kKeys / 8][4]) const {
#pragma unroll
    for (int32_t n = 0; n < kKeys / 8; ++n) {
#pragma unroll
      for (int32_t c = 0; c < 4; ++c) {
        score[n][c] = 0.0f;
      }
#pragma unroll
      for (int32_t c = 0; c < D / 32; ++c) {
        uint32_t words[4];
        Read(words, &tile.keys[8 * n + g_][32 * c + 8 * t_]);
        const uint32_t low[2] = {words[0], words[1]}, high[2] = {words[2], words[3]};
        Mma(score[n], query_[2 * c], low, BFloat16{});
        Mma(score[n], query_[2 * c + 1], high, BFloat16{});
      }
#pragma unroll
      for (int32_t c = 0; c < 4; ++c) {
        const int32_t at = key + 8 * n + 2 * t_ + c % 2;
        score[n][c] = at >= first_[c / 2] && at <= last_[c / 2] ? score[n][c] : -INFINITY;
      }
    }
  }

  // Scores become weights, rounded to bf16 as the left operand of the product with the values.
  __device__ __forceinline__ void Weigh(float (&score)[kKeys / 8][4],
                                        uint32_t (&weight)[kKeys / 16][4]) {
    float rescale[2];
#pragma unroll
    for (int32_t half = 0; half < 2; ++half) {
      float top = max_[half];
#pragma unroll
      for (int32_t n = 0; n < kKeys / 8; ++n) {
        top = fmaxf(top, fmaxf(score[n][2 * half], score[n][2 * half + 1]));
      }
      top = fmaxf(top, __shfl_xor_sync(kFullMask, top, 1));
      top = fmaxf(top, __shfl_xor_sync(kFullMask, top, 2));
      rescale[half] = __expf(max_[half] - Anchor(top));
      max_[half] = top;
      float sum = 0.0f;
#pragma unroll
      for (int32_t n = 0; n < kKeys / 8; ++n) {
#pragma unroll
        for (int32_t c = 2 * half; c < 2 * half + 2; ++c) {
          score[n][c] = __expf(score[n][c] - Anchor(top));
          sum += score[n][c];
        }
      }
      sum_[half] = sum_[half] * rescale[half] + sum;  // this lane's keys; see RowSum
    }
#pragma unroll
    for (int32_t n = 0; n < D / 8; ++n) {
#pragma unroll
      for (int32_t c = 0; c < 4; ++c) {
        out_[n][c] *= rescale[c / 2];
      }
    }
#pragma unroll
    for (int32_t step = 0; step < kKeys / 16; ++step) {
#pragma unroll
      for (int32_t w = 0; w < 4; ++w) {
        const float* pair = &score[2 * step + w / 2][w % 2 * 2];
        weight[step][w] = PackBFloat16(pair[0], pair[1]);
      }
    }
  }

  // Over the four lanes of a row.
  __device__ __forceinline__ float RowSum(int32_t half) const {
    float sum = sum_[half];
    sum += __shfl_xor_sync(kFullMask, sum, 1);
    sum += __shfl_xor_sync(kFullMask, sum, 2);
    return sum;
  }
  __device__ __forceinline__ void StoreOut(float* to, int32_t half, const float (&out)[D / 8][4],
                                           float scale) const {
#pragma unroll
    for (int32_t chunk = 0; chunk < D / 64; ++chunk) {
#pragma unroll
      for (int32_t column = 0; column < 2; ++column) {
#pragma unroll
        for (int32_t u = 0; u < 8; ++u) {
          to[64 * chunk + 8 * (2 * t_ + column) + u] =
              out[8 * chunk + u][2 * half + column] * scale;
        }
      }
    }
  }

  const int32_t g_, t_;
  int32_t first_[2], last_[2];  // keys that the rows see; last -1: no row
  int32_t out_row_[2], head_[2];
  uint32_t query_[D / 16][4];
  float out_[D / 8][4];
  float max_[2], sum_[2];  // of a row; of this lane's keys in it
};

// `threads` threads, this one `thread`, start the copies of keys [key, key + 32) to `tile`. What is
// beyond `last` is masked later: any row will do.
template <int D>
__device__ __forceinline__ void StageKeys(KeyTile<D>& tile, const KvLayer<BFloat16>& kv,
                                          const SequenceWork& sequence, int32_t key, int32_t last,
                                          int32_t thread, int32_t threads) {
  constexpr int32_t kPieces = D / 8;  // of 16 bytes
  for (int32_t e = thread; e < kKeys * kPieces; e += threads) {
    const int32_t j = e / kPieces, piece = e % kPieces * 8;
    const size_t row = kv.Row(sequence.pages, blockIdx.y, min(key + j, last)) + piece;
    CopyAsync16(&tile.keys[j][piece], kv.keys + row);
    CopyAsync16(&tile.values[j][piece], kv.values + row);
  }
  CommitCopies();
}

template <int D>
__global__ void __launch_bounds__(kAttentionThreads, 1)
    DecodeMmaKernel(KvLayer<BFloat16> kv, AttentionRows rows, const SequenceWork* sequences,
                    const SoftmaxTile* tiles, float* partials) {
  ALCCA_DYNAMIC_SHARED(KeyTile<D>, stages);
  const SoftmaxTile tile = tiles[blockIdx.x];
  const SequenceWork& sequence = sequences[tile.sequence];
  const int32_t warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int32_t split =
      tile.split_begin + static_cast<int32_t>(blockIdx.z) * kAttentionWarps + warp;
  if (split >= tile.split_end) {
    return;
  }
  const int32_t last = sequence.Position(tile.row_begin + tile.row_count - 1);
  const int32_t first = sequence.FirstKey(sequence.Position(tile.row_begin));
  const int32_t begin = max(split * kSplitKeys, first / kKeys * kKeys);
  const int32_t end = min((split + 1) * kSplitKeys, last + 1);
  KeyTile<D>* own = stages + warp * kStages;
  StageKeys(own[0], kv, sequence, begin, last, lane, kWarp);
  WarpRows<D> warp_rows(rows, sequence, tile, 0);
  int32_t stage = 0;
  for (int32_t key = begin; key < end; key += kKeys, stage ^= 1) {
    if (key + kKeys < end) {
      StageKeys(own[stage ^ 1], kv, sequence, key + kKeys, last, lane, kWarp);
      WaitForCopies<1>();
    } else {
      WaitForCopies<0>();
    }
    __syncwarp();
    warp_rows.AddTile(own[stage], key);
    __syncwarp();
  }
  const size_t row = size_t(tile.partial) +
                     (size_t(split - tile.split_begin) * kv.kv_heads + blockIdx.y) * tile.packed();
  warp_rows.StorePartial(partials + row * (D + 2), tile.packed());
}

template <int D>
__global__ void __launch_bounds__(kAttentionThreads, 1)
    PrefillMmaKernel(KvLayer<BFloat16> kv, AttentionRows rows, const SequenceWork* sequences,
                     const SoftmaxTile* tiles) {
  ALCCA_DYNAMIC_SHARED(KeyTile<D>, stages);
  float* total = reinterpret_cast<float*>(stages + kStages);  // [D / 2][128]
  const SoftmaxTile tile = tiles[blockIdx.x];
  const SequenceWork& sequence = sequences[tile.sequence];
  const int32_t last = sequence.Position(tile.row_begin + tile.row_count - 1);
  const int32_t first = sequence.FirstKey(sequence.Position(tile.row_begin));
  const int32_t begin = first / kKeys * kKeys, end = last + 1;
  StageKeys(stages[0], kv, sequence, begin, last, threadIdx.x, kAttentionThreads);
  WarpRows<D> warp_rows(rows, sequence, tile, threadIdx.x / kWarp * kPackedRows);
  float max[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0f, 0.0f};
  for (int32_t place = 0; place < D / 2; ++place) {
    total[place * kAttentionThreads + threadIdx.x] = 0.0f;
  }
  int32_t stage = 0;
  for (int32_t key = begin; key < end; key += kKeys, stage ^= 1) {
    if (key + kKeys < end) {
      StageKeys(stages[stage ^ 1], kv, sequence, key + kKeys, last, threadIdx.x, kAttentionThreads);
      WaitForCopies<1>();
    } else {
      WaitForCopies<0>();
    }
    __syncthreads();
    warp_rows.AddTile(stages[stage], key);
    if ((key + kKeys) % kSplitKeys == 0 || key + kKeys >= end) {
      warp_rows.MergeInto(total, max, sum);
    }
    __syncthreads();
  }
  warp_rows.StoreTotal(rows, total, sum);
}

template <int D>
void Start(Stream stream, const KvLayer<BFloat16>& kv, const AttentionRows& rows,
           const SequenceWork* sequences, const SoftmaxTiles& tiles) {
  const auto heads = static_cast<unsigned>(rows.kv_heads);
  Launch(PrefillMmaKernel<D>,
         {.name = "attention_prefill_mma",
          .grid = {static_cast<unsigned>(tiles.whole_count), heads, 1},
          .block = {kAttentionThreads},
          .shared_bytes = kStages * sizeof(KeyTile<D>) + D / 2 * kAttentionThreads * sizeof(float),
          .stream = stream},
         kv, rows, sequences, tiles.whole);
  Launch(
      DecodeMmaKernel<D>,
      {.name = "attention_decode_mma",
       .grid = {static_cast<unsigned>(tiles.split_count), heads,
                static_cast<unsigned>((tiles.splits_max + kAttentionWarps - 1) / kAttentionWarps)},
       .block = {kAttentionThreads},
       .shared_bytes = kAttentionWarps * kStages * sizeof(KeyTile<D>),
       .stream = stream},
      kv, rows, sequences, tiles.split, tiles.partials);
}

}  // namespace

bool AttentionDenseMma(Stream stream, const KvLayer<BFloat16>& kv, const AttentionRows& rows,
                       const SequenceWork* sequences, const SoftmaxTiles& tiles) {
  if (kv.head_dim == 128) {
    Start<128>(stream, kv, rows, sequences, tiles);
  } else if (kv.head_dim == 64) {
    Start<64>(stream, kv, rows, sequences, tiles);
  } else {
    return false;
  }
  return true;
}

}  // namespace alcca::ALCCA_GPU
