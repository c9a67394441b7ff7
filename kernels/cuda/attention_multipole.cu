// Softmax over real keys and clusters together (kernels/key_clusters.h), one online softmax over
// the exact and the far part. The cluster that may matter most is opened next, until real
// keys cover the wanted mass for every query head, or max_keys rows have been read; the order of
// openings follows from the estimates alone, so up to eight fine clusters are read at once, and
// those behind the point where it was enough are thrown away.
//
// Bound by bytes and, at one sequence, by the latency of some dozen dependent reads: of each coarse
// cluster 2 d + 16 bytes and of an opened one 32 times that, of the sinks, the recent keys and at
// most max_keys others 2 d elements, once for all query heads of a KV head.
// Grid: tokens x KV heads, 128 threads.

#include "kernels/cuda/attention_multipole.h"

#include "kernels/cuda/attention_tile.h"

namespace alcca::ALCCA_GPU {
namespace {

constexpr int32_t kAtOnce = kTileKeys / kFineTokens;  // fine clusters read together

struct OpeningShared {
  SoftmaxStats stats;
  double reference[kPackedRows];  // log of the first estimate of all mass
  double covered[kPackedRows];    // mass of real keys, over that estimate
  double closed[kPackedRows];     // of closed clusters
  float correction[kPackedRows];  // |query - expansion point|^2 / 2, scaled
  float read_mass[kAtOnce][kPackedRows];
  int32_t pending[kAtOnce];  // fine clusters about to be read
  int32_t pending_count, accepted;
  int32_t coarse;        // a block about to be opened, or -1
  int32_t rows, opened;  // read for openings so far; blocks opened
  int32_t done;
  int32_t closed_rows;
};

template <typename E>
class OpeningBlock {
 public:
  __device__ OpeningBlock(const KvLayer<E>& kv, const AttentionRows& rows,
                          const SequenceWork& sequence, const ClusterRow& row, void* scratch,
                          float* dynamic, OpeningShared& shared)
      : kv_(kv),
        rows_(rows),
        sequence_(sequence),
        row_(row),
        shape_(rows.group(), row.blocks, sequence.max_keys),
        tile_(dynamic, kv.head_dim),
        shared_(shared),
        group_(rows.group()),
        d_(kv.head_dim),
        kv_head_(blockIdx.y) {
    auto* base =
        static_cast<unsigned char*>(scratch) + row.scratch + size_t(kv_head_) * shape_.Bytes();
    rms_ = reinterpret_cast<double*>(base);
    block_rms_ = rms_ + shape_.nodes();
    coarse_logits_ = reinterpret_cast<float*>(block_rms_ + shape_.opened_max);
    fine_logits_ = coarse_logits_ + size_t(group_) * row.blocks;
    opened_ =
        reinterpret_cast<int32_t*>(fine_logits_ + size_t(shape_.opened_max) * group_ * kBlockFines);
  }

  __device__ __forceinline__ void Answer() {
    Start();
    const int32_t visible = row_.position + 1, sinks = min(sequence_.sinks, visible);
    // All of the mass is all of the keys, whatever rounding says: nothing to choose.
    const bool all = sequence_.mass >= 1.0f && sequence_.max_keys == 0;
    const int32_t old_end = all ? sinks : sinks + row_.blocks * kBlockTokens;
    ReadRange(0, sinks);
    ReadRange(old_end, visible);
    int64_t real = sinks + visible - old_end, centres = int64_t{row_.blocks} * (1 + kBlockFines);
    if (!all && row_.blocks > 0) {
      ScoreCoarse();
      while (Choose()) {
        if (shared_.coarse >= 0) {
          OpenCoarse();
        } else {
          real += OpenFine();
        }
      }
      AddClosed();
      centres = row_.blocks + int64_t{shared_.opened} * kBlockFines;
    }
    Finish(real, row_.blocks > 0 ? 1 : 0, centres);
  }

 private:
  __device__ __forceinline__ int32_t head(int32_t g) const { return kv_head_ * group_ + g; }

