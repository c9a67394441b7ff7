// The tree of keys (kernels/key_index.h, MakeTreeKeyIndex), built and searched on the device.
//
// Insertion is by definition one key after the other, but keys that stand at different leaves do
// not meet: all keys of a chunk descend at once, at each leaf the oldest one waiting splits it,
// and the rest goes on. That takes as many rounds as the tree grows levels, and gives the tree of
// insertion in order, link by link. Nodes carry their key's position for an age, so that a query
// searches the tree as it was at its own position (TreeNode).
//
// Bound by latency: dependent reads of 32-byte nodes, some log2(n) a key; a split reads two keys
// (2 d elements). Grid: runs x KV heads, 128 threads. The search: for each query head some dozens
// of dependent node reads and `distances` keys of d elements. Grid: tokens x KV heads, 128 threads,
// a warp a query head.

#include "kernels/cuda/attention/alcca/tree.h"

#include <algorithm>
#include <cstddef>

#include "attention/params.h"
#include "kernels/cuda/attention/select.h"

namespace alcca::ALCCA_GPU {
namespace {

constexpr int32_t kNobody = 0x7fffffff;  // waits at a link
constexpr int32_t kRootSlot = -1;        // a slot: 2 * node + child, or this
constexpr int32_t kOnItsWay = -2;        // axis of a key not inserted yet
constexpr int32_t kMomentKeys = 256;     // coordinates' variances are over this many first keys

template <typename E>
class Tree {
 public:
  __device__ Tree(const KvLayer<E>& kv, const SequenceWork& sequence, int32_t kv_head)
      : kv_(kv),
        sequence_(sequence),
        kv_head_(kv_head),
        moments_(sequence.state.sums +
                 ((size_t(kv.layer) * kv.kv_heads + kv_head) * 4 + 2) * kv.head_dim),
        root_(sequence.state.roots + (size_t(kv.layer) * kv.kv_heads + kv_head) * 2) {}

  __device__ __forceinline__ TreeNode& node(int32_t position) const {
    return *sequence_.Node(kv_.layer, kv_.kv_heads, kv_head_, position);
  }
  __device__ __forceinline__ const E* key(int32_t position) const {
    return kv_.keys + kv_.Row(sequence_.pages, kv_head_, position);
  }
  __device__ __forceinline__ int32_t& link(int32_t slot) const {
    return slot == kRootSlot ? root_[0] : node(slot >> 1).child[slot & 1];
  }
  __device__ __forceinline__ int32_t& claim(int32_t slot) const {
    return slot == kRootSlot ? root_[1] : node(slot >> 1).claim[slot & 1];
  }

  // By the block: the sums and squares of the first 256 keys.
  __device__ __forceinline__ void AddMoments(int32_t first, int32_t end) {
    const int32_t d = kv_.head_dim;
    end = min(end, kMomentKeys);
    for (int32_t i = threadIdx.x; i < d && first < end; i += kAttentionThreads) {
      double sum = first == 0 ? 0.0 : moments_[i], squares = first == 0 ? 0.0 : moments_[d + i];
      AddMoments(first, end, i, sum, squares);
      moments_[i] = sum;
      moments_[d + i] = squares;
    }
  }

  __device__ __forceinline__ void Enter(int32_t position) {
    node(position) = {.cut = 0.0f,
                      .axis = kOnItsWay,
                      .child = {kRootSlot, 0},
                      .other = 0,
                      .next_equal = -1,
                      .claim = {kNobody, kNobody}};
  }
  __device__ __forceinline__ bool IsOnItsWay(int32_t position) const {
    return node(position).axis == kOnItsWay;
  }

  // Down to the leaf, where it is said who waits.
  __device__ __forceinline__ void Descend(int32_t position) {
    TreeNode& own = node(position);
    const E* x = key(position);
    int32_t slot = own.child[0];
    for (int32_t next = link(slot); next >= 0; next = link(slot)) {
      const TreeNode& parent = node(next);
      slot = 2 * next + (ToFloat(x[parent.axis]) < parent.cut ? 0 : 1);
    }
    own.child[0] = slot;
    atomicMin(&claim(slot), position);
  }
  __device__ __forceinline__ bool IsFirstInLine(int32_t position) const {
    return IsOnItsWay(position) && claim(node(position).child[0]) == position;
  }

