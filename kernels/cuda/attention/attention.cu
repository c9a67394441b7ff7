// Attention of every mode: plans a step, keeps what it needs on the device, and starts the kernels
// of each layer. Rows that need no search and no clusters are two launches (one, where nothing is
// split); `alcca` adds sums, gate, search and answer for all its sequences together, `multipole`
// one launch for all of its rows and, where clusters close, those that build them.

#include "kernels/cuda/attention/attention.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "base/status_macros.h"
#include "kernels/cuda/attention/alcca/alcca.h"
#include "kernels/cuda/attention/alcca/faiss_run.h"
#include "kernels/cuda/attention/alcca/search.h"
#include "kernels/cuda/attention/alcca/tree.h"
#include "kernels/cuda/attention/check.h"
#include "kernels/cuda/attention/plan.h"

namespace alcca::ALCCA_GPU {
namespace {

size_t Tokens(const KvShape& shape) {
  return size_t(shape.pages) * shape.page_tokens;
}

// What a plan takes as a rule, allocated at start; a step of many contexts of which each is cut
// into many tiles can take more.
size_t PlanBytes(const KvShape& shape, int32_t batch_tokens) {
  return (size_t{1} << 20) + size_t{512} * static_cast<size_t>(batch_tokens) +
         Tokens(shape) / kBlockTokens * 2 * sizeof(void*) + size_t(shape.pages) * sizeof(int32_t);
}

// Scratch of all kernels of one layer. At least what one token's search of up to 128k keys by 16
// query heads a KV head needs, and one segment's closing; beyond that more means fewer launches.
size_t WorkspaceBytes(const KvShape& shape, size_t cache_bytes, size_t element_bytes) {
  const size_t tokens = std::min<size_t>(Tokens(shape), 131072);
  const size_t search = 16 * size_t(shape.kv_heads) * (tokens + kSearchKeys) * sizeof(Candidate);
  const size_t segment = std::min<size_t>(tokens / kBlockTokens + 1, kSegmentBlocks);
  const size_t closing = size_t(shape.kv_heads) * segment * kBlockTokens *
                         (2 * sizeof(int32_t) + 2 * size_t(shape.head_dim) * element_bytes);
  const size_t roomy = std::min<size_t>(cache_bytes / 32, size_t{256} << 20);
  return std::max({search, closing, roomy, size_t{1} << 20});
}

// All sequences' states: clusters of every token, or 9/64 of the cache for trees and gate
// distances, whichever is more. A few thousand tokens beyond, so that many short sequences fit too.
size_t StateBytes(const KvShape& shape, size_t cache_bytes) {
  const size_t heads = size_t(shape.layers) * shape.kv_heads;
  const size_t token = heads * (sizeof(TreeNode) + 16 * sizeof(float) + size_t(shape.head_dim));
  const size_t segments = Tokens(shape) / kSegmentTokens + 1;
  const size_t clusters = heads * segments * ClusterBytes(kSegmentBlocks, shape.head_dim);
  return std::max(cache_bytes * 9 / 64, clusters) + 16 * kChunkTokens * token +
         16 * heads * 6 * shape.head_dim * sizeof(double);
}

class AttentionCudaAll final : public AttentionCuda {
 public:
  AttentionCudaAll(const DeviceContext& device, const PlanLimits& limits, DeviceArray workspace,
                   DeviceArray state, std::unique_ptr<FaissSearch> faiss)
      : device_(device),
        limits_(limits),
        workspace_(std::move(workspace)),
        pool_(std::make_shared<StatePool>(std::move(state))),
        faiss_(std::move(faiss)),
        plan_(limits) {}

  absl::Status Start() {
    RETURN_IF_ERROR(
        image_.Allocate(device_, PlanBytes(limits_.kv, device_.batch_tokens), "attention plan"));
    return counts_.Allocate(device_, CountBytes(static_cast<size_t>(device_.batch_tokens)),
                            "counters");
  }

  absl::StatusOr<std::unique_ptr<AttentionState>> MakeState(
      const AttentionParams& params) override {
    ASSIGN_OR_RETURN(std::unique_ptr<AttentionStateCuda> state,
                     AttentionStateCuda::Make(pool_, limits_.kv, params));
    return std::unique_ptr<AttentionState>(std::move(state));
  }

  void BeginStep() override { planned_ = false; }

  void Run(TensorView out, TensorView qkv, KvCacheCuda& kv, int32_t layer, const Batch& batch,
           const AttentionShape& shape) override {
    ALCCA_CHECK(qkv.cols == shape.qkv_cols() && out.cols == shape.heads * shape.head_dim);
    ALCCA_CHECK(qkv.rows == batch.tokens() && out.rows == batch.tokens());
    ALCCA_CHECK(kv.shape().head_dim == shape.head_dim && kv.shape().kv_heads == shape.kv_heads);
    if (!planned_) {
      Plan(batch, shape);
    }
    const AttentionRows rows = {qkv.f32(), out.f32(), shape.heads, shape.kv_heads, shape.head_dim};
    if (kv.dtype() == DType::kF32) {
      RunLayer<float>(kv, layer, rows);
    } else {
      RunLayer<BFloat16>(kv, layer, rows);
    }
    for (size_t i = 0; i < batch.sequences.size(); ++i) {
      *batch.sequences[i].counters += plan_.layer_counters()[i];
    }
  }

