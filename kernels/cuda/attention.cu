// A first attention: dense and window, one warp a query, so that a model runs end to end.

#include "kernels/cuda/attention.h"

#include <vector>

#include "absl/status/status.h"
#include "kernels/check.h"

namespace alcca::ALCCA_GPU {
namespace {

struct Row {
  int32_t first, last;  // keys [first, last] are seen
  int32_t pages;        // index of the sequence's first page id
};

template <typename E>
__global__ void SimpleAttention(float* out, const float* qkv, const E* keys, const E* values,
                                const Row* rows, const int32_t* pages, int32_t heads,
                                int32_t kv_heads, int32_t d, int32_t page_tokens) {
  ALCCA_DYNAMIC_SHARED(float, sums);  // [d]
  const Row row = rows[blockIdx.x];
  const int32_t head = static_cast<int32_t>(blockIdx.y), lane = static_cast<int32_t>(threadIdx.x);
  const int32_t kv_head = head / (heads / kv_heads);
  const float* q = qkv + size_t(blockIdx.x) * (heads + 2 * kv_heads) * d + head * d;
  for (int32_t i = lane; i < d; i += kWarp) {
    sums[i] = 0.0f;
  }
  float max = -INFINITY, total = 0.0f;
  for (int32_t t = row.first; t <= row.last; ++t) {
    const size_t at =
        ((size_t(pages[row.pages + t / page_tokens]) * kv_heads + kv_head) * page_tokens +
         t % page_tokens) *
        d;
    float score = 0.0f;
    for (int32_t i = lane; i < d; i += kWarp) {
      score += q[i] * ToFloat(keys[at + i]);
    }
    score = WarpSum(score) / sqrtf(static_cast<float>(d));
    const float new_max = fmaxf(max, score);
    const float scale = expf(max - new_max), weight = expf(score - new_max);
    max = new_max;
    total = total * scale + weight;
    for (int32_t i = lane; i < d; i += kWarp) {
      sums[i] = sums[i] * scale + weight * ToFloat(values[at + i]);
    }
  }
  for (int32_t i = lane; i < d; i += kWarp) {
    out[(size_t(blockIdx.x) * heads + head) * d + i] = sums[i] / total;
  }
}

class NoState final : public AttentionState {
 public:
  size_t bytes() const override { return 0; }
  double build_seconds() const override { return 0; }
};

class SimpleAttentionCuda final : public AttentionCuda {
 public:
  SimpleAttentionCuda(const DeviceContext& device, const KvShape& shape)
      : device_(device), shape_(shape) {}

  absl::StatusOr<std::unique_ptr<AttentionState>> MakeState(
      const AttentionParams& params) override {
    if (params.mode != AttentionMode::kDense && params.mode != AttentionMode::kWindow) {
      return absl::UnimplementedError("attention: only dense and window run on CUDA");
    }
    return std::make_unique<NoState>();
  }
  void BeginStep() override { planned_ = false; }
  void EndStep(const Batch&) override {}

  void Run(TensorView out, TensorView qkv, KvCacheCuda& kv, int32_t layer, const Batch& batch,
           const AttentionShape& shape) override {
    if (!planned_) {
      Plan(batch, shape);
    }
    Count(batch, shape, kv.dtype());
    if (kv.dtype() == DType::kF32) {
      Start<float>(out, qkv, kv, layer, batch, shape);
    } else {
      Start<BFloat16>(out, qkv, kv, layer, batch, shape);
    }
  }

 private:
  static int32_t Window(const BatchSequence& s, const AttentionShape& shape) {
    return s.attention.mode == AttentionMode::kWindow ? s.attention.window : shape.sliding_window;
  }

  void Plan(const Batch& batch, const AttentionShape& shape) {
    Synchronize(device_.stream);  // the copies of the last plan have been made
    rows_.clear();
    pages_.clear();
    for (const BatchSequence& s : batch.sequences) {
      const int32_t window = Window(s, shape);
      for (int32_t r = 0; r < s.query_count; ++r) {
        const int32_t last = s.kv_len - s.query_count + r;
        const int32_t first = window > 0 ? std::max(0, last - window + 1) : 0;
        rows_.push_back({first, last, static_cast<int32_t>(pages_.size())});
      }
      pages_.insert(pages_.end(), s.pages,
                    s.pages + (s.kv_len + shape_.page_tokens - 1) / shape_.page_tokens);
    }
    device_rows_ = device_.budget->Allocate(rows_.size() * sizeof(Row), "rows").value();
    device_pages_ = device_.budget->Allocate(pages_.size() * 4, "page tables").value();
    CopyIn(device_.stream, device_rows_.get(), rows_.data(), rows_.size() * sizeof(Row));
    CopyIn(device_.stream, device_pages_.get(), pages_.data(), pages_.size() * 4);
    planned_ = true;
  }

  void Count(const Batch& batch, const AttentionShape& shape, DType dtype) {
    for (const BatchSequence& s : batch.sequences) {
      const int32_t window = Window(s, shape);
      int64_t seen = 0, causal = 0;
      for (int32_t r = 0; r < s.query_count; ++r) {
        const int64_t visible = s.kv_len - s.query_count + r + 1;
        causal += visible;
        seen += window > 0 ? std::min<int64_t>(visible, window) : visible;
      }
      AttentionCounters& c = *s.counters;
      c.qk_exact += seen * shape.heads;
      c.pv_exact += seen * shape.heads;
      c.queries += int64_t{s.query_count} * shape.heads;
      c.dense_equivalent_qk += causal * shape.heads;
      c.dense_equivalent_pv += causal * shape.heads;
      c.kv_bytes_read +=
          seen * shape.kv_heads * shape.head_dim * 2 * static_cast<int64_t>(DTypeBytes(dtype));
    }
  }

  template <typename E>
  void Start(TensorView out, TensorView qkv, KvCacheCuda& kv, int32_t layer, const Batch& batch,
             const AttentionShape& shape) {
    Launch(SimpleAttention<E>,
           {.name = "simple_attention",
            .grid = dim3(static_cast<unsigned>(batch.tokens()), static_cast<unsigned>(shape.heads)),
            .block = kWarp,
            .shared_bytes = static_cast<size_t>(shape.head_dim) * sizeof(float),
            .stream = device_.stream},
           out.f32(), qkv.f32(), kv.Keys<E>(layer), kv.Values<E>(layer), device_rows_.as<Row>(),
           device_pages_.as<int32_t>(), shape.heads, shape.kv_heads, shape.head_dim,
           shape_.page_tokens);
  }

  const DeviceContext& device_;
  const KvShape shape_;
  bool planned_ = false;
  std::vector<Row> rows_;
  std::vector<int32_t> pages_;
  DeviceArray device_rows_, device_pages_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<AttentionCuda>> AttentionCuda::Make(const DeviceContext& device,
                                                                   const KvShape& shape) {
  return std::make_unique<SimpleAttentionCuda>(device, shape);
}

}  // namespace alcca::ALCCA_GPU
