// Gather, search, refine: see key_search_faiss.h.

#include "kernels/cuda/attention/alcca/faiss_search.h"

#include <algorithm>
#include <limits>

#include "base/check.h"
#include "base/status_macros.h"
#include "kernels/cuda/attention/work.h"
#include "kernels/cuda/device_words/simt.h"

namespace alcca::ALCCA_GPU {
namespace {

constexpr int32_t kRefineThreads = 128;  // of a refining block; also keys it looks at in one turn
constexpr int32_t kGatherThreads = 256;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Candidates to ask FAISS for: its selection works in powers of two from 32, so the slack is free.
int32_t CandidateCount(int32_t k) {
  int32_t count = 32;
  while (count < k + 8) {
    count *= 2;
  }
  return std::min(count, kFlatKnnMax);
}

template <typename T>
__device__ __forceinline__ const T* KeyAt(const KeyPages<T>& keys, int32_t d, int32_t position) {
  const int64_t page = keys.pages[position / keys.page_tokens];
  return keys.keys + page * keys.page_stride + int64_t{position % keys.page_tokens} * d;
}

// A warp per row: queries of every head of the group, row by row.
template <typename T>
__global__ void GatherQueries(float* out, GroupQueries<T> in, int32_t d) {
  const int32_t at = (blockIdx.x * blockDim.x + threadIdx.x) / kWarp;
  if (at >= in.rows * in.group) {
    return;
  }
  const T* from = in.queries + at / in.group * in.row_stride + int64_t{at % in.group} * d;
  for (int32_t i = threadIdx.x % kWarp; i < d; i += kWarp) {
    out[int64_t{at} * d + i] = ToFloat(from[i]);
  }
}

// A warp per key: keys [first, first + count) to rows 0.., and their squared norms. Bound by
// memory: reads count * d elements, writes as many floats.
template <typename T>
__global__ void GatherKeys(float* out, float* norms, KeyPages<T> keys, int32_t first, int32_t count,
                           int32_t d) {
  const int32_t at = (blockIdx.x * blockDim.x + threadIdx.x) / kWarp;
  if (at >= count) {
    return;
  }
  const T* from = KeyAt(keys, d, first + at);
  float norm = 0.0f;
  for (int32_t i = threadIdx.x % kWarp; i < d; i += kWarp) {
    const float x = ToFloat(from[i]);
    out[int64_t{at} * d + i] = x;
    norm += x * x;
  }
  norm = WarpSum(norm);
  if (threadIdx.x % kWarp == 0) {
    norms[at] = norm;
  }
}

// (distance, position), the one order of all backends.
__device__ __forceinline__ bool Nearer(NearestKey a, NearestKey b) {
  return a.squared_distance < b.squared_distance ||
         (a.squared_distance == b.squared_distance && a.key < b.key);
}

// The ascending list of at most k in shared memory, and room for the next one.
struct List {
  NearestKey* now;
  NearestKey* next;
  int32_t size;
  int32_t k;
};

// Merges turn[0, kRefineThreads), in no order, key -1 for none, into the list. Every element finds
// its place by counting the smaller ones; all pairs (distance, key) are distinct. Called by all
// threads after a barrier; ends with one.
__device__ void Merge(List& list, const NearestKey* turn) {
  const NearestKey mine = turn[threadIdx.x];
  const bool candidate =
      mine.key >= 0 && (list.size < list.k || Nearer(mine, list.now[list.k - 1]));
  if (!__syncthreads_or(candidate)) {
    return;
  }
  int32_t newcomers = 0;
  for (int32_t i = 0; i < kRefineThreads; ++i) {
    newcomers += turn[i].key >= 0;
  }
  if (mine.key >= 0) {
    int32_t low = 0, high = list.size;  // list elements nearer than mine
    while (low < high) {
      const int32_t middle = (low + high) / 2;
      if (Nearer(list.now[middle], mine)) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    for (int32_t i = 0; i < kRefineThreads; ++i) {
      low += turn[i].key >= 0 && Nearer(turn[i], mine);
    }
    if (low < list.k) {
      list.next[low] = mine;
    }
  }
  for (int32_t j = threadIdx.x; j < list.size; j += kRefineThreads) {
    int32_t place = j;
    for (int32_t i = 0; i < kRefineThreads; ++i) {
      place += turn[i].key >= 0 && Nearer(turn[i], list.now[j]);
    }
    if (place < list.k) {
      list.next[place] = list.now[j];
    }
  }
  list.size = min(list.size + newcomers, list.k);
  NearestKey* const written = list.next;
  list.next = list.now;
  list.now = written;
  __syncthreads();
}

template <typename T>
struct RefineArgs {
  KeyPages<T> keys;
  int32_t head_dim, group, k;
  const int32_t* head_k;         // [group] or null
  const float* queries;          // [*, head_dim] of all rows
  int32_t first_query;           // of this block of queries
  int32_t first_prefix;          // as in GroupQueries
  int32_t piece, piece_keys;     // FAISS saw keys [piece, piece + piece_keys)
  int32_t candidate_count;       // per query; 0: there was no piece
  const float* distances;        // [queries of the block, candidate_count]
  const int32_t* candidates;     // rows of the piece
  bool first_piece, last_piece;  // the last one is followed by what the row alone sees
  NearestKey* out;               // [*, k] of all rows
  unsigned long long* scans;
};

// Puts the keys that position(0..count) names into the list, kRefineThreads a turn, a key a thread:
// a sum over the warp would be in another order than SearchKeys', whose bits these are. A position
// below 0 is none.
template <typename T, typename Position>
__device__ void AddKeys(List& list, NearestKey* turn, const float* query, const RefineArgs<T>& args,
                        int32_t count, Position position) {
  for (int32_t begin = 0; begin < count; begin += kRefineThreads) {
    const int32_t i = begin + static_cast<int32_t>(threadIdx.x);
    const int32_t key = i < count ? position(i) : -1;
    NearestKey found = {0.0f, -1};
    if (key >= 0) {
      found.squared_distance =
          SquaredDistance(query, KeyAt(args.keys, args.head_dim, key), args.head_dim);
      found.key = found.squared_distance == found.squared_distance ? key : -1;  // NaN is never in
    }
    turn[threadIdx.x] = found;
    __syncthreads();
    Merge(list, turn);
    __syncthreads();  // `turn` is free again
  }
}

// The list that earlier pieces left in `out`.
__device__ void LoadList(List& list, const NearestKey* out) {
  for (int32_t i = threadIdx.x; i < list.k; i += kRefineThreads) {
    list.now[i] = out[i];
  }
  __syncthreads();
  int32_t low = 0, high = list.k;
  while (low < high) {
    const int32_t middle = (low + high) / 2;
    if (list.now[middle].key >= 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  list.size = low;
}

// A block per query. Reads candidate_count scattered keys and the query's own tail of the prefix;
// the whole piece only where FAISS' rounding leaves the answer open.
template <typename T>
__global__ void __launch_bounds__(kRefineThreads, 8) RefineNearest(RefineArgs<T> args) {
  ALCCA_DYNAMIC_SHARED(NearestKey, lists);  // 2 * k, then the query
  ALCCA_SHARED(NearestKey[kRefineThreads], turn);
  const int32_t at = args.first_query + blockIdx.x;  // among all queries
  const int32_t d = args.head_dim;
  float* const query = reinterpret_cast<float*>(lists + 2 * args.k);
  for (int32_t i = threadIdx.x; i < d; i += kRefineThreads) {
    query[i] = args.queries[int64_t{at} * d + i];
  }
  NearestKey* const out = args.out + int64_t{at} * args.k;
  List list = {lists, lists + args.k, 0,
               args.head_k != nullptr ? min(args.head_k[at % args.group], args.k) : args.k};
  if (!args.first_piece) {
    LoadList(list, out);
  }
  __syncthreads();

  if (args.candidate_count > 0) {
    const int64_t row = int64_t{blockIdx.x} * args.candidate_count;
    const int32_t* const candidates = args.candidates + row;
    AddKeys(list, turn, query, args, args.candidate_count,
            [&](int32_t i) { return candidates[i] >= 0 ? args.piece + candidates[i] : -1; });
    // FAISS returned every key of the piece that is nearer than its last candidate, up to rounding.
    // One that could belong is no longer than ||q|| + its own distance.
    const bool all_returned = candidates[args.candidate_count - 1] < 0;
    const float worst = list.size == list.k ? list.now[list.k - 1].squared_distance : kInfinity;
    float norm = 0.0f;
    for (int32_t i = threadIdx.x % kWarp; i < d; i += kWarp) {
      norm += query[i] * query[i];
    }
    norm = 1.0001f * sqrtf(WarpSum(norm));
    const float error = FlatKnnError(d, norm, norm + 1.0001f * sqrtf(worst));
    const bool certain =
        all_returned || worst + error < args.distances[row + args.candidate_count - 1];
    if (!certain) {  // the same for all threads
      if (args.first_piece) {
        list.size = 0;
      } else {
        __syncthreads();
        LoadList(list, out);
        __syncthreads();
      }
      AddKeys(list, turn, query, args, args.piece_keys, [&](int32_t i) { return args.piece + i; });
      if (threadIdx.x == 0) {
        atomicAdd(args.scans, 1ull);
      }
    }
  }
  if (args.last_piece) {
    const int32_t seen = args.piece + args.piece_keys;
    AddKeys(list, turn, query, args, args.first_prefix + at / args.group - seen,
            [&](int32_t i) { return seen + i; });
  }
  for (int32_t i = threadIdx.x; i < args.k; i += kRefineThreads) {
    out[i] = i < list.size ? list.now[i] : NearestKey{kInfinity, -1};
  }
}

template <typename T>
void Refine(Stream stream, const RefineArgs<T>& args, int32_t queries) {
  Launch(RefineNearest<T>,
         {.name = "RefineNearest",
          .grid = {static_cast<unsigned>(queries)},
          .block = {kRefineThreads},
          .shared_bytes = 2 * static_cast<size_t>(args.k) * sizeof(NearestKey) +
                          sizeof(float) * static_cast<size_t>(args.head_dim),
          .stream = stream},
         args);
}

unsigned Blocks(int64_t warps, int32_t threads) {
  return static_cast<unsigned>((warps * kWarp + threads - 1) / threads);
}

}  // namespace

absl::StatusOr<std::unique_ptr<FaissKeySearch>> FaissKeySearch::Make(
    Stream stream, DeviceBudget& budget, const KeySearchLimits& limits) {
  ALCCA_CHECK(limits.head_dim > 0 && limits.rows > 0 && limits.piece_keys > 0 &&
              limits.block_queries > 0 && limits.k > 0 && limits.k <= kFlatKnnMax);
  auto search = std::unique_ptr<FaissKeySearch>(new FaissKeySearch(stream, limits));
  const int32_t candidates = CandidateCount(limits.k);
  const auto take = [&](DeviceArray& array, size_t count, size_t element,
                        const char* what) -> absl::Status {
    ASSIGN_OR_RETURN(array, budget.Allocate(count * element, what));
    return absl::OkStatus();
  };
  const size_t d = static_cast<size_t>(limits.head_dim);
  const size_t block = static_cast<size_t>(limits.block_queries);
  const size_t piece = static_cast<size_t>(limits.piece_keys);
  RETURN_IF_ERROR(take(search->queries_, static_cast<size_t>(limits.rows) * d, sizeof(float),
                       "queries for FAISS"));
  RETURN_IF_ERROR(take(search->keys_, piece * d, sizeof(float), "keys for FAISS"));
  RETURN_IF_ERROR(take(search->key_norms_, piece, sizeof(float), "norms for FAISS"));
  RETURN_IF_ERROR(take(search->distances_, block * static_cast<size_t>(candidates), sizeof(float),
                       "distances from FAISS"));
  RETURN_IF_ERROR(take(search->candidates_, block * static_cast<size_t>(candidates),
                       sizeof(int32_t), "candidates from FAISS"));
  RETURN_IF_ERROR(take(search->scans_, 1, sizeof(uint64_t), "a counter of scans"));
  FillBytes(stream, search->scans_.get(), 0, sizeof(uint64_t));
  const size_t temp_bytes = FlatKnnTempBytes(limits.block_queries, limits.piece_keys, candidates);
  ASSIGN_OR_RETURN(search->flat_knn_memory_, budget.Reserve(temp_bytes, "FAISS itself"));
  ASSIGN_OR_RETURN(search->flat_knn_, MakeFlatKnn(stream, temp_bytes));
  return search;
}

template <typename Key, typename Query>
void FaissKeySearch::Search(const KeyPages<Key>& keys, const GroupQueries<Query>& queries,
                            NearestKey* out) {
  const int32_t d = limits_.head_dim, total = queries.rows * queries.group;
  ALCCA_CHECK(queries.rows > 0 && total <= limits_.rows && queries.k > 0 &&
              queries.k <= limits_.k && queries.first_prefix > 0);
  Launch(GatherQueries<Query>,
         {.name = "GatherQueries",
          .grid = {Blocks(total, kGatherThreads)},
          .block = {kGatherThreads},
          .stream = stream_},
         queries_.as<float>(), queries, d);

  // FAISS knows no causal mask: it gets the keys that every row sees, and each row's younger ones
  // are left to RefineNearest. Where it would return all keys, there is nothing to ask it.
  const int32_t candidates = CandidateCount(queries.k);
  const int32_t shared = queries.first_prefix > candidates ? queries.first_prefix : 0;
  RefineArgs<Key> args = {.keys = keys,
                          .head_dim = d,
                          .group = queries.group,
                          .k = queries.k,
                          .head_k = queries.head_k,
                          .queries = queries_.as<float>(),
                          .first_query = 0,
                          .first_prefix = queries.first_prefix,
                          .piece = 0,
                          .piece_keys = 0,
                          .candidate_count = 0,
                          .distances = distances_.as<float>(),
                          .candidates = candidates_.as<int32_t>(),
                          .first_piece = true,
                          .last_piece = shared == 0,
                          .out = out,
                          .scans = scans_.as<unsigned long long>()};
  if (shared == 0) {
    Refine(stream_, args, total);
    return;
  }
  for (args.piece = 0; args.piece < shared; args.piece += limits_.piece_keys) {
    args.piece_keys = std::min(limits_.piece_keys, shared - args.piece);
    args.first_piece = args.piece == 0;
    args.last_piece = args.piece + args.piece_keys == shared;
    args.candidate_count = candidates;
    Launch(GatherKeys<Key>,
           {.name = "GatherKeys",
            .grid = {Blocks(args.piece_keys, kGatherThreads)},
            .block = {kGatherThreads},
            .stream = stream_},
           keys_.as<float>(), key_norms_.as<float>(), keys, args.piece, args.piece_keys, d);
    for (int32_t query = 0; query < total; query += limits_.block_queries) {
      const int32_t block = std::min(limits_.block_queries, total - query);
      flat_knn_->Search({.queries = queries_.as<float>() + int64_t{query} * d,
                         .keys = keys_.as<float>(),
                         .key_norms = key_norms_.as<float>(),
                         .query_count = block,
                         .key_count = args.piece_keys,
                         .head_dim = d,
                         .k = args.candidate_count,
                         .distances = distances_.as<float>(),
                         .found = candidates_.as<int32_t>()});
      args.first_query = query;
      Refine(stream_, args, block);
    }
  }
}

template void FaissKeySearch::Search(const KeyPages<float>&, const GroupQueries<float>&,
                                     NearestKey*);
template void FaissKeySearch::Search(const KeyPages<BFloat16>&, const GroupQueries<float>&,
                                     NearestKey*);
template void FaissKeySearch::Search(const KeyPages<BFloat16>&, const GroupQueries<BFloat16>&,
                                     NearestKey*);

int64_t FaissKeySearch::CountScans() {
  uint64_t scans = 0;
  CopyOut(stream_, &scans, scans_.get(), sizeof(scans));
  Synchronize(stream_);
  return static_cast<int64_t>(scans);
}

}  // namespace alcca::ALCCA_GPU