  void EndStep(const Batch& batch) override {
    if (!planned_ || !plan_.counts_on_device()) {
      return;
    }
    const size_t bytes = CountBytes(batch.sequences.size());
    CopyOut(device_.stream, counts_.host.as<Count>(), counts_.device.get(), bytes);
    // Each count is handed over once.
    FillBytes(device_.stream, counts_.device.get(), 0, bytes);
    counted_ = true;
  }

  void Finish(const Batch& batch) override {
    in_flight_ = false;
    if (!std::exchange(counted_, false)) {
      return;
    }
    for (size_t i = 0; i < batch.sequences.size(); ++i) {
      const auto count = [&](AttentionCount which) {
        return static_cast<int64_t>(counts_.host.as<Count>()[i * kAttentionCounts + which]);
      };
      AttentionCounters& c = *batch.sequences[i].counters;
      c.qk_exact += count(kCountQkExact);
      c.qk_centroid += count(kCountQkCentroid);
      c.pv_exact += count(kCountPvExact);
      c.pv_centroid += count(kCountPvCentroid);
      c.near_queries += count(kCountNear);
      c.scalar_comparisons += count(kCountComparisons);
      c.recall_wanted += count(kCountRecallWanted);
      c.recall_found += count(kCountRecallFound);
      c.error_checked += count(kCountErrorChecked);
      c.error_millionths += count(kCountErrorMillionths);
      c.kv_bytes_read +=
          count(kCountKvRows) * limits_.kv.head_dim * static_cast<int64_t>(limits_.element_bytes) +
          count(kCountClusterBytes);
    }
  }

 private:
  // An array on the host and its copy on the device.
  struct Mirror {
    PinnedArray host;
    DeviceArray device;

    absl::Status Allocate(const DeviceContext& context, size_t bytes, std::string_view what) {
      device = {};  // its part of the budget first
      ASSIGN_OR_RETURN(device, context.budget->Allocate(bytes, what));
      ASSIGN_OR_RETURN(host, PinnedArray::Allocate(bytes));
      return absl::OkStatus();
    }
  };
  // Steps have no failure path: there is no answer without a plan.
  static void MustGrow(Mirror& mirror, const DeviceContext& context, size_t bytes,
                       std::string_view what) {
    if (mirror.host.bytes() < bytes) {
      if (const absl::Status status = mirror.Allocate(context, bytes * 2, what); !status.ok()) {
        DeviceFault(std::string(status.message()));
      }
    }
  }
  static size_t CountBytes(size_t sequences) {
    return sequences * kAttentionCounts * sizeof(Count);
  }

  void Plan(const Batch& batch, const AttentionShape& shape) {
    plan_.Make(batch, shape);
    if (std::exchange(in_flight_, true)) {
      Synchronize(device_.stream);  // a step that was not ended still reads the last plan
    }
    const size_t counts = CountBytes(batch.sequences.size()), bytes = plan_.image_bytes();
    MustGrow(counts_, device_, counts, "counters");
    MustGrow(image_, device_, bytes, "attention plan");
    FillBytes(device_.stream, counts_.device.get(), 0, counts);
    arrays_ = plan_.WriteImage(image_.host.as<std::byte>(), image_.device.as<std::byte>(),
                               counts_.device.as<Count>());
    CopyIn(device_.stream, image_.device.get(), image_.host.as<std::byte>(), bytes);
    shape_ = shape;
    planned_ = true;
  }