  __device__ __forceinline__ void Start() {
    const float scale = 1.0f / sqrtf(static_cast<float>(d_));
    for (int32_t g = 0; g < group_; ++g) {
      for (int32_t i = threadIdx.x; i < d_; i += kAttentionThreads) {
        tile_.queries[g * d_ + i] = rows_.Query(row_.row, head(g))[i] * scale;
      }
    }
    if (threadIdx.x == 0) {
      shared_.rows = shared_.opened = shared_.closed_rows = shared_.done = 0;
    }
    Clear(shared_.stats);
    Clear(part_);
    __syncthreads();
    for (int32_t g = threadIdx.x; g < group_; g += kAttentionThreads) {
      const float* q = tile_.queries + g * d_;
      const float* point =
          sequence_.state.points + (size_t(kv_.layer) * kv_.kv_heads + kv_head_) * d_;
      shared_.correction[g] = row_.blocks > 0 ? 0.5f * SquaredDistance(q, point, d_) : 0.0f;
    }
    __syncthreads();
  }

  // Scores of keys token(j), j < count, in the weights.
  template <typename Token>
  __device__ __forceinline__ void ScoreKeys(int32_t count, Token token) {
    StageTile(tile_.tile, count, d_,
              [&](int32_t j) { return kv_.keys + kv_.Row(sequence_.pages, kv_head_, token(j)); });
    __syncthreads();
    ScoreTile(tile_, group_, count, d_);
    __syncthreads();
  }
  // Weighs the scores that visible(r, j) lets through, and adds the values in the tile.
  template <typename Visible>
  __device__ __forceinline__ void FoldStaged(int32_t count, Visible visible) {
    WeighTile(tile_, shared_.stats, group_, count, visible);
    __syncthreads();
    AccumulateTile(tile_, shared_.stats, part_, group_, count, d_);
    __syncthreads();
  }
  template <typename Token>
  __device__ __forceinline__ void FoldKeys(int32_t count, Token token) {
    StageTile(tile_.tile, count, d_,
              [&](int32_t j) { return kv_.values + kv_.Row(sequence_.pages, kv_head_, token(j)); });
    FoldStaged(count, [](int32_t, int32_t) { return true; });
  }
  __device__ __forceinline__ void ReadRange(int32_t begin, int32_t end) {
    for (; begin < end; begin += kTileKeys) {
      const auto token = [begin](int32_t j) { return begin + j; };
      ScoreKeys(min(kTileKeys, end - begin), token);
      FoldKeys(min(kTileKeys, end - begin), token);
    }
  }

  __device__ __forceinline__ ClusterRows Coarse(int32_t block) const {
    return ClustersAt(sequence_.state.coarses, block / kSegmentBlocks, kSegmentBlocks, kv_.layer,
                      kv_.kv_heads, kv_head_, d_);
  }
  __device__ __forceinline__ ClusterRows Fine(int32_t block) const {
    return ClustersAt(sequence_.state.fines, block, kBlockFines, kv_.layer, kv_.kv_heads, kv_head_,
                      d_);
  }
  __device__ __forceinline__ float Correction(int32_t g, const ClusterRows& rows,
                                              int32_t row) const {
    return fminf(shared_.correction[g] * rows.Variances()[row], kClusterCorrectionMax);
  }
  // The log-mass of a cluster whose key is row j of the tile.
  __device__ __forceinline__ float Logit(int32_t g, int32_t j, const ClusterRows& rows,
                                         int32_t row) const {
    return tile_.weights[g * kTileKeys + j] + rows.Offsets()[row] + Correction(g, rows, row);
  }
  // The root mean square of its mass, the largest over the group. logit(g): its log-masses.
  template <typename LogitOf>
  __device__ __forceinline__ double MassRms(const ClusterRows& rows, int32_t row,
                                            LogitOf logit) const {
    double rms = 0;
    for (int32_t g = 0; g < group_; ++g) {
      rms = fmax(rms, double{Weight(g, logit(g) + Correction(g, rows, row))});
    }
    return rms;
  }
  // exp(logit - reference), as a share of the first estimate of all mass.
  __device__ __forceinline__ float Weight(int32_t g, float logit) const {
    return expf(fminf(static_cast<float>(double{logit} - shared_.reference[g]), 80.0f));
  }
  __device__ __forceinline__ float* FineLogits(int32_t opened, int32_t g) const {
    return fine_logits_ + (size_t(opened) * group_ + g) * kBlockFines;
  }

