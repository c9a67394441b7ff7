// Softmax over real keys and clusters together (kernels/key_clusters.h), one online softmax over
// the exact and the far part. The clusters that may matter most are opened next, eight in a round,
// until real keys cover the wanted mass for every query head, or max_keys rows have been read.
// Where no mass is asked for, which ones are opened is a matter of clusters alone: their keys are
// read after the last round, in whole tiles.
//
// Bound by bytes and, at one sequence, by the latency of some dozen dependent rounds: of each
// coarse cluster 2 d + 16 bytes and of an opened one 8 times that, of the sinks, the recent keys
// and at most max_keys others 2 d elements, once for all query heads of a KV head.
// Grid: tokens x KV heads, 128 threads.

#include "kernels/cuda/attention/multipole/multipole.h"

#include <algorithm>

#include "kernels/cuda/attention/tile.h"

namespace alcca::ALCCA_GPU {
namespace {

constexpr uint32_t kOpened = 0;  // the rank of an opened cluster

static_assert(kOpenedAtOnce * std::max(kFanout, kFineTokens) <= kTileKeys);

struct OpeningShared {
  SoftmaxStats stats;
  double reference[kPackedRows];   // log of the first estimate of all mass
  double covered[kPackedRows];     // mass of real keys, over that estimate; where mass < 1
  double closed[kPackedRows];      // of closed clusters
  float correction[kPackedRows];   // |query - expansion point|^2 / 2, scaled
  int32_t clusters, fines;         // about to be opened
  int32_t nodes[kOpenedAtOnce];    // the clusters,
  int32_t parents[kOpenedAtOnce];  // as OpeningShape's opened ones
  int32_t fine_nodes[kOpenedAtOnce];
  int32_t tokens[kOpenedAtOnce];  // where the fine ones' keys begin
  int32_t rows, opened;           // read for openings so far; clusters opened into others
  int32_t fines_read;             // or to be read after the last round
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
        shape_(rows.group(), row.blocks, sequence.params.max_keys),
        tile_(dynamic, kv.head_dim),
        shared_(shared),
        group_(rows.group()),
        d_(kv.head_dim),
        kv_head_(blockIdx.y) {
    auto* base =
        static_cast<unsigned char*>(scratch) + row.scratch + size_t(kv_head_) * shape_.Bytes();
    tops_ = reinterpret_cast<uint32_t*>(base);
    child_ranks_ = tops_ + row.blocks + shape_.opened_max;
    coarse_logits_ = reinterpret_cast<float*>(child_ranks_ + size_t(shape_.opened_max) * kFanout);
    child_logits_ = coarse_logits_ + size_t(group_) * row.blocks;
    opened_ =
        reinterpret_cast<int32_t*>(child_logits_ + size_t(shape_.opened_max) * group_ * kFanout);
    deferred_ = opened_ + shape_.opened_max;
  }

