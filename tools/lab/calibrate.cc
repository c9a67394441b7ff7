#include "tools/lab/calibrate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "attention/knobs.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "tools/lab/attention_json.h"
#include "tools/lab/attention_probe.h"
#include "tools/lab/log_softmax.h"

namespace alcca::lab {
namespace {

using Kind = CalibrationTarget::Kind;

constexpr int32_t kLogitRows = 256;
constexpr int32_t kCuts = 64;  // thetas tried for a head: quantiles of its distances
constexpr auto kAllNear = static_cast<float>(KnobOf(&AttentionScalars::theta).most);
const AttentionParams kDense = {{.mode = AttentionMode::kDense}};

// One query of one head.
struct Query {
  double distance = 0;             // to the keys' centre of mass
  double near_damage = 0;          // of mean(V) instead of k neighbours: |o' - o|^2
  std::vector<double> far_damage;  // [choices of k]
  double search = 0;               // distances that the search computes
};

// ||q - c|| of each query of `head`, [tokens].
std::vector<double> CentreDistances(const ProbeInput& input, int32_t head) {
  const AttentionShape& s = input.shape;
  const int32_t d = s.head_dim, kv_head = head / (s.heads / s.kv_heads);
  std::vector<double> sum(d), out;
  for (int32_t t = 0; t < input.tokens; ++t) {
    const float* row = input.qkv.data() + size_t(t) * s.qkv_cols();
    const float *q = row + head * d, *key = row + (s.heads + kv_head) * d;
    double squared = 0;
    for (int32_t i = 0; i < d; ++i) {
      sum[i] += key[i];
      const double gap = q[i] - sum[i] / (t + 1);
      squared += gap * gap;
    }
    out.push_back(std::sqrt(squared));
  }
  return out;
}

double SquaredGap(const float* a, const float* b, int32_t d) {
  double sum = 0;
  for (int32_t i = 0; i < d; ++i) {
    sum += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
  }
  return sum;
}

struct HeadChoice {
  float theta = 0;
  int32_t k = 0;
};

// Fits every layer just before it runs.
class Fitter final : public AttentionObserver {
 public:
  Fitter(LabModel* lab, const AttentionParams& base, Kind kind, double price)
      : probe_(&lab->backend->inner()), base_(base), kind_(kind), price_(price) {
    const int32_t heads = static_cast<int32_t>(lab->config.num_heads);
    const int32_t layers = static_cast<int32_t>(lab->config.num_layers);
    theta_.assign(size_t(layers) * heads, 0);
    k_.assign(size_t(layers) * heads, base.k);
    base_.theta = base_.near_share = base_.recall_sample = 0;
    base_.head_theta = nullptr;
    base_.head_k = nullptr;
    choices_ = {base.k};
    // Halves of k; a target on near queries alone leaves k as it is.
    while (kind != Kind::kNear && choices_.back() > 1) {
      choices_.push_back(choices_.back() / 2);
    }
  }

  const absl::Status& status() const { return status_; }
  AttentionParams Params() const {
    AttentionParams out = base_;
    out.head_theta = std::make_shared<const std::vector<float>>(theta_);
    if (std::any_of(k_.begin(), k_.end(), [&](int32_t k) { return k != base_.k; })) {
      out.head_k = std::make_shared<const std::vector<int32_t>>(k_);
    }
    return out;
  }

  void OnAttention(int32_t layer, TensorView qkv, Batch& batch,
                   const AttentionShape& shape) override {
    if (status_.ok()) {
      status_ = FitLayer(layer, qkv, batch, shape);
    }
    applied_ = Params();
    for (BatchSequence& sequence : batch.sequences) {
      sequence.attention = &applied_;
    }
  }