  __device__ __forceinline__ void ScoreCoarse() {
    for (int32_t first = 0; first < row_.blocks; first += kTileKeys) {
      const int32_t count = min(kTileKeys, row_.blocks - first);
      StageTileInt8(
          tile_.tile, count, d_,
          [&](int32_t j) { return Coarse(first + j).Key((first + j) % kSegmentBlocks); },
          [&](int32_t j) { return Coarse(first + j).KeyScales()[(first + j) % kSegmentBlocks]; });
      __syncthreads();
      ScoreTile(tile_, group_, count, d_);
      __syncthreads();
      for (int32_t e = threadIdx.x; e < count * group_; e += kAttentionThreads) {
        const int32_t g = e / count, j = e % count, block = first + j;
        coarse_logits_[size_t(g) * row_.blocks + block] =
            Logit(g, j, Coarse(block), block % kSegmentBlocks);
      }
      __syncthreads();
    }
    const int32_t lane = threadIdx.x % kWarp;
    for (int32_t g = threadIdx.x / kWarp; g < group_; g += kAttentionWarps) {
      const float* logits = coarse_logits_ + size_t(g) * row_.blocks;
      float top = shared_.stats.max[g];
      for (int32_t b = lane; b < row_.blocks; b += kWarp) {
        top = fmaxf(top, logits[b]);
      }
      top = WarpMax(top);
      float sum = 0.0f;
      for (int32_t b = lane; b < row_.blocks; b += kWarp) {
        sum += expf(logits[b] - top);
      }
      sum = WarpSum(sum);
      if (lane == 0) {
        const double real = double{shared_.stats.sum[g]} * exp(double{shared_.stats.max[g]} - top);
        const double all = real + sum;
        shared_.reference[g] = top + log(all);
        shared_.covered[g] = real / all;
        shared_.closed[g] = sum / all;
      }
    }
    __syncthreads();
    for (int32_t b = threadIdx.x; b < row_.blocks; b += kAttentionThreads) {
      rms_[b] = MassRms(Coarse(b), b % kSegmentBlocks,
                        [&](int32_t g) { return coarse_logits_[size_t(g) * row_.blocks + b]; });
    }
    __syncthreads();
  }

  __device__ __forceinline__ bool IsEnough() const {
    double share = 0;
    for (int32_t g = 0; g < group_; ++g) {
      share = fmax(share, shared_.closed[g] / (shared_.closed[g] + shared_.covered[g]));
    }
    // All of the mass is all of the keys, whatever rounding says.
    return sequence_.mass < 1.0f && share <= 1.0 - double{sequence_.mass};
  }

