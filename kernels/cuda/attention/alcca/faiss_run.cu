// For each sequence, KV head and up to 256 queries: FaissKeySearch, then a kernel that lays its
// lists, which are by distance, where AnswerSearch reads them, by position. Grid of the latter:
// tokens x query heads of the group, 128 threads; k^2 comparisons a list.

#include "kernels/cuda/attention/alcca/faiss_run.h"

#include <algorithm>

#include "attention/params.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace alcca::ALCCA_GPU {
namespace {

constexpr int32_t kQueries = 256;  // of one call: rows times the group's heads

__global__ void __launch_bounds__(kAttentionThreads)
    FillCandidatesKernel(SearchWave wave, int32_t first_row, const NearestKey* nearest,
                         int32_t kv_head) {
  const int32_t g = blockIdx.y, group = static_cast<int32_t>(gridDim.y);
  const SearchRow row = wave.rows[first_row + static_cast<int32_t>(blockIdx.x)];
  const NearestKey* from = nearest + (size_t(blockIdx.x) * group + g) * row.keep;
  Candidate* to = wave.candidates + row.List(kv_head * group + g);
  for (int32_t e = threadIdx.x; e < row.keep; e += kAttentionThreads) {
    const int32_t key = from[e].key;
    if (key < 0) {  // and so are all behind it
      to[e] = {kAbsent, 0x7fffffff};
      continue;
    }
    int32_t rank = 0;
    for (int32_t other = 0; other < row.keep; ++other) {
      rank += from[other].key >= 0 && from[other].key < key ? 1 : 0;
    }
    to[rank] = {OrderOfDistance(from[e].squared_distance), key};
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<FaissSearch>> FaissSearch::Make(const DeviceContext& device,
                                                               const KvShape& shape) {
  std::unique_ptr<FaissSearch> search(new FaissSearch(device.stream));
  ASSIGN_OR_RETURN(
      search->nearest_,
      device.budget->Allocate(size_t{kQueries} * kKeysMax * sizeof(NearestKey), "nearest keys"));
  ASSIGN_OR_RETURN(
      search->search_,
      FaissKeySearch::Make(device.stream, *device.budget,
                           {.head_dim = shape.head_dim, .rows = kQueries, .k = kKeysMax}));
  return search;
}

template <typename E>
void FaissSearch::Search(const KvLayer<E>& kv, const AttentionRows& rows, const SearchWave& wave,
                         std::span<const FaissRun> runs, const int32_t* pages, const int32_t* ks) {
  const int32_t group = rows.heads / rows.kv_heads, d = kv.head_dim;
  ALCCA_CHECK(group <= kQueries);
  const int32_t row_stride = (rows.heads + 2 * rows.kv_heads) * d;
  const int64_t head_stride = int64_t{kv.page_tokens} * d;
  for (const FaissRun& run : runs) {
    for (int32_t kv_head = 0; kv_head < kv.kv_heads; ++kv_head) {
      const KeyPages<E> keys = {.keys = kv.keys + kv_head * head_stride,
                                .page_stride = kv.kv_heads * head_stride,
                                .page_tokens = kv.page_tokens,
                                .pages = pages + run.pages};
      const size_t head = size_t(kv.layer) * rows.heads + size_t(kv_head) * group;
      const int32_t rows_at_once = kQueries / group;
      for (int32_t row = 0; row < run.count; row += rows_at_once) {
        const GroupQueries<float> queries = {
            .queries =
                rows.qkv + size_t(run.query_row + row) * row_stride + size_t(kv_head) * group * d,
            .row_stride = row_stride,
            .rows = std::min(rows_at_once, run.count - row),
            .group = group,
            .first_prefix = run.position + row + 1,
            .head_k = run.has_ks ? ks + run.ks + head : nullptr,
            .k = run.k};
        search_->Search(keys, queries, nearest_.as<NearestKey>());
        Launch(FillCandidatesKernel,
               {.name = "fill_candidates",
                .grid = {static_cast<unsigned>(queries.rows), static_cast<unsigned>(group), 1},
                .block = {kAttentionThreads},
                .stream = stream_},
               wave, run.first + row, nearest_.as<NearestKey>(), kv_head);
      }
    }
  }
}

template void FaissSearch::Search<float>(const KvLayer<float>&, const AttentionRows&,
                                         const SearchWave&, std::span<const FaissRun>,
                                         const int32_t*, const int32_t*);
template void FaissSearch::Search<BFloat16>(const KvLayer<BFloat16>&, const AttentionRows&,
                                            const SearchWave&, std::span<const FaissRun>,
                                            const int32_t*, const int32_t*);

}  // namespace alcca::ALCCA_GPU