  // By a warp: the leaf where `position` is first in line becomes a node over its key and this one,
  // or takes this key in.
  __device__ __forceinline__ void Split(int32_t position) {
    const int32_t lane = threadIdx.x % kWarp, d = kv_.head_dim;
    const int32_t slot = node(position).child[0];
    const int32_t leaf = link(slot), other = ~leaf;
    const E* a = key(position);
    const E* b = key(other);
    double widest = 0;
    int32_t axis = d;  // none
    for (int32_t i = lane; i < d; i += kWarp) {
      const double gap = double{ToFloat(a[i])} - ToFloat(b[i]);
      const double width = gap * gap * Variance(position, i);
      if (width > widest) {
        widest = width;
        axis = i;
      }
    }
#pragma unroll
    for (int32_t offset = kWarp / 2; offset > 0; offset /= 2) {
      const double width = __shfl_xor_sync(kFullMask, widest, offset);
      const int32_t at = __shfl_xor_sync(kFullMask, axis, offset);
      const bool better = width > widest || (width == widest && at < axis);
      widest = better ? width : widest;
      axis = better ? at : axis;
    }
    __syncwarp();
    if (lane == 0) {
      TreeNode& own = node(position);
      const float x = axis < d ? ToFloat(a[axis]) : 0.0f, y = axis < d ? ToFloat(b[axis]) : 0.0f;
      const float cut = x + 0.5f * (y - x);
      // Equal as far as the weights go, or so close that no number lies between.
      if (axis >= d || (x < cut) == (y < cut)) {
        own.axis = -1;
        own.next_equal = node(other).next_equal;
        node(other).next_equal = position;
        claim(slot) = kNobody;
        return;
      }
      const int32_t side = x < cut ? 0 : 1;
      own.axis = axis;
      own.cut = cut;
      own.other = other;
      own.child[side] = ~position;
      own.child[1 - side] = leaf;
      link(slot) = position;
    }
  }

  __device__ __forceinline__ void PlantRoot() {
    node(0).axis = -1;
    root_[0] = ~0;
    root_[1] = kNobody;
  }
  __device__ __forceinline__ int32_t root() const {
    return root_[0];
  }

 private:
  __device__ __forceinline__ void AddMoments(int32_t first, int32_t end, int32_t i, double& sum,
                                             double& squares) const {
    for (int32_t t = first; t < end; ++t) {
      const double x = ToFloat(key(t)[i]);
      sum += x;
      squares += x * x;
    }
  }
  // Of coordinate i over the first 256 keys up to `position`.
  __device__ __forceinline__ double Variance(int32_t position, int32_t i) const {
    const int32_t count = min(position + 1, kMomentKeys);
    double sum = 0, squares = 0;
    if (count == kMomentKeys) {
      sum = moments_[i];
      squares = moments_[kv_.head_dim + i];
    } else {  // the stored ones may be of later keys already
      AddMoments(0, count, i, sum, squares);
    }
    const double mean = sum / count;
    return squares / count - mean * mean;
  }