  // By one warp, rms(i) for i < count: the largest that is not negative and its index, of equals
  // the first; -1 and -1: none.
  struct Largest {
    double rms;
    int32_t index;
  };
  template <typename RmsOf>
  __device__ __forceinline__ static Largest LargestOf(int32_t count, RmsOf rms_of) {
    double rms = -1;
    int32_t best = -1;
    for (int32_t i = threadIdx.x % kWarp; i < count; i += kWarp) {
      const double now = rms_of(i);
      if (now > rms || (best < 0 && now >= 0)) {
        rms = now;
        best = i;
      }
    }
#pragma unroll
    for (int32_t offset = kWarp / 2; offset > 0; offset /= 2) {
      const double other_rms = __shfl_xor_sync(kFullMask, rms, offset);
      const int32_t other = __shfl_xor_sync(kFullMask, best, offset);
      const bool take =
          other >= 0 && (best < 0 || other_rms > rms || (other_rms == rms && other < best));
      rms = take ? other_rms : rms;
      best = take ? other : best;
    }
    return {rms, best};
  }
  // By one warp: the closed node of the largest rms, coarse ones first of equals; -1: none.
  __device__ __forceinline__ int32_t LargestNode() const {
    const Largest coarse = LargestOf(row_.blocks, [this](int32_t i) { return rms_[i]; });
    const Largest block = LargestOf(shared_.opened, [this](int32_t i) { return block_rms_[i]; });
    if (block.index < 0 || (coarse.index >= 0 && coarse.rms >= block.rms)) {
      return coarse.index;
    }
    return row_.blocks + block.index * kBlockFines + LargestFine(block.index).index;
  }
  __device__ __forceinline__ Largest LargestFine(int32_t opened) const {
    const double* fines = rms_ + row_.blocks + opened * kBlockFines;
    return LargestOf(kBlockFines, [fines](int32_t f) { return fines[f]; });
  }
  // By one warp: it counts as opened from now on.
  __device__ __forceinline__ void Take(int32_t node) const {
    __syncwarp();
    if (threadIdx.x == 0) {
      rms_[node] = -1;
    }
    __syncwarp();
    if (node >= row_.blocks) {
      const int32_t opened = (node - row_.blocks) / kBlockFines;
      const Largest next = LargestFine(opened);
      if (threadIdx.x == 0) {
        block_rms_[opened] = next.rms;
      }
      __syncwarp();
    }
  }

  // What to open next: a block, or up to eight fine clusters. False: nothing more.
  __device__ __forceinline__ bool Choose() {
    if (threadIdx.x < kWarp) {
      const int32_t left = sequence_.max_keys > 0 ? sequence_.max_keys - shared_.rows : 0x7fffffff;
      int32_t count = 0, coarse = -1;
      if (shared_.done == 0 && !IsEnough()) {
        while (count < kAtOnce) {
          const int32_t node = LargestNode();
          if (node < 0 || (node < row_.blocks && count > 0)) {
            break;  // a block's turn comes after those chosen already
          }
          if (node < row_.blocks ? left < kBlockFines : left < (count + 1) * kFineTokens) {
            break;
          }
          Take(node);
          if (node < row_.blocks) {
            coarse = node;
            break;
          }
          if (threadIdx.x == 0) {
            shared_.pending[count] = node - row_.blocks;
          }
          ++count;
        }
      }
      if (threadIdx.x == 0) {
        shared_.coarse = coarse;
        shared_.pending_count = count;
      }
    }
    __syncthreads();
    return shared_.coarse >= 0 || shared_.pending_count > 0;
  }

  __device__ __forceinline__ void OpenCoarse() {
    const int32_t block = shared_.coarse, number = shared_.opened;
    const ClusterRows fine = Fine(block);
    StageTileInt8(
        tile_.tile, kBlockFines, d_, [&](int32_t j) { return fine.Key(j); },
        [&](int32_t j) { return fine.KeyScales()[j]; });
    __syncthreads();
    ScoreTile(tile_, group_, kBlockFines, d_);
    __syncthreads();
    for (int32_t g = threadIdx.x; g < group_; g += kAttentionThreads) {
      double closed =
          fmax(0.0, shared_.closed[g] - Weight(g, coarse_logits_[size_t(g) * row_.blocks + block]));
      for (int32_t f = 0; f < kBlockFines; ++f) {
        const float logit = Logit(g, f, fine, f);
        FineLogits(number, g)[f] = logit;
        closed += Weight(g, logit);
      }
      shared_.closed[g] = closed;
    }
    __syncthreads();
    for (int32_t f = threadIdx.x; f < kBlockFines; f += kAttentionThreads) {
      rms_[row_.blocks + number * kBlockFines + f] =
          MassRms(fine, f, [&](int32_t g) { return FineLogits(number, g)[f]; });
    }
    __syncthreads();
    if (threadIdx.x < kWarp) {
      const Largest largest = LargestFine(number);
      if (threadIdx.x == 0) {
        block_rms_[number] = largest.rms;
      }
    }
    if (threadIdx.x == 0) {
      opened_[number] = block;
      ++shared_.opened;
      shared_.rows += kBlockFines;
    }
    __syncthreads();
  }