  template <typename E>
  void RunLayer(const KvCacheCuda& kv, int32_t layer, const AttentionRows& rows) {
    const KvLayer<E> keys = {kv.Keys<E>(layer),   kv.Values<E>(layer),    layer,
                             limits_.kv.kv_heads, limits_.kv.page_tokens, limits_.kv.head_dim};
    const Stream stream = device_.stream;
    for (const SoftmaxWave& wave : plan_.softmax_waves()) {
      SetExpansionPoints(stream, rows, layer, arrays_.sequences, arrays_.points + wave.points.first,
                         wave.points.count);
      for (const SoftmaxWave::Closing& closing : wave.closings) {
        CloseSegments(stream, keys, arrays_.sequences, arrays_.segments + closing.segments.first,
                      closing.segments.count, closing.blocks, workspace_.get());
      }
      ObserveQueries(stream, rows, layer, arrays_.sequences, arrays_.observed + wave.observed.first,
                     wave.observed.count);
      AttentionDense(stream, keys, rows, arrays_.sequences,
                     {.whole = arrays_.softmax_tiles + wave.whole.first,
                      .split = arrays_.softmax_tiles + wave.split.first,
                      .whole_count = wave.whole.count,
                      .split_count = wave.split.count,
                      .splits_max = wave.splits_max,
                      .partials = workspace_.as<float>()});
      for (const Span& span : wave.cluster_rows) {
        AttentionMultipole(stream, keys, rows, arrays_.sequences, arrays_.cluster_rows + span.first,
                           span.count, workspace_.get());
        if (wave.any_checked) {
          CheckError(stream, keys, rows, arrays_.sequences, arrays_.cluster_rows + span.first,
                     span.count);
        }
      }
    }
    for (const SearchPlan& plan : plan_.search_waves()) {
      const SearchWave wave = MakeWave(plan);
      if (wave.alcca_run_count > 0) {
        AlccaGate(stream, keys, rows, wave);
      }
      if (wave.tree_run_count > 0) {
        SearchTrees(stream, keys, rows, wave);
      }
      SearchKeys(stream, keys, rows, wave);
      if (!plan.faiss_runs.empty()) {
        faiss_->Search(keys, rows, wave, plan.faiss_runs, arrays_.pages, arrays_.ks);
      }
      AnswerSearch(stream, keys, rows, wave);
      if (plan.any_recall) {
        CheckRecall(stream, keys, rows, wave);
      }
    }
  }

  SearchWave MakeWave(const SearchPlan& plan) const {
    const SearchScratch scratch(shape_, static_cast<size_t>(plan.rows.count));
    auto* base = workspace_.as<unsigned char>();
    SearchWave wave = {};
    wave.sequences = arrays_.sequences;
    wave.rows = arrays_.search_rows + plan.rows.first;
    wave.tiles = arrays_.search_tiles + plan.tiles.first;
    wave.alcca_runs = arrays_.runs + plan.alcca_runs.first;
    wave.tree_runs = arrays_.runs + plan.tree_runs.first;
    wave.row_count = plan.rows.count;
    wave.tile_count = plan.tiles.count;
    wave.alcca_run_count = plan.alcca_runs.count;
    wave.tree_run_count = plan.tree_runs.count;
    wave.splits_max = plan.splits_max;
    wave.any_gaps = plan.any_gaps;
    wave.branches_max = plan.branches_max;
    wave.means = reinterpret_cast<float*>(base);
    wave.gaps = reinterpret_cast<float*>(base + scratch.means);
    wave.near = base + scratch.means + scratch.gaps;
    wave.found = reinterpret_cast<int32_t*>(wave.near + scratch.near);
    wave.candidates = reinterpret_cast<Candidate*>(base + scratch.all());
    return wave;
  }

  const DeviceContext& device_;
  const PlanLimits limits_;
  const DeviceArray workspace_;
  const std::shared_ptr<StatePool> pool_;
  const std::unique_ptr<FaissSearch> faiss_;  // or null: the fused search alone
  AttentionPlan plan_;
  AttentionPlan::Arrays arrays_ = {};
  AttentionShape shape_;
  bool planned_ = false;
  Mirror image_, counts_;
  bool in_flight_ = false;  // image_ is being read
  bool counted_ = false;    // counts_.host is on its way
};

}  // namespace

absl::StatusOr<std::unique_ptr<AttentionCuda>> AttentionCuda::Make(const DeviceContext& device,
                                                                   const KvShape& shape,
                                                                   DType dtype, bool faiss_search) {
  const size_t element_bytes = DTypeBytes(dtype), cache_bytes = KvCacheCuda::Bytes(shape, dtype);
  const PlanLimits limits = {.kv = shape,
                             .element_bytes = element_bytes,
                             .workspace_bytes = WorkspaceBytes(shape, cache_bytes, element_bytes),
                             .sm_count = device.info.sm_count,
                             .whole_tile_rows = dtype == DType::kF32
                                                    ? WholeTileRows<float>(shape.head_dim)
                                                    : WholeTileRows<BFloat16>(shape.head_dim),
                             .faiss_search = faiss_search};
  std::unique_ptr<FaissSearch> faiss;
  if (faiss_search) {
    ASSIGN_OR_RETURN(faiss, FaissSearch::Make(device, shape));
  }
  ASSIGN_OR_RETURN(DeviceArray workspace,
                   device.budget->Allocate(limits.workspace_bytes, "attention's workspace"));
  ASSIGN_OR_RETURN(DeviceArray state, device.budget->Allocate(StateBytes(shape, cache_bytes),
                                                              "the sequences' indices"));
  auto attention = std::make_unique<AttentionCudaAll>(device, limits, std::move(workspace),
                                                      std::move(state), std::move(faiss));
  RETURN_IF_ERROR(attention->Start());
  return attention;
}

}  // namespace alcca::ALCCA_GPU