 private:
  absl::Status FitLayer(int32_t layer, TensorView qkv, const Batch& batch,
                        const AttentionShape& shape) {
    std::vector<std::vector<Query>> queries(shape.heads);
    double energy = 0;  // of the layer's outputs, that layers weigh alike
    for (const BatchSequence& sequence : batch.sequences) {
      const size_t cols = qkv.cols;
      const ProbeInput input = {.shape = shape,
                                .layer = 0,
                                .layers = 1,
                                .tokens = sequence.query_count,
                                .qkv = {qkv.f32() + size_t(sequence.query_start) * cols,
                                        size_t(sequence.query_count) * cols}};
      RETURN_IF_ERROR(Measure(input, &queries, &energy));
    }
    for (int32_t h = 0; h < shape.heads; ++h) {
      const HeadChoice choice = Choose(std::move(queries[h]), energy);
      theta_[size_t(layer) * shape.heads + h] = choice.theta;
      k_[size_t(layer) * shape.heads + h] = choice.k;
    }
    return absl::OkStatus();
  }

  absl::Status Measure(const ProbeInput& input, std::vector<std::vector<Query>>* queries,
                       double* energy) {
    const int32_t d = input.shape.head_dim, heads = input.shape.heads;
    AttentionParams params = base_;
    params.theta = kAllNear;
    ASSIGN_OR_RETURN(const ProbeRun near, probe_.Run(input, params, false));
    std::vector<ProbeRun> far;
    params.theta = 0;
    for (const int32_t k : choices_) {
      params.k = k;
      ASSIGN_OR_RETURN(ProbeRun run, probe_.Run(input, params, false));
      far.push_back(std::move(run));
    }
    for (int32_t h = 0; h < heads; ++h) {
      const std::vector<double> distances = CentreDistances(input, h);
      for (int32_t i = 0; i < input.tokens; ++i) {
        const size_t at = (size_t(i) * heads + h) * d;
        const float* o = &far[0].output[at];
        Query query = {.distance = distances[i],
                       .near_damage = SquaredGap(&near.output[at], o, d),
                       .far_damage = {},
                       .search = Search(i + 1)};
        for (const ProbeRun& run : far) {
          query.far_damage.push_back(SquaredGap(&run.output[at], o, d));
        }
        *energy += std::inner_product(o, o + d, o, 0.0);
        (*queries)[h].push_back(std::move(query));
      }
    }
    return absl::OkStatus();
  }

  double Search(int32_t visible) const {
    return base_.search == KeySearch::kTree ? std::min(base_.tree_distances, visible) : visible;
  }

  // The cut of the sorted distances, and the k, of least damage / energy + price * cost. Cost is
  // the share of far queries, or of the interactions of k neighbours for all.
  HeadChoice Choose(std::vector<Query> queries, double energy) const {
    std::sort(queries.begin(), queries.end(),
              [](const Query& a, const Query& b) { return a.distance < b.distance; });
    const size_t n = queries.size();
    double dearest = 0;
    for (const Query& query : queries) {
      dearest += Cost(query, base_.k);
    }
    HeadChoice best;
    double least = std::numeric_limits<double>::infinity();
    for (size_t c = 0; c < choices_.size(); ++c) {
      double damage = 0, cost = 0;
      for (const Query& query : queries) {
        damage += query.far_damage[c];
        cost += Cost(query, choices_[c]);
      }
      size_t cut = 0;
      for (int32_t i = 0; i <= kCuts; ++i) {
        for (const size_t end = n * i / kCuts; cut < end; ++cut) {
          damage += queries[cut].near_damage - queries[cut].far_damage[c];
          cost += kind_ == Kind::kNear ? -1 : 1 - Cost(queries[cut], choices_[c]);
        }
        const double total = damage / energy + price_ * cost / dearest;
        if (total < least) {
          least = total;
          best.k = choices_[c];
          best.theta = static_cast<float>(
              cut == 0   ? 0
              : cut == n ? kAllNear
                         : (queries[cut - 1].distance + queries[cut].distance) / 2);
        }
      }
    }
    return best;
  }
  double Cost(const Query& query, int32_t k) const {
    return kind_ == Kind::kNear ? 1 : query.search + k;
  }