  const KvLayer<E>& kv_;
  const SequenceWork& sequence_;
  const int32_t kv_head_;
  double* moments_;  // [2][head_dim]
  int32_t* root_;    // link, claim
};

template <typename E>
__global__ void __launch_bounds__(kAttentionThreads, 1)
    InsertKeysKernel(KvLayer<E> kv, SearchWave wave) {
  const SearchRun run = wave.tree_runs[blockIdx.x];
  const SearchRow first_row = wave.rows[run.first];
  const int32_t first = first_row.position - run.before, end = first_row.position + run.count;
  const int32_t lane = threadIdx.x % kWarp;
  Tree<E> tree(kv, wave.sequences[first_row.sequence], blockIdx.y);
  tree.AddMoments(first, end);
  for (int32_t p = first + static_cast<int32_t>(threadIdx.x); p < end; p += kAttentionThreads) {
    tree.Enter(p);
    if (p == 0) {
      tree.PlantRoot();
    }
  }
  for (;;) {
    __syncthreads();
    bool waits = false;
    for (int32_t p = first + static_cast<int32_t>(threadIdx.x); p < end; p += kAttentionThreads) {
      if (tree.IsOnItsWay(p)) {
        tree.Descend(p);
        waits = true;
      }
    }
    if (__syncthreads_or(waits) == 0) {
      return;
    }
    for (int32_t base = first + static_cast<int32_t>(threadIdx.x) / kWarp * kWarp; base < end;
         base += kAttentionThreads) {
      uint32_t splitting =
          __ballot_sync(kFullMask, base + lane < end && tree.IsFirstInLine(base + lane));
      for (; splitting != 0; splitting &= splitting - 1) {
        tree.Split(base + __ffs(static_cast<int32_t>(splitting)) - 1);
      }
    }
  }
}

// A subtree not opened yet, at least `bound` away (squared).
struct Branch {
  float bound;
  int32_t order;  // equal bounds: first come, first opened
  int32_t link;
};
// Branches a warp remembers. A search pops at most distances + recent of them, so the best so many
// are all it can need.
struct BranchList {
  Branch* branches;
  int32_t size, most;