  // Returns how many keys were read for good.
  __device__ __forceinline__ int32_t OpenFine() {
    const auto token = [this](int32_t j) {
      const int32_t fine = shared_.pending[j / kFineTokens];
      return sequence_.sinks + opened_[fine / kBlockFines] * kBlockTokens +
             fine % kBlockFines * kFineTokens + j % kFineTokens;
    };
    ScoreKeys(shared_.pending_count * kFineTokens, token);
    for (int32_t e = threadIdx.x; e < shared_.pending_count * group_; e += kAttentionThreads) {
      const int32_t p = e / group_, g = e % group_;
      float mass = 0.0f;
      for (int32_t j = p * kFineTokens; j < (p + 1) * kFineTokens; ++j) {
        mass += Weight(g, tile_.weights[g * kTileKeys + j]);
      }
      shared_.read_mass[p][g] = mass;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      int32_t p = 0;
      for (; p < shared_.pending_count && !IsEnough(); ++p) {
        const int32_t fine = shared_.pending[p];
        for (int32_t g = 0; g < group_; ++g) {
          const float logit = FineLogits(fine / kBlockFines, g)[fine % kBlockFines];
          shared_.closed[g] = fmax(0.0, shared_.closed[g] - Weight(g, logit));
          shared_.covered[g] += shared_.read_mass[p][g];
        }
      }
      shared_.rows += p * kFineTokens;
      shared_.accepted = p;
      shared_.done = p < shared_.pending_count ? 1 : 0;
      for (; p < shared_.pending_count; ++p) {
        rms_[row_.blocks + shared_.pending[p]] = 0;  // closed after all
      }
    }
    __syncthreads();
    const int32_t keys = shared_.accepted * kFineTokens;
    FoldKeys(keys, token);
    return keys;
  }

  // The clusters of nodes [first, first + count) that are still closed.
  template <typename LogitOf, typename Value, typename Scale>
  __device__ __forceinline__ void FoldClosed(int32_t first, int32_t count, LogitOf logit,
                                             Value value, Scale scale) {
    const auto is_closed = [this, first](int32_t j) { return !(rms_[first + j] < 0); };
    bool any = false;
    for (int32_t j = 0; j < count; ++j) {
      any = any || is_closed(j);
    }
    if (!any) {
      return;
    }
    for (int32_t e = threadIdx.x; e < count * group_; e += kAttentionThreads) {
      tile_.weights[e / count * kTileKeys + e % count] = logit(e / count, e % count);
    }
    if (threadIdx.x < static_cast<unsigned>(count) && is_closed(threadIdx.x)) {
      atomicAdd(&shared_.closed_rows, 1);
    }
    __syncthreads();
    StageTileInt8(tile_.tile, count, d_, value, scale);
    FoldStaged(count, [&](int32_t, int32_t j) { return is_closed(j); });
  }
  __device__ __forceinline__ void AddClosed() {
    for (int32_t first = 0; first < row_.blocks; first += kTileKeys) {
      FoldClosed(
          first, min(kTileKeys, row_.blocks - first),
          [&](int32_t g, int32_t j) { return coarse_logits_[size_t(g) * row_.blocks + first + j]; },
          [&](int32_t j) { return Coarse(first + j).Value((first + j) % kSegmentBlocks); },
          [&](int32_t j) { return Coarse(first + j).ValueScales()[(first + j) % kSegmentBlocks]; });
    }
    constexpr int32_t kBlocks = kTileKeys / kBlockFines;
    for (int32_t first = 0; first < shared_.opened; first += kBlocks) {
      FoldClosed(
          row_.blocks + first * kBlockFines, min(kBlocks, shared_.opened - first) * kBlockFines,
          [&](int32_t g, int32_t j) {
            return FineLogits(first + j / kBlockFines, g)[j % kBlockFines];
          },
          [&](int32_t j) { return Fine(opened_[first + j / kBlockFines]).Value(j % kBlockFines); },
          [&](int32_t j) {
            return Fine(opened_[first + j / kBlockFines]).ValueScales()[j % kBlockFines];
          });
    }
  }