  AttentionProbe probe_;
  AttentionParams base_, applied_;  // applied_: to the layer that runs now
  const Kind kind_;
  const double price_;
  std::vector<int32_t> choices_;
  std::vector<float> theta_;  // [layers * heads]
  std::vector<int32_t> k_;
  absl::Status status_;
};

// All fitted windows go through the model as one batch.
absl::StatusOr<AttentionParams> Fit(LabModel* lab, std::span<const std::vector<int32_t>> windows,
                                    const AttentionParams& base, Kind kind, double price) {
  Fitter fitter(lab, base, kind, price);
  Batch batch;
  const int32_t page_tokens = lab->model->kv_shape().page_tokens;
  std::vector<std::vector<int32_t>> pages;
  std::vector<std::unique_ptr<AttentionState>> states;
  AttentionCounters unread;
  pages.reserve(windows.size());
  int32_t page = 0;
  for (const std::vector<int32_t>& ids : windows) {
    const int32_t count = static_cast<int32_t>(ids.size()) - 1;
    pages.emplace_back((count + page_tokens - 1) / page_tokens);
    for (int32_t& p : pages.back()) {
      p = page++;
    }
    ASSIGN_OR_RETURN(auto state, lab->model->MakeAttentionState(base));
    states.push_back(std::move(state));
    batch.Append(std::span(ids).first(count), 0, pages.back().data(), &base, states.back().get(),
                 &unread);
  }
  lab->backend->set_observer(&fitter);
  lab->model->Logits(batch);
  lab->backend->set_observer(nullptr);
  RETURN_IF_ERROR(fitter.status());
  return fitter.Params();
}

absl::StatusOr<CalibrationFigures> Measure(LabModel* lab,
                                           std::span<const std::vector<int32_t>> windows,
                                           int64_t bytes, const AttentionParams& params) {
  AttentionCounters counters;
  double nats = 0;
  for (const std::vector<int32_t>& ids : windows) {
    const int32_t length = static_cast<int32_t>(ids.size()) - 1;
    ASSIGN_OR_RETURN(LabSequence sequence, LabSequence::Make(lab, params, 0, length));
    for (int32_t at = 0; at < length; at += kLogitRows) {
      const int32_t count = std::min(kLogitRows, length - at);
      const auto logits = sequence.Feed(std::span(ids).subspan(at, count), count, Phase::kPrefill);
      AddLoss(logits, std::span(ids).subspan(at + 1, count), &nats);
    }
    counters += sequence.counters()[static_cast<int>(Phase::kPrefill)];
  }
  return CalibrationFigures{
      .near_share = double(counters.near_queries) / double(counters.queries),
      .saving = 1 - double(counters.performed()) / double(counters.dense_equivalent()),
      .nats_per_byte = nats / double(bytes)};
}

// A rising price makes all three rise.
double Progress(const CalibrationFigures& now, const CalibrationFigures& before, Kind kind) {
  switch (kind) {
    case Kind::kNear:
      return now.near_share;
    case Kind::kSaving:
      return now.saving;
    case Kind::kLoss:
      return now.nats_per_byte - before.nats_per_byte;
  }
  return 0;
}

// Whether `a` meets the target better than `b`.
bool Better(const CalibrationFigures& a, const CalibrationFigures& b, const CalibrationTarget& t) {
  switch (t.kind) {
    case Kind::kNear:
      return std::fabs(a.near_share - t.value) < std::fabs(b.near_share - t.value);
    case Kind::kSaving:
      return a.nats_per_byte < b.nats_per_byte;
    case Kind::kLoss:
      return a.saving > b.saving;
  }
  return false;
}

// One line for each row of a table, so that a person can read and compare layers.
std::string Readable(const nlohmann::ordered_json& object) {
  std::string out = "{";
  for (const auto& [key, value] : object.items()) {
    absl::StrAppend(&out, out == "{" ? "\n  " : ",\n  ", nlohmann::json(key).dump(), ": ");
    if (value.is_array() && !value.empty() && value.front().is_array()) {
      for (size_t i = 0; i < value.size(); ++i) {
        absl::StrAppend(&out, i == 0 ? "[" : ",", "\n    ", value[i].dump());
      }
      out += "\n  ]";
    } else {
      absl::StrAppend(&out, absl::StrReplaceAll(value.dump(2), {{"\n", "\n  "}}));
    }
  }
  return out + "\n}\n";
}

std::string Percent(double share) {
  return absl::StrCat(std::round(share * 1e4) / 1e2, " %");
}

}  // namespace

absl::StatusOr<CalibrationTarget> ParseCalibrationTarget(std::string_view text) {
  const size_t equals = text.find('=');
  const std::string name(text.substr(0, equals));
  CalibrationTarget out;
  double most = 1;
  if (name == "near") {
    out.kind = Kind::kNear;
  } else if (name == "saving") {
    out.kind = Kind::kSaving;
  } else if (name == "loss") {
    out.kind = Kind::kLoss;
    most = 100;
  } else {
    return absl::InvalidArgumentError(absl::StrCat(
        "--target: '", std::string(text), "' is none of near=SHARE, saving=SHARE, loss=+NATS"));
  }
  if (equals == std::string_view::npos ||
      !absl::SimpleAtod(std::string(text.substr(equals + 1)), &out.value) ||
      !(out.value >= 0 && out.value <= most)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--target: ", name, " takes a number in [0, ", most, "]"));
  }
  return out;
}

LabLimits CalibrationLimits(const CalibrationOptions& options) {
  const int32_t fitted = (options.windows / 2) * options.length;
  return {.batch_tokens = std::max(fitted, kLogitRows),
          .logit_rows = kLogitRows,
          .kv_tokens = fitted + 16 * options.windows};  // pages of 16, each window its own
}

absl::StatusOr<Calibration> Calibrate(LabModel* lab, const TextWindows& text,
                                      const AttentionParams& base, const CalibrationTarget& target,
                                      const CalibrationOptions& options) {
  if (options.length > lab->config.max_position_embeddings) {
    return absl::InvalidArgumentError(
        absl::StrCat("--length ", options.length, " is above the model's ",
                     lab->config.max_position_embeddings, " positions"));
  }
  if (text.windows.size() < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("the text holds one window of ", options.length,
                     " tokens; one to fit and one to measure are needed"));
  }
  std::vector<std::vector<int32_t>> fitted, measured;  // alternating
  int64_t bytes = 0;
  for (size_t w = 0; w < text.windows.size(); ++w) {
    (w % 2 == 0 ? measured : fitted).push_back(text.windows[w]);
    bytes += w % 2 == 0 ? text.bytes[w] : 0;
  }
  if (fitted.size() < measured.size()) {  // an odd last one would not fit the planned memory
    bytes -= text.bytes.back();
    measured.pop_back();
  }
  AttentionParams start = base;
  start.mode = AttentionMode::kAlcca;
  start.theta = start.near_share = 0;
  start.head_theta = nullptr;
  start.head_k = nullptr;

