#include "tools/lab/fidelity.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "tools/lab/attention_probe.h"
#include "tools/lab/log_softmax.h"

namespace alcca::lab {
namespace {

constexpr int32_t kLogitRows = 256;
const AttentionParams kDense = {{.mode = AttentionMode::kDense}};

// Sums of one head over windows.
struct HeadSums {
  double overlap = 0, output_error = 0;
  int64_t kv_bytes = 0, kv_bytes_dense = 0;
};
using LayerSums = std::vector<std::vector<HeadSums>>;  // [layers][heads]

double RelativeError(const float* o, const float* dense, int32_t d) {
  double gap = 0, norm = 0;
  for (int32_t c = 0; c < d; ++c) {
    gap += (double{o[c]} - dense[c]) * (double{o[c]} - dense[c]);
    norm += double{dense[c]} * dense[c];
  }
  return gap == 0 ? 0 : std::sqrt(gap / norm);
}

double Overlap(const float* w, const float* dense, int32_t n) {
  double common = 0, all = 0;
  for (int32_t j = 0; j < n; ++j) {
    common += std::min(w[j], dense[j]);
    all += dense[j];
  }
  return common / all;
}

// Compares every mode with dense on the rows that a dense run gives each layer.
class TeacherForced final : public AttentionObserver {
 public:
  TeacherForced(const LabModel* lab, const std::vector<FidelityMode>& modes)
      : lab_(lab), modes_(modes), probe_(&lab->backend->inner()), sums_(modes.size()) {}

  void set_positions(const std::vector<int32_t>* positions) { positions_ = positions; }
  const absl::Status& status() const { return status_; }
  const LayerSums& sums(size_t mode) const { return sums_[mode]; }

  void OnAttention(int32_t layer, TensorView qkv, Batch&, const AttentionShape& shape) override {
    if (status_.ok()) {
      status_ = Compare({.shape = shape,
                         .layer = layer,
                         .layers = lab_->model->kv_shape().layers,
                         .tokens = qkv.rows,
                         .qkv = {qkv.f32(), size_t(qkv.rows) * qkv.cols}});
    }
  }