  __device__ __forceinline__ void Answer() {
    Start();
    const int32_t visible = row_.position + 1, sinks = min(sequence_.params.sinks, visible);
    // All of the mass is all of the keys, whatever rounding says: nothing to choose.
    const bool all = sequence_.params.mass >= 1.0f && sequence_.params.max_keys == 0;
    const int32_t old_end = all ? sinks : sinks + row_.blocks * kBlockTokens;
    ReadRange(0, sinks);
    ReadRange(old_end, visible);
    int64_t real = sinks + visible - old_end, centres = int64_t{row_.blocks} * (1 + kBlockClusters);
    if (!all && row_.blocks > 0) {
      ScoreCoarse();
      while (Choose()) {
        // Before the next barrier: after the last one of the round, warp 0 notes the next round.
        const int32_t clusters = shared_.clusters, fines = shared_.fines;
        OpenClusters(clusters);
        if (FollowsMass()) {
          OpenFines(fines);
        }
      }
      ReadDeferred();
      real += shared_.fines_read * kFineTokens;
      AddClosed();
      centres = row_.blocks + int64_t{shared_.opened} * kFanout;
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
      shared_.rows = shared_.opened = shared_.fines_read = shared_.closed_rows = shared_.done = 0;
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
  template <typename Token>
  __device__ __forceinline__ void ReadKeys(int32_t keys, Token token) {
    for (int32_t first = 0; first < keys; first += kTileKeys) {
      const auto in_tile = [&](int32_t j) { return token(first + j); };
      ScoreKeys(min(kTileKeys, keys - first), in_tile);
      FoldKeys(min(kTileKeys, keys - first), in_tile);
    }
  }
  __device__ __forceinline__ void ReadRange(int32_t begin, int32_t end) {
    ReadKeys(end - begin, [begin](int32_t j) { return begin + j; });
  }

  __device__ __forceinline__ ClusterRows Coarse(int32_t block) const {
    return ClustersAt(sequence_.state.coarses, block / kSegmentBlocks, kSegmentBlocks, kv_.layer,
                      kv_.kv_heads, kv_head_, d_);
  }
  // Of what a cluster of OpeningShape was opened into.
  __device__ __forceinline__ ClusterRows Inner(int32_t opened) const {
    return ClustersAt(sequence_.state.inners, opened / kBlockParents, kBlockClusters, kv_.layer,
                      kv_.kv_heads, kv_head_, d_);
  }
  __device__ __forceinline__ static int32_t InnerRow(int32_t opened, int32_t child) {
    return ChildRow(opened % kBlockParents, child);
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
  // In the order of the root mean square of its mass, the largest over the group; more than
  // kOpened. logit(g): its log-masses.
  template <typename LogitOf>
  __device__ __forceinline__ uint32_t MassRank(const ClusterRows& rows, int32_t row,
                                               LogitOf logit) const {
    float rms = 0;
    for (int32_t g = 0; g < group_; ++g) {
      rms = fmaxf(rms, Weight(g, logit(g) + Correction(g, rows, row)));
    }
    return __float_as_uint(rms) + 1;  // not negative, so its bits are in order
  }
  // exp(logit - reference), as a share of the first estimate of all mass.
  __device__ __forceinline__ float Weight(int32_t g, float logit) const {
    return expf(fminf(static_cast<float>(double{logit} - shared_.reference[g]), 80.0f));
  }
  // number: the how manieth opened one.
  __device__ __forceinline__ float* ChildLogits(int32_t number, int32_t g) const {
    return child_logits_ + (size_t(number) * group_ + g) * kFanout;
  }
  __device__ __forceinline__ float NodeLogit(int32_t node, int32_t g) const {
    const int32_t child = node - row_.blocks;
    return child < 0 ? coarse_logits_[size_t(g) * row_.blocks + node]
                     : ChildLogits(child / kFanout, g)[child % kFanout];
  }
  // Whether a cluster holds keys, not clusters.
  __device__ __forceinline__ bool IsFine(int32_t node) const {
    return node >= row_.blocks && opened_[(node - row_.blocks) / kFanout] % kBlockParents != 0;
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
      tops_[b] = MassRank(Coarse(b), b % kSegmentBlocks,
                          [&](int32_t g) { return coarse_logits_[size_t(g) * row_.blocks + b]; });
    }
    __syncthreads();
  }

  // All of the mass is all of the keys, whatever rounding says.
  __device__ __forceinline__ bool FollowsMass() const { return sequence_.params.mass < 1.0f; }
  __device__ __forceinline__ bool IsEnough() const {
    if (!FollowsMass()) {
      return false;
    }
    double share = 0;
    for (int32_t g = 0; g < group_; ++g) {
      share = fmax(share, shared_.closed[g] / (shared_.closed[g] + shared_.covered[g]));
    }
    return share <= 1.0 - double{sequence_.params.mass};
  }

  // By one warp: the highest of so many ranks and its index, of equals the first; kOpened and -1:
  // none is closed.
  struct Highest {
    uint32_t rank;
    int32_t index;
  };
  __device__ __forceinline__ static Highest HighestOf(const uint32_t* ranks, int32_t count) {
    uint32_t rank = kOpened;
    int32_t index = count;
    for (int32_t i = threadIdx.x % kWarp; i < count; i += kWarp) {
      const uint32_t now = ranks[i];
      index = now > rank ? i : index;
      rank = max(rank, now);
    }
    const uint32_t highest = __reduce_max_sync(kFullMask, rank);
    const int32_t first = __reduce_min_sync(kFullMask, rank == highest ? index : count);
    return {highest, highest == kOpened ? -1 : first};
  }
  __device__ __forceinline__ uint32_t* ChildRanks(int32_t number) const {
    return child_ranks_ + size_t(number) * kFanout;
  }
  // By one warp: the closed node of the highest rank, coarse ones first of equals; -1: none.
  __device__ __forceinline__ int32_t HighestNode() const {
    const int32_t top = HighestOf(tops_, row_.blocks + shared_.opened).index;
    if (top < row_.blocks) {
      return top;
    }
    const int32_t number = top - row_.blocks;
    return row_.blocks + number * kFanout + HighestOf(ChildRanks(number), kFanout).index;
  }
  // By one warp: it counts as opened from now on.
  __device__ __forceinline__ void Take(int32_t node) const {
    const int32_t child = node - row_.blocks, number = child / kFanout;
    __syncwarp();
    if (threadIdx.x == 0) {
      (child < 0 ? tops_[node] : child_ranks_[child]) = kOpened;
    }
    __syncwarp();
    if (child >= 0) {
      const Highest next = HighestOf(ChildRanks(number), kFanout);
      if (threadIdx.x == 0) {
        tops_[row_.blocks + number] = next.rank;
      }
      __syncwarp();
    }
  }
  // By one thread: notes what its round opens.
  __device__ __forceinline__ void Note(int32_t node, bool is_fine) {
    const int32_t child = node - row_.blocks;
    if (is_fine) {
      const int32_t opened = opened_[child / kFanout];
      const int32_t token = sequence_.params.sinks + opened / kBlockParents * kBlockTokens +
                            FineToken(InnerRow(opened, child % kFanout));
      if (FollowsMass()) {
        shared_.fine_nodes[shared_.fines] = node;
        shared_.tokens[shared_.fines] = token;
      } else {
        deferred_[shared_.fines_read] = token;
      }
      ++shared_.fines;
      ++shared_.fines_read;
    } else {
      shared_.nodes[shared_.clusters] = node;
      shared_.parents[shared_.clusters] =
          child < 0 ? node * kBlockParents : opened_[child / kFanout] + 1 + child % kFanout;
      ++shared_.clusters;
    }
  }

  // What the next round opens that the block has to read now; rounds without go by. False: nothing
  // more.
  __device__ __forceinline__ bool Choose() {
    if (threadIdx.x < kWarp) {
      int32_t rows = shared_.rows, clusters = 0, fines = 0;
      bool fits = shared_.done == 0 && !IsEnough();
      do {
        clusters = fines = 0;
        __syncwarp();
        if (threadIdx.x == 0) {
          shared_.clusters = shared_.fines = 0;
        }
        while (fits && clusters + fines < kOpenedAtOnce) {
          const int32_t node = HighestNode();
          if (node < 0) {
            break;
          }
          const bool is_fine = IsFine(node);
          rows += is_fine ? kFineTokens : kFanout;
          fits = sequence_.params.max_keys == 0 || rows <= sequence_.params.max_keys;
          if (fits) {
            Take(node);
            ++(is_fine ? fines : clusters);
            if (threadIdx.x == 0) {
              Note(node, is_fine);
              shared_.rows = rows;
            }
          }
        }
      } while (fits && !FollowsMass() && clusters == 0 && fines > 0);
      if (threadIdx.x == 0) {
        shared_.done = fits ? 0 : 1;
      }
    }
    __syncthreads();
    return shared_.clusters + (FollowsMass() ? shared_.fines : 0) > 0;
  }

  __device__ __forceinline__ void OpenClusters(int32_t clusters) {
    const int32_t first = shared_.opened, count = clusters * kFanout;
    if (count == 0) {
      return;
    }
    const auto parent = [this](int32_t j) { return shared_.parents[j / kFanout]; };
    const auto row = [&](int32_t j) { return InnerRow(parent(j), j % kFanout); };
    StageTileInt8(
        tile_.tile, count, d_, [&](int32_t j) { return Inner(parent(j)).Key(row(j)); },
        [&](int32_t j) { return Inner(parent(j)).KeyScales()[row(j)]; });
    __syncthreads();
    ScoreTile(tile_, group_, count, d_);
    __syncthreads();
    for (int32_t e = threadIdx.x; e < count * group_; e += kAttentionThreads) {
      const int32_t g = e / count, j = e % count;
      ChildLogits(first + j / kFanout, g)[j % kFanout] = Logit(g, j, Inner(parent(j)), row(j));
    }
    __syncthreads();
    for (int32_t j = threadIdx.x; j < count; j += kAttentionThreads) {
      ChildRanks(first)[j] = MassRank(Inner(parent(j)), row(j), [&](int32_t g) {
        return ChildLogits(first + j / kFanout, g)[j % kFanout];
      });
    }
    for (int32_t g = threadIdx.x; FollowsMass() && g < group_; g += kAttentionThreads) {
      double closed = shared_.closed[g];
      for (int32_t c = 0; c < clusters; ++c) {
        closed = fmax(0.0, closed - Weight(g, NodeLogit(shared_.nodes[c], g)));
        for (int32_t i = 0; i < kFanout; ++i) {
          closed += Weight(g, ChildLogits(first + c, g)[i]);
        }
      }
      shared_.closed[g] = closed;
    }
    __syncthreads();
    for (int32_t c = threadIdx.x; c < clusters; c += kAttentionThreads) {
      uint32_t highest = kOpened;
      for (int32_t i = 0; i < kFanout; ++i) {
        highest = max(highest, ChildRanks(first + c)[i]);
      }
      tops_[row_.blocks + first + c] = highest;
      opened_[first + c] = shared_.parents[c];
    }
    if (threadIdx.x == 0) {
      shared_.opened = first + clusters;
    }
    __syncthreads();
  }

  __device__ __forceinline__ void OpenFines(int32_t fines) {
    const int32_t keys = fines * kFineTokens;
    if (keys == 0) {
      return;
    }
    const auto token = [this](int32_t j) {
      return shared_.tokens[j / kFineTokens] + j % kFineTokens;
    };
    ScoreKeys(keys, token);
    for (int32_t g = threadIdx.x; FollowsMass() && g < group_; g += kAttentionThreads) {
      double closed = shared_.closed[g], covered = shared_.covered[g];
      for (int32_t f = 0; f < fines; ++f) {
        closed = fmax(0.0, closed - Weight(g, NodeLogit(shared_.fine_nodes[f], g)));
        for (int32_t j = f * kFineTokens; j < (f + 1) * kFineTokens; ++j) {
          covered += Weight(g, tile_.weights[g * kTileKeys + j]);
        }
      }
      shared_.closed[g] = closed;
      shared_.covered[g] = covered;
    }
    __syncthreads();
    FoldKeys(keys, token);
  }
  __device__ __forceinline__ void ReadDeferred() {
    ReadKeys(FollowsMass() ? 0 : shared_.fines_read * kFineTokens,
             [this](int32_t j) { return deferred_[j / kFineTokens] + j % kFineTokens; });
  }

  // Of `count` clusters those that are still closed.
  template <typename LogitOf, typename Value, typename Scale>
  __device__ __forceinline__ void FoldClosed(const uint32_t* ranks, int32_t count, LogitOf logit,
                                             Value value, Scale scale) {
    const auto is_closed = [ranks](int32_t j) { return ranks[j] != kOpened; };
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
          tops_ + first, min(kTileKeys, row_.blocks - first),
          [&](int32_t g, int32_t j) { return coarse_logits_[size_t(g) * row_.blocks + first + j]; },
          [&](int32_t j) { return Coarse(first + j).Value((first + j) % kSegmentBlocks); },
          [&](int32_t j) { return Coarse(first + j).ValueScales()[(first + j) % kSegmentBlocks]; });
    }
    constexpr int32_t kClusters = kTileKeys / kFanout;
    for (int32_t first = 0; first < shared_.opened; first += kClusters) {
      const auto opened = [this, first](int32_t j) { return opened_[first + j / kFanout]; };
      const auto row = [&](int32_t j) { return InnerRow(opened(j), j % kFanout); };
      FoldClosed(
          ChildRanks(first), min(kClusters, shared_.opened - first) * kFanout,
          [&](int32_t g, int32_t j) { return ChildLogits(first + j / kFanout, g)[j % kFanout]; },
          [&](int32_t j) { return Inner(opened(j)).Value(row(j)); },
          [&](int32_t j) { return Inner(opened(j)).ValueScales()[row(j)]; });
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
  // Nodes: coarse clusters by block, then those in each opened one, in the order of opening.
  // MassRank or kOpened: of the coarse ones, then the highest in each opened one; in those all.
  uint32_t* tops_;
  uint32_t* child_ranks_;
  float* coarse_logits_;
  float* child_logits_;
  int32_t* opened_;
  int32_t* deferred_;  // where the keys of each of fines_read begin
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