  Calibration out;
  out.fitted_tokens = static_cast<int32_t>(fitted.size()) * options.length;
  out.measured_tokens = static_cast<int32_t>(measured.size()) * options.length;
  ASSIGN_OR_RETURN(out.before, Measure(lab, measured, bytes, start));
  ASSIGN_OR_RETURN(const CalibrationFigures dense, Measure(lab, measured, bytes, kDense));
  out.dense_nats_per_byte = dense.nats_per_byte;

  // log10 of the price. Damage and cost are shares of one, so what matters lies between.
  double low = -7, high = 4;
  std::optional<CalibrationFigures> best;
  const auto attempt = [&](double price) -> absl::StatusOr<double> {
    ASSIGN_OR_RETURN(const AttentionParams params,
                     Fit(lab, fitted, start, target.kind, std::pow(10.0, price)));
    ASSIGN_OR_RETURN(const CalibrationFigures now, Measure(lab, measured, bytes, params));
    const double progress = Progress(now, out.before, target.kind);
    const bool meets = target.kind == Kind::kNear     ? true
                       : target.kind == Kind::kSaving ? progress >= target.value
                                                      : progress <= target.value;
    if (meets && (!best || Better(now, *best, target))) {
      best = now;
      out.params = params;
      out.after = now;
    }
    return progress;
  };
  ASSIGN_OR_RETURN(const double least, attempt(low));
  ASSIGN_OR_RETURN(const double most, attempt(high));
  for (int32_t round = 0; round < options.rounds && least < target.value && most > target.value;
       ++round) {
    const double middle = (low + high) / 2;
    ASSIGN_OR_RETURN(const double progress, attempt(middle));
    (progress < target.value ? low : high) = middle;
  }
  if (!best) {
    return absl::FailedPreconditionError(
        target.kind == Kind::kSaving
            ? absl::StrCat("--target: no theta saves ", Percent(target.value),
                           ": with every query near it is ", Percent(most), " at ", options.length,
                           " tokens; take longer windows")
            : absl::StrCat("--target: the smallest change found costs ", least, " nats per byte"));
  }
  return out;
}