  __device__ __forceinline__ void Finish(int64_t real, int64_t points, int64_t centres) {
#pragma unroll
    for (int32_t half = 0; half < 2; ++half) {
      const int32_t i = threadIdx.x + half * kAttentionThreads;
#pragma unroll
      for (int32_t g = 0; g < kPackedRows; ++g) {
        if (i < d_ && g < group_) {
          rows_.Out(row_.row, head(g))[i] = part_.value[half][g] * (1.0f / shared_.stats.sum[g]);
        }
      }
    }
    if (threadIdx.x == 0) {
      const int64_t closed = shared_.closed_rows;
      AddCount(sequence_, kCountQkExact, group_ * real);
      AddCount(sequence_, kCountPvExact, group_ * real);
      AddCount(sequence_, kCountQkCentroid, group_ * (points + centres));
      AddCount(sequence_, kCountPvCentroid, group_ * closed);
      AddCount(sequence_, kCountKvRows, 2 * real);
      AddCount(sequence_, kCountClusterBytes,
               points * d_ * static_cast<int64_t>(sizeof(float)) + centres * ClusterKeyBytes(d_) +
                   closed * ClusterValueBytes(d_));
    }
  }

  const KvLayer<E>& kv_;
  const AttentionRows& rows_;
  const SequenceWork& sequence_;
  const ClusterRow& row_;
  const OpeningShape shape_;
  const SoftmaxShared tile_;
  OpeningShared& shared_;
  const int32_t group_, d_, kv_head_;
  // Nodes: coarse clusters by block, then 32 fine ones of each opened block, in the order of
  // opening. The root mean square of its mass, the largest over the group; -1: opened.
  double* rms_;
  double* block_rms_;  // of each opened block, the largest of its closed fine clusters, or -1
  float* coarse_logits_;
  float* fine_logits_;
  int32_t* opened_;
  OutputPart part_;
};

template <typename E>
__global__ void __launch_bounds__(kAttentionThreads, 1)
    AttentionMultipoleKernel(KvLayer<E> kv, AttentionRows rows, const SequenceWork* sequences,
                             const ClusterRow* cluster_rows, void* scratch) {
  ALCCA_DYNAMIC_SHARED(float, dynamic);
  ALCCA_SHARED(OpeningShared, shared);
  const ClusterRow row = cluster_rows[blockIdx.x];
  OpeningBlock<E>(kv, rows, sequences[row.sequence], row, scratch, dynamic, shared).Answer();
}

}  // namespace

template <typename E>
void AttentionMultipole(Stream stream, const KvLayer<E>& kv, const AttentionRows& rows,
                        const SequenceWork* sequences, const ClusterRow* cluster_rows,
                        int32_t count, void* scratch) {
  Launch(AttentionMultipoleKernel<E>,
         {.name = "attention_multipole",
          .grid = {static_cast<unsigned>(count), static_cast<unsigned>(kv.kv_heads), 1},
          .block = {kAttentionThreads},
          .shared_bytes = SoftmaxShared::Bytes(kv.head_dim),
          .stream = stream},
         kv, rows, sequences, cluster_rows, scratch);
}

template void AttentionMultipole<float>(Stream, const KvLayer<float>&, const AttentionRows&,
                                        const SequenceWork*, const ClusterRow*, int32_t, void*);
template void AttentionMultipole<BFloat16>(Stream, const KvLayer<BFloat16>&, const AttentionRows&,
                                           const SequenceWork*, const ClusterRow*, int32_t, void*);

}  // namespace alcca::ALCCA_GPU
