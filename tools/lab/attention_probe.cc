#include "tools/lab/attention_probe.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "base/status_macros.h"

namespace alcca::lab {
namespace {

constexpr int32_t kPageTokens = 16;

// One sequence with a cache of its own.
class ProbeSequence {
 public:
  static absl::StatusOr<ProbeSequence> Make(Backend* backend, const ProbeInput& input,
                                            const AttentionParams& params) {
    ProbeSequence s(backend, input, params);
    const AttentionShape& shape = input.shape;
    s.kv_shape_ = {.layers = input.layers,
                   .kv_heads = shape.kv_heads,
                   .head_dim = shape.head_dim,
                   .page_tokens = kPageTokens,
                   .pages = (input.tokens + kPageTokens - 1) / kPageTokens};
    s.pages_.resize(s.kv_shape_.pages);
    std::iota(s.pages_.begin(), s.pages_.end(), 0);
    ASSIGN_OR_RETURN(s.kv_, backend->MakeKvCache(s.kv_shape_));
    ASSIGN_OR_RETURN(s.qkv_, backend->Allocate(input.tokens, shape.qkv_cols()));
    ASSIGN_OR_RETURN(s.out_, backend->Allocate(input.tokens, shape.heads * shape.head_dim));
    std::copy(input.qkv.begin(), input.qkv.end(), s.qkv_->view().f32());
    const std::vector<float> zeros(static_cast<size_t>(shape.head_dim / 2));
    ASSIGN_OR_RETURN(s.no_frequencies_,
                     backend->MakeVector({.data = reinterpret_cast<const std::byte*>(zeros.data()),
                                          .dtype = DType::kF32,
                                          .rows = 1,
                                          .cols = shape.head_dim / 2}));
    return s;
  }

  // Writes keys and values of all tokens to the pages and forgets what attention remembered.
  // RopeAndStore with frequencies of 0 rotates by nothing, so it stores the rows as they are.
  absl::Status Restart() {
    ASSIGN_OR_RETURN(state_, backend_->MakeAttentionState(kv_shape_, params_));
    const Batch batch = Rows({{0, input_.tokens}}, nullptr);
    backend_->RopeAndStore(qkv_->view(), *kv_, input_.layer, batch, input_.shape, *no_frequencies_);
    return absl::OkStatus();
  }

  // Rows [begin, begin + count) each; the rows of the result are theirs, one range after another.
  struct Range {
    int32_t begin, count;
  };
  std::span<const float> Attend(const std::vector<Range>& ranges, AttentionCounters* counters) {
    const Batch batch = Rows(ranges, counters);
    const int32_t cols = input_.shape.qkv_cols();
    const float* from = qkv_->view().f32();
    packed_.clear();
    for (const Range& range : ranges) {
      packed_.insert(packed_.end(), from + size_t(range.begin) * cols,
                     from + size_t(range.begin + range.count) * cols);
    }
    const TensorView out = out_->view().Head(batch.tokens());
    backend_->Attention(out, {packed_.data(), DType::kF32, batch.tokens(), cols}, *kv_,
                        input_.layer, batch, input_.shape);
    return {out.f32(), size_t(out.rows) * out.cols};
  }

  // The value of token t in every KV head.
  void SetValue(int32_t t, int32_t component, float value) {
    const AttentionShape& shape = input_.shape;
    float* v = qkv_->view().f32() + size_t(t) * shape.qkv_cols() +
               size_t(shape.heads + shape.kv_heads) * shape.head_dim;
    for (int32_t g = 0; g < shape.kv_heads; ++g) {
      v[g * shape.head_dim + component] = value;
    }
  }
  void ClearValues() {
    const AttentionShape& shape = input_.shape;
    for (int32_t t = 0; t < input_.tokens; ++t) {
      float* end = qkv_->view().f32() + size_t(t + 1) * shape.qkv_cols();
      std::fill(end - size_t(shape.kv_heads) * shape.head_dim, end, 0.0f);
    }
  }

 private:
  ProbeSequence(Backend* backend, const ProbeInput& input, const AttentionParams& params)
      : backend_(backend), input_(input), params_(params) {}

  Batch Rows(const std::vector<Range>& ranges, AttentionCounters* counters) {
    Batch batch;
    for (const Range& range : ranges) {
      batch.sequences.push_back({.query_start = batch.tokens(),
                                 .query_count = range.count,
                                 .kv_len = range.begin + range.count,
                                 .pages = pages_.data(),
                                 .attention = &params_,
                                 .state = state_.get(),
                                 .counters = counters != nullptr ? counters : &unread_});
      for (int32_t i = 0; i < range.count; ++i) {
        batch.token_ids.push_back(0);  // attention reads no ids
        batch.positions.push_back(range.begin + i);
      }
    }
    return batch;
  }