 private:
  absl::Status Compare(const ProbeInput& input) {
    ASSIGN_OR_RETURN(const ProbeRun dense, probe_.Run(input, kDense, false));
    ASSIGN_OR_RETURN(const std::vector<float> dense_weights, Weights(input, kDense));
    for (size_t m = 0; m < modes_.size(); ++m) {
      const AttentionParams& params = modes_[m].params;
      ASSIGN_OR_RETURN(const ProbeRun run, probe_.Run(input, params, false));
      ASSIGN_OR_RETURN(const std::vector<float> weights, Weights(input, params));
      if (sums_[m].size() <= size_t(input.layer)) {
        sums_[m].resize(input.layer + 1, std::vector<HeadSums>(input.shape.heads));
      }
      std::vector<HeadSums>& heads = sums_[m][input.layer];
      Add(input, run, dense, weights, dense_weights, &heads);
      RETURN_IF_ERROR(AddBytes(input, params, run.total, dense.total, &heads));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<float>> Weights(const ProbeInput& input,
                                             const AttentionParams& params) {
    if (positions_->empty()) {
      return std::vector<float>();
    }
    return probe_.Weights(input, params, *positions_);
  }

  void Add(const ProbeInput& input, const ProbeRun& run, const ProbeRun& dense,
           const std::vector<float>& weights, const std::vector<float>& dense_weights,
           std::vector<HeadSums>* sums) const {
    const int32_t d = input.shape.head_dim, heads = input.shape.heads, n = input.tokens;
    const size_t sampled = positions_->size();
    for (int32_t h = 0; h < heads; ++h) {
      double error = 0, overlap = 0;
      for (int32_t i = 0; i < n; ++i) {
        const size_t at = (size_t(i) * heads + h) * d;
        error += RelativeError(&run.output[at], &dense.output[at], d);
      }
      for (size_t p = 0; p < sampled; ++p) {
        const size_t at = (h * sampled + p) * n;
        overlap += Overlap(&weights[at], &dense_weights[at], (*positions_)[p] + 1);
      }
      (*sums)[h].output_error += error / n;
      (*sums)[h].overlap += overlap / double(sampled);  // NaN of no samples
    }
  }

  // Bytes are counted per KV head, so each group of query heads runs alone. Where a mode then
  // counts otherwise than for the whole layer, the layer's bytes are shared evenly.
  absl::Status AddBytes(const ProbeInput& input, const AttentionParams& params,
                        const AttentionCounters& all, const AttentionCounters& dense,
                        std::vector<HeadSums>* sums) {
    const int32_t kv_heads = input.shape.kv_heads, group = input.shape.heads / kv_heads;
    std::vector<int64_t> bytes;
    for (int32_t g = 0; g < kv_heads; ++g) {
      const std::vector<float> rows = SliceHeads(input, g * group, group);
      ProbeInput one = input;
      one.shape.heads = group;
      one.shape.kv_heads = 1;
      one.qkv = rows;
      const AttentionParams own =
          SliceHeadParams(params, input.layers, input.shape.heads, g * group, group);
      ASSIGN_OR_RETURN(const ProbeRun run, probe_.Run(one, own, false));
      bytes.push_back(run.total.kv_bytes_read);
    }
    if (std::accumulate(bytes.begin(), bytes.end(), int64_t{0}) != all.kv_bytes_read) {
      bytes.assign(kv_heads, all.kv_bytes_read / kv_heads);
    }
    for (int32_t h = 0; h < input.shape.heads; ++h) {
      (*sums)[h].kv_bytes += bytes[h / group];
      (*sums)[h].kv_bytes_dense += dense.kv_bytes_read / kv_heads;
    }
    return absl::OkStatus();
  }

  const LabModel* lab_;
  const std::vector<FidelityMode>& modes_;
  AttentionProbe probe_;
  const std::vector<int32_t>* positions_ = nullptr;
  std::vector<LayerSums> sums_;  // [modes]
  absl::Status status_;
};

// Losses of one mode, summed over windows.
struct LossSums {
  LossSums(int32_t length, int32_t buckets) : nats(length), counters(std::min(buckets, length)) {}

  int32_t length() const { return static_cast<int32_t>(nats.size()); }
  int32_t buckets() const { return static_cast<int32_t>(counters.size()); }
  // Positions [BucketBegin(b), BucketBegin(b + 1)) are bucket b.
  int32_t BucketBegin(int32_t b) const {
    return static_cast<int32_t>(int64_t{length()} * b / buckets());
  }

  std::vector<double> nats;                 // [length], by position
  std::vector<AttentionCounters> counters;  // [buckets]
  double kl = 0;
  int64_t agree = 0;
};

// Calls feed(bucket, begin, count) over all positions in order, in steps that the model takes and
// that end where buckets end.
template <typename Feed>
void ForEachStep(const LossSums& sums, const Feed& feed) {
  for (int32_t b = 0; b < sums.buckets(); ++b) {
    const int32_t end = sums.BucketBegin(b + 1);
    for (int32_t at = sums.BucketBegin(b); at < end; at += kLogitRows) {
      feed(b, at, std::min(kLogitRows, end - at));
    }
  }
}

// One sequence and the counters of its last step.
struct CountedSequence {
  std::span<const float> Feed(std::span<const int32_t> ids, AttentionCounters* counters) {
    sequence.ResetCounters();
    const auto logits = sequence.Feed(ids, static_cast<int32_t>(ids.size()), Phase::kPrefill);
    *counters += sequence.counters()[static_cast<int>(Phase::kPrefill)];
    return logits;
  }
  LabSequence sequence;
};

absl::Status DenseWindow(LabModel* lab, std::span<const int32_t> ids, LossSums* sums) {
  const size_t vocab = lab->model->vocab_size();
  ASSIGN_OR_RETURN(LabSequence made, LabSequence::Make(lab, kDense, 0, sums->length()));
  CountedSequence dense{std::move(made)};
  std::vector<double> p;
  ForEachStep(*sums, [&](int32_t bucket, int32_t at, int32_t count) {
    const auto logits = dense.Feed(ids.subspan(at, count), &sums->counters[bucket]);
    for (int32_t i = 0; i < count; ++i) {
      LogSoftmax(logits.subspan(i * vocab, vocab), &p);
      sums->nats[at + i] -= p[ids[at + i + 1]];
    }
  });
  return absl::OkStatus();
}

// Both modes step by step, so that no more than a step of dense's logits is held.
absl::Status CompareWindow(LabModel* lab, std::span<const int32_t> ids,
                           const AttentionParams& params, LossSums* sums) {
  const int32_t length = sums->length();
  const size_t vocab = lab->model->vocab_size();
  ASSIGN_OR_RETURN(LabSequence made_dense, LabSequence::Make(lab, kDense, 0, length));
  ASSIGN_OR_RETURN(LabSequence made_other, LabSequence::Make(lab, params, length, length));
  CountedSequence dense{std::move(made_dense)}, other{std::move(made_other)};
  AttentionCounters unread;
  std::vector<float> expected;
  std::vector<double> p, q;
  ForEachStep(*sums, [&](int32_t bucket, int32_t at, int32_t count) {
    const auto kept = dense.Feed(ids.subspan(at, count), &unread);
    expected.assign(kept.begin(), kept.end());
    const auto logits = other.Feed(ids.subspan(at, count), &sums->counters[bucket]);
    for (int32_t i = 0; i < count; ++i) {
      LogSoftmax(std::span(expected).subspan(i * vocab, vocab), &p);
      LogSoftmax(logits.subspan(i * vocab, vocab), &q);
      for (size_t t = 0; t < vocab; ++t) {
        sums->kl += std::exp(p[t]) * (p[t] - q[t]);
      }
      sums->agree += std::max_element(p.begin(), p.end()) - p.begin() ==
                     std::max_element(q.begin(), q.end()) - q.begin();
      sums->nats[at + i] -= q[ids[at + i + 1]];
    }
  });
  return absl::OkStatus();
}

AttentionCounters Total(const LossSums& sums) {
  AttentionCounters out;
  for (const AttentionCounters& c : sums.counters) {
    out += c;
  }
  return out;
}

ModelLoss MakeLoss(const LossSums& sums, int32_t windows, int64_t bytes) {
  ModelLoss out;
  const auto nats = [&](int32_t begin, int32_t end) {
    return std::accumulate(sums.nats.begin() + begin, sums.nats.begin() + end, 0.0);
  };
  const double all = nats(0, sums.length());
  out.nats_per_token = all / (double(sums.length()) * windows);
  out.nats_per_byte = all / double(bytes);
  for (int32_t b = 0; b < sums.buckets(); ++b) {
    const int32_t begin = sums.BucketBegin(b), end = sums.BucketBegin(b + 1);
    const AttentionCounters& c = sums.counters[b];
    out.by_position.push_back({.begin = begin,
                               .end = end,
                               .nats_per_token = nats(begin, end) / (double(end - begin) * windows),
                               .interactions = double(c.performed()) / double(c.queries)});
  }
  return out;
}

// `count` different positions of [0, n), ascending; the same on every platform.
std::vector<int32_t> SamplePositions(int32_t n, int32_t count, uint64_t seed) {
  std::vector<int32_t> all(n);
  std::iota(all.begin(), all.end(), 0);
  if (count < n) {
    std::mt19937_64 random(seed);
    for (int32_t i = 0; i < count; ++i) {
      std::swap(all[i], all[i + static_cast<int32_t>(random() % uint64_t(n - i))]);
    }
    all.resize(count);
    std::sort(all.begin(), all.end());
  }
  return all;
}

void Summarise(const LayerSums& sums, int32_t windows, ModeFidelity* out) {
  double count = 0;
  out->worst.overlap = 1;
  for (const auto& layer : sums) {
    auto& heads = out->heads.emplace_back();
    for (const HeadSums& s : layer) {
      const HeadFidelity head = {.overlap = s.overlap / windows,
                                 .output_error = s.output_error / windows,
                                 .kv_bytes_share = double(s.kv_bytes) / double(s.kv_bytes_dense)};
      out->mean.overlap += head.overlap;
      out->mean.output_error += head.output_error;
      out->mean.kv_bytes_share += head.kv_bytes_share;
      out->worst.overlap = std::min(head.overlap, out->worst.overlap);  // NaN stays
      out->worst.output_error = std::max(out->worst.output_error, head.output_error);
      out->worst.kv_bytes_share = std::max(out->worst.kv_bytes_share, head.kv_bytes_share);
      heads.push_back(head);
      ++count;
    }
  }
  out->mean.overlap /= count;
  out->mean.output_error /= count;
  out->mean.kv_bytes_share /= count;
}

}  // namespace

LabLimits FidelityLimits(const FidelityOptions& options) {
  return {.batch_tokens = std::max(options.length, kLogitRows),
          .logit_rows = kLogitRows,
          .kv_tokens = 2 * options.length};
}

absl::StatusOr<Fidelity> MeasureFidelity(LabModel* lab, const TextWindows& text,
                                         const std::vector<FidelityMode>& modes,
                                         const FidelityOptions& options) {
  if (options.length > lab->config.max_position_embeddings) {
    return absl::InvalidArgumentError(
        absl::StrCat("--length ", options.length, " is above the model's ",
                     lab->config.max_position_embeddings, " positions"));
  }
  ALCCA_CHECK(!text.windows.empty() && options.samples >= 0 && options.buckets > 0);
  Fidelity out;
  out.options = options;
  out.windows = static_cast<int32_t>(text.windows.size());
  const int64_t bytes = std::accumulate(text.bytes.begin(), text.bytes.end(), int64_t{0});

  LossSums dense(options.length, options.buckets);
  std::vector<LossSums> losses(modes.size(), dense);
  TeacherForced forced(lab, modes);
  for (int32_t w = 0; w < out.windows; ++w) {
    const std::span<const int32_t> ids = text.windows[w];
    const auto positions = SamplePositions(options.length, options.samples, options.seed + w);
    if (w == 0) {
      out.positions = positions;
    }
    forced.set_positions(&positions);
    ASSIGN_OR_RETURN(LabSequence sequence, LabSequence::Make(lab, kDense, 0, options.length));
    lab->backend->set_observer(&forced);
    sequence.Feed(ids.first(options.length), 0, Phase::kPrefill);
    lab->backend->set_observer(nullptr);
    RETURN_IF_ERROR(forced.status());

    RETURN_IF_ERROR(DenseWindow(lab, ids, &dense));
    for (size_t m = 0; m < modes.size(); ++m) {
      RETURN_IF_ERROR(CompareWindow(lab, ids, modes[m].params, &losses[m]));
    }
  }
  out.dense = MakeLoss(dense, out.windows, bytes);
  out.dense_counters = Total(dense);
  const double predictions = double(options.length) * out.windows;
  for (size_t m = 0; m < modes.size(); ++m) {
    ModeFidelity& mode = out.modes.emplace_back();
    mode.mode = modes[m];
    Summarise(forced.sums(m), out.windows, &mode);
    mode.loss = MakeLoss(losses[m], out.windows, bytes);
    mode.kl = losses[m].kl / predictions;
    mode.top1_agreement = double(losses[m].agree) / predictions;
    mode.counters = Total(losses[m]);
  }
  return out;
}

}  // namespace alcca::lab