absl::StatusOr<std::string> CalibratedAlccaJson(const std::string& existing,
                                                const std::string& target,
                                                const std::string& text_name, const LabModel& lab,
                                                const Calibration& result) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  if (!existing.empty()) {
    json = nlohmann::ordered_json::parse(existing, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) {
      return absl::InvalidArgumentError("the existing alcca.json is not a JSON object");
    }
  }
  const AttentionParams& p = result.params;
  const size_t heads = lab.config.num_heads;
  const auto table = [heads](const auto& flat, const auto& value) {
    auto rows = nlohmann::ordered_json::array();
    for (size_t i = 0; i < flat.size(); ++i) {
      if (i % heads == 0) {
        rows.push_back(nlohmann::ordered_json::array());
      }
      rows.back().push_back(value(flat[i]));
    }
    return rows;
  };
  json["mode"] = AttentionModeName(p.mode);
  json["theta"] = table(*p.head_theta, [](float x) { return Rounded(x, 6); });
  json["k"] = p.k;
  if (p.head_k != nullptr) {
    json["k"] = table(*p.head_k, [](int32_t x) { return x; });
  }
  json.erase("near_share");
  json["search"] = TraitsOf(p.search).name;
  for (const Knob& knob : RequestKnobs()) {
    if (!knob.has_table && Applies(knob, p)) {
      json[knob.name] = IsInteger(knob) ? nlohmann::ordered_json(static_cast<int64_t>(Get(knob, p)))
                                        : nlohmann::ordered_json(Rounded(Get(knob, p), 6));
    }
  }
  const auto figures = [](const CalibrationFigures& f) {
    return nlohmann::ordered_json{{"near_share", Rounded(f.near_share, 4)},
                                  {"saving_vs_causal_dense", Rounded(f.saving, 4)},
                                  {"nats_per_byte", Rounded(f.nats_per_byte, 5)}};
  };
  json["_calibrated"] = {{"target", target},
                         {"text", text_name},
                         {"fitted_tokens", result.fitted_tokens},
                         {"measured_tokens", result.measured_tokens},
                         {"theta_0", figures(result.before)},
                         {"achieved", figures(result.after)},
                         {"dense_nats_per_byte", Rounded(result.dense_nats_per_byte, 5)}};
  return Readable(json);
}

}  // namespace alcca::lab