  Backend* backend_;
  ProbeInput input_;
  AttentionParams params_;
  KvShape kv_shape_;
  std::vector<int32_t> pages_;
  std::unique_ptr<KvCache> kv_;
  std::unique_ptr<AttentionState> state_;
  std::unique_ptr<Buffer> qkv_, out_;       // [n, qkv_cols], [n, heads * head_dim]
  std::unique_ptr<Buffer> no_frequencies_;  // [1, head_dim / 2], zeros
  std::vector<float> packed_;               // rows of one call
  AttentionCounters unread_;
};

// Whether a row's result depends on which rows were answered before it.
bool NeedsHistory(AttentionMode mode) {
  return TraitsOf(mode).keeps_state;
}

void CheckInput(const ProbeInput& input) {
  ALCCA_CHECK(input.tokens > 0 && input.layer >= 0 && input.layer < input.layers);
  ALCCA_CHECK(input.qkv.size() == size_t(input.tokens) * input.shape.qkv_cols());
}

}  // namespace

AttentionParams SliceHeadParams(const AttentionParams& params, int32_t layers, int32_t heads,
                                int32_t first, int32_t count) {
  AttentionParams out = params;
  const auto slice = [&](const auto& table) {
    using Table = std::decay_t<decltype(*table)>;
    Table columns;
    for (int32_t layer = 0; table != nullptr && layer < layers; ++layer) {
      const auto from = table->begin() + layer * heads + first;
      columns.insert(columns.end(), from, from + count);
    }
    return table == nullptr ? nullptr : std::make_shared<const Table>(std::move(columns));
  };
  out.head_theta = slice(params.head_theta);
  out.head_k = slice(params.head_k);
  return out;
}

std::vector<float> SliceHeads(const ProbeInput& input, int32_t first, int32_t count) {
  CheckInput(input);
  const AttentionShape& shape = input.shape;
  const int32_t d = shape.head_dim, group = shape.heads / shape.kv_heads, kv_head = first / group;
  ALCCA_CHECK(count > 0 && (first + count - 1) / group == kv_head && kv_head < shape.kv_heads);
  std::vector<float> out;
  out.reserve(size_t(input.tokens) * (count + 2) * d);
  for (int32_t t = 0; t < input.tokens; ++t) {
    const float* q = input.qkv.data() + size_t(t) * shape.qkv_cols();
    const float* k = q + (shape.heads + kv_head) * d;
    const float* v = k + shape.kv_heads * d;
    out.insert(out.end(), q + first * d, q + (first + count) * d);
    out.insert(out.end(), k, k + d);
    out.insert(out.end(), v, v + d);
  }
  return out;
}

absl::StatusOr<ProbeRun> AttentionProbe::Run(const ProbeInput& input, const AttentionParams& params,
                                             bool per_query) {
  CheckInput(input);
  ASSIGN_OR_RETURN(ProbeSequence sequence, ProbeSequence::Make(backend_, input, params));
  RETURN_IF_ERROR(sequence.Restart());
  ProbeRun run;
  if (!per_query) {
    const auto rows = sequence.Attend({{0, input.tokens}}, &run.total);
    run.output.assign(rows.begin(), rows.end());
    return run;
  }
  run.counters.resize(input.tokens);
  for (int32_t t = 0; t < input.tokens; ++t) {
    const auto row = sequence.Attend({{t, 1}}, &run.counters[t]);
    run.output.insert(run.output.end(), row.begin(), row.end());
    run.total += run.counters[t];
  }
  return run;
}

absl::StatusOr<std::vector<float>> AttentionProbe::Weights(const ProbeInput& input,
                                                           const AttentionParams& params,
                                                           std::span<const int32_t> positions) {
  CheckInput(input);
  ALCCA_CHECK(!positions.empty() && std::is_sorted(positions.begin(), positions.end()));
  ALCCA_CHECK(positions.front() >= 0 && positions.back() < input.tokens);
  const int32_t d = input.shape.head_dim, heads = input.shape.heads;
  const size_t n = input.tokens, last = positions.back();
  ASSIGN_OR_RETURN(ProbeSequence sequence, ProbeSequence::Make(backend_, input, params));
  sequence.ClearValues();
  std::vector<float> weights(heads * positions.size() * n);
  for (size_t block = 0; block <= last; block += d) {
    const int32_t count = static_cast<int32_t>(std::min<size_t>(d, last + 1 - block));
    for (int32_t i = 0; i < count; ++i) {
      sequence.SetValue(static_cast<int32_t>(block) + i, i, 1.0f);
    }
    RETURN_IF_ERROR(sequence.Restart());
    // Queries before the block cannot see it.
    const size_t skip =
        std::lower_bound(positions.begin(), positions.end(), block) - positions.begin();
    std::vector<ProbeSequence::Range> ranges;
    if (NeedsHistory(params.mode)) {
      ranges = {{0, static_cast<int32_t>(last) + 1}};
    } else {
      for (const int32_t at : positions.subspan(skip)) {
        if (!ranges.empty() && ranges.back().begin + ranges.back().count == at) {
          ++ranges.back().count;
        } else {
          ranges.push_back({at, 1});
        }
      }
    }
    const auto out = sequence.Attend(ranges, nullptr);
    for (size_t p = skip; p < positions.size(); ++p) {
      const size_t row = NeedsHistory(params.mode) ? positions[p] : p - skip;
      for (int32_t h = 0; h < heads; ++h) {
        const float* from = out.data() + (row * heads + h) * d;
        std::copy_n(from, count, &weights[(h * positions.size() + p) * n + block]);
      }
    }
    for (int32_t i = 0; i < count; ++i) {
      sequence.SetValue(static_cast<int32_t>(block) + i, i, 0.0f);
    }
  }
  return weights;
}

}  // namespace alcca::lab