  // By a warp. Rank: bound, then order.
  template <typename Better>
  __device__ __forceinline__ int32_t Find(Better better) const {
    int32_t best = -1;
    for (int32_t b = threadIdx.x % kWarp; b < size; b += kWarp) {
      best = best < 0 || better(branches[b], branches[best]) ? b : best;
    }
#pragma unroll
    for (int32_t offset = kWarp / 2; offset > 0; offset /= 2) {
      const int32_t other = __shfl_xor_sync(kFullMask, best, offset);
      const bool take = other >= 0 && (best < 0 || better(branches[other], branches[best]));
      best = take ? other : best;
    }
    return best;
  }
  static __device__ __forceinline__ bool Nearer(const Branch& a, const Branch& b) {
    // Not negative, so bits are in order; NaN, of a query that is none, comes last.
    const uint32_t x = __float_as_uint(a.bound), y = __float_as_uint(b.bound);
    return x < y || (x == y && a.order < b.order);
  }
  __device__ __forceinline__ void Push(const Branch& branch) {
    int32_t at = size;
    if (size == most) {
      at = Find([](const Branch& a, const Branch& b) { return Nearer(b, a); });
      if (!Nearer(branch, branches[at])) {
        return;
      }
    } else {
      ++size;
    }
    __syncwarp();
    if (threadIdx.x % kWarp == 0) {
      branches[at] = branch;
    }
    __syncwarp();
  }
  __device__ __forceinline__ Branch Pop() {
    const int32_t at = Find(Nearer);
    const Branch branch = branches[at];
    __syncwarp();
    if (threadIdx.x % kWarp == 0) {
      branches[at] = branches[size - 1];
    }
    --size;
    __syncwarp();
    return branch;
  }
};

// By a warp: positions of the keys that query q compares, in `compared`; returns how many.
template <typename E>
__device__ __forceinline__ int32_t CollectKeys(const Tree<E>& tree, const SequenceWork& sequence,
                                               const float* q, int32_t position, int32_t* compared,
                                               BranchList list, int64_t& comparisons) {
  const int32_t most = sequence.params.tree_distances;
  const int32_t recent_from = max(0, position + 1 - sequence.params.tree_recent);
  int32_t count = position + 1 - recent_from;
  for (int32_t e = threadIdx.x % kWarp; e < count; e += kWarp) {
    compared[e] = recent_from + e;
  }
  int32_t order = 0;
  list.size = 0;
  list.Push({0.0f, 0, tree.root()});
  while (list.size > 0 && count < most) {
    const Branch branch = list.Pop();
    int32_t link = branch.link;
    for (; link >= 0; ++comparisons) {
      const TreeNode& node = tree.node(link);
      if (link > position) {  // younger than the query: it was a leaf
        link = ~node.other;
        break;
      }
      const float gap = q[node.axis] - node.cut;
      const int32_t side = gap < 0 ? 0 : 1;
      list.Push({branch.bound + gap * gap, ++order, node.child[1 - side]});
      link = node.child[side];
    }
    for (int32_t key = ~link; key >= 0 && count < most; key = tree.node(key).next_equal) {
      if (key < recent_from) {  // so no younger than the query
        if (threadIdx.x % kWarp == 0) {
          compared[count] = key;
        }
        ++count;
      }
    }
  }
  __syncwarp();
  return count;
}

// What a warp of the search keeps: branches, and as many positions beside them (distances <=
// branches_max).
size_t SearchWarpBytes(int32_t branches_max) {
  return size_t(branches_max) * (sizeof(Branch) + sizeof(int32_t));
}
// Fewer warps where a request wants many branches: every card that we run on has 96 KiB a block to
// give, and the most that a request can ask for (2 kKeysMax of them) is 64 KiB a warp.
int32_t SearchWarps(int32_t branches_max) {
  const size_t fit = (size_t{96} << 10) / SearchWarpBytes(std::max(branches_max, 1));
  return static_cast<int32_t>(std::min<size_t>(kAttentionWarps, std::max<size_t>(fit, 1)));
}

constexpr int32_t kGroupMax = 64;

template <typename E>
__global__ void __launch_bounds__(kAttentionThreads, 1)
    SearchTreesKernel(KvLayer<E> kv, AttentionRows rows, SearchWave wave) {
  ALCCA_DYNAMIC_SHARED(Branch, dynamic);
  ALCCA_SHARED(int32_t[kGroupMax], counts);
  ALCCA_SHARED(int32_t, keys_read);
  const int32_t r = blockIdx.x, kv_head = blockIdx.y, group = rows.group(), d = kv.head_dim;
  const SearchRow row = wave.rows[r];
  const SequenceWork& sequence = wave.sequences[row.sequence];
  if (!sequence.is_tree) {
    return;
  }
  const int32_t lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int32_t threads = blockDim.x, warps = threads / kWarp;  // kAttentionThreads or fewer
  const Tree<E> tree(kv, sequence, kv_head);
  Branch* branches = dynamic + warp * wave.branches_max;
  int32_t* compared =
      reinterpret_cast<int32_t*>(dynamic + warps * wave.branches_max) + warp * wave.branches_max;
  if (threadIdx.x == 0) {
    keys_read = 0;
  }
  for (int32_t g = warp; g < group; g += warps) {
    const int32_t head = kv_head * group + g;
    int32_t count = 0;
    if (wave.near[size_t(r) * rows.heads + head] == 0) {
      const float* q = rows.Query(row.row, head);
      int64_t comparisons = 0;
      count = CollectKeys(
          tree, sequence, q, row.position, compared,
          {branches, 0, sequence.params.tree_distances + sequence.params.tree_recent}, comparisons);
      Candidate* list = wave.candidates + row.List(head);
      for (int32_t e = lane; e < row.keep; e += kWarp) {
        if (e >= count) {
          list[e] = {kAbsent, 0x7fffffff};
          continue;
        }
        int32_t rank = 0;  // lists ascend by key
        for (int32_t other = 0; other < count; ++other) {
          rank += compared[other] < compared[e] ? 1 : 0;
        }
        list[rank] = {OrderOfDistance(SquaredDistance(q, tree.key(compared[e]), d)), compared[e]};
      }
      if (lane == 0) {
        AddCount(sequence, kCountComparisons, comparisons);
        AddCount(sequence, kCountQkExact, count);
      }
    }
    if (lane == 0) {
      counts[g] = count;
    }
    __syncwarp();
  }
  __syncthreads();
  // Keys are read once for the group.
  for (int32_t g = 0; g < group; ++g) {
    const Candidate* list = wave.candidates + row.List(kv_head * group + g);
    int32_t different = 0;
    for (int32_t e = threadIdx.x; e < counts[g]; e += threads) {
      bool seen = false;
      for (int32_t other = 0; other < g && !seen; ++other) {
        seen = HoldsKey(wave.candidates + row.List(kv_head * group + other), counts[other],
                        list[e].key);
      }
      different += seen ? 0 : 1;
    }
    atomicAdd(&keys_read, different);
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    AddCount(sequence, kCountKvRows, keys_read);
  }
}

// A key was found rightly where fewer than k keys of the prefix are nearer. Grid: tokens x heads.
template <typename E>
__global__ void __launch_bounds__(kAttentionThreads)
    CheckRecallKernel(KvLayer<E> kv, AttentionRows rows, SearchWave wave) {
  ALCCA_SHARED(int32_t[2048], nearer);  // kKeysMax of attention_params.h
  ALCCA_SHARED(int32_t, right);
  const int32_t r = blockIdx.x, head = blockIdx.y, d = kv.head_dim;
  const SearchRow row = wave.rows[r];
  const SequenceWork& sequence = wave.sequences[row.sequence];
  if (!sequence.is_tree || wave.near[size_t(r) * rows.heads + head] != 0 ||
      !IsSampled(kv.layer, head, row.position, sequence.params.recall_sample)) {
    return;
  }
  const int32_t found = wave.found[size_t(r) * rows.heads + head];
  const Candidate* list = wave.candidates + row.List(head);
  const float* q = rows.Query(row.row, head);
  for (int32_t e = threadIdx.x; e < found; e += kAttentionThreads) {
    nearer[e] = 0;
  }
  if (threadIdx.x == 0) {
    right = 0;
  }
  __syncthreads();
  for (int32_t key = threadIdx.x; key <= row.position; key += kAttentionThreads) {
    const E* x = kv.keys + kv.Row(sequence.pages, head / rows.group(), key);
    const uint32_t order = OrderOfDistance(SquaredDistance(q, x, d));
    for (int32_t e = 0; e < found; ++e) {
      if (order < list[e].order || (order == list[e].order && key < list[e].key)) {
        atomicAdd(&nearer[e], 1);
      }
    }
  }
  __syncthreads();
  const int32_t wanted = min(sequence.KeysWanted(kv.layer, rows.heads, head), row.position + 1);
  for (int32_t e = threadIdx.x; e < found; e += kAttentionThreads) {
    if (nearer[e] < wanted) {
      atomicAdd(&right, 1);
    }
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    AddCount(sequence, kCountRecallWanted, wanted);
    AddCount(sequence, kCountRecallFound, right);
  }
}

}  // namespace

template <typename E>
void SearchTrees(Stream stream, const KvLayer<E>& kv, const AttentionRows& rows,
                 const SearchWave& wave) {
  const auto kv_heads = static_cast<unsigned>(kv.kv_heads);
  Launch(InsertKeysKernel<E>,
         {.name = "tree_insert",
          .grid = {static_cast<unsigned>(wave.tree_run_count), kv_heads, 1},
          .block = {kAttentionThreads},
          .stream = stream},
         kv, wave);
  Launch(SearchTreesKernel<E>,
         {.name = "tree_search",
          .grid = {static_cast<unsigned>(wave.row_count), kv_heads, 1},
          .block = {static_cast<unsigned>(SearchWarps(wave.branches_max) * kWarp)},
          .shared_bytes = SearchWarps(wave.branches_max) * SearchWarpBytes(wave.branches_max),
          .stream = stream},
         kv, rows, wave);
}

template <typename E>
void CheckRecall(Stream stream, const KvLayer<E>& kv, const AttentionRows& rows,
                 const SearchWave& wave) {
  Launch(CheckRecallKernel<E>,
         {.name = "check_recall",
          .grid = {static_cast<unsigned>(wave.row_count), static_cast<unsigned>(rows.heads), 1},
          .block = {kAttentionThreads},
          .stream = stream},
         kv, rows, wave);
}

template void SearchTrees<float>(Stream, const KvLayer<float>&, const AttentionRows&,
                                 const SearchWave&);
template void SearchTrees<BFloat16>(Stream, const KvLayer<BFloat16>&, const AttentionRows&,
                                    const SearchWave&);
template void CheckRecall<float>(Stream, const KvLayer<float>&, const AttentionRows&,
                                 const SearchWave&);
template void CheckRecall<BFloat16>(Stream, const KvLayer<BFloat16>&, const AttentionRows&,
                                    const SearchWave&);

}  // namespace alcca::ALCCA_GPU
