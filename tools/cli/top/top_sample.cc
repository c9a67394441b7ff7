#include "tools/cli/top/top_sample.h"

#include <cmath>

#include "absl/strings/numbers.h"

namespace alcca::cli {
namespace {

struct Scalar {
  const char* name;
  double TopFigures::*field;
};
// Summed over whatever labels there are.
constexpr Scalar kScalars[] = {
    {"alcca_num_requests_running", &TopFigures::running},
    {"alcca_num_requests_waiting", &TopFigures::waiting},
    {"alcca_num_waiting_prompt_tokens", &TopFigures::waiting_tokens},
    {"alcca_kv_cache_usage_ratio", &TopFigures::kv_usage},
    {"alcca_kv_cache_pages", &TopFigures::kv_pages},
    {"alcca_index_bytes", &TopFigures::index_bytes},
    {"alcca_prompt_tokens_total", &TopFigures::prompt_tokens},
    {"alcca_generation_tokens_total", &TopFigures::generation_tokens},
    {"alcca_requests_finished_total", &TopFigures::finished},
    {"alcca_requests_rejected_total", &TopFigures::rejected},
    {"alcca_num_preemptions_total", &TopFigures::preemptions},
    {"alcca_prefix_cache_queries_total", &TopFigures::prefix_asked},
    {"alcca_prefix_cache_hits_total", &TopFigures::prefix_found},
    {"alcca_attention_fallbacks_total", &TopFigures::fallbacks},
    {"alcca_search_recall_wanted_keys_total", &TopFigures::recall_wanted},
    {"alcca_search_recall_found_keys_total", &TopFigures::recall_found},
};

struct Latency {
  const char* bucket;
  TopHistogram TopFigures::*field;
};
constexpr Latency kLatencies[] = {
    {"alcca_time_to_first_token_seconds_bucket", &TopFigures::first_token},
    {"alcca_inter_token_latency_seconds_bucket", &TopFigures::token_gap},
    {"alcca_e2e_request_latency_seconds_bucket", &TopFigures::request},
};

// More modes than there are would be another program's page.
constexpr size_t kMaxModes = 16;

std::string Label(const PrometheusSample& sample, const char* name) {
  const auto it = sample.labels.find(name);
  return it == sample.labels.end() ? "" : it->second;
}

void ReadAttention(const PrometheusSample& sample, TopFigures* figures) {
  const std::string name = Label(sample, "mode");
  if (name.empty() || (figures->modes.size() >= kMaxModes && !figures->modes.contains(name))) {
    return;
  }
  TopMode& mode = figures->modes[name];
  const std::string phase = Label(sample, "phase");
  for (size_t i = 0; i < kTopPhases.size(); ++i) {
    if (phase == kTopPhases[i] && sample.name == "alcca_attention_interactions_total") {
      mode.performed[i] += sample.value;
    } else if (phase == kTopPhases[i] && sample.name == "alcca_attention_dense_equivalent_total") {
      mode.dense[i] += sample.value;
    }
  }
  mode.queries += sample.name == "alcca_attention_queries_total" ? sample.value : 0;
  mode.near += sample.name == "alcca_attention_near_queries_total" ? sample.value : 0;
}

void ReadBucket(const PrometheusSample& sample, TopHistogram* histogram) {
  double bound = 0;
  if (absl::SimpleAtod(Label(sample, "le"), &bound) && !std::isnan(bound)) {
    histogram->cumulative[bound] += sample.value;
  }
}

}  // namespace

absl::StatusOr<TopFigures> ReadFigures(const std::vector<PrometheusSample>& samples) {
  TopFigures figures;
  bool ours = false;
  for (const PrometheusSample& sample : samples) {
    if (sample.name == "process_start_time_seconds" && std::isfinite(sample.value)) {
      figures.process_start = sample.value;
    }
    if (!sample.name.starts_with("alcca_") || !std::isfinite(sample.value)) {
      continue;
    }
    for (const Scalar& scalar : kScalars) {
      if (sample.name == scalar.name) {
        figures.*scalar.field += sample.value;
        ours = true;
      }
    }
    if (sample.name == "alcca_requests_finished_total" && Label(sample, "reason") == "error") {
      figures.failed += sample.value;
    }
    for (const Latency& latency : kLatencies) {
      if (sample.name == latency.bucket) {
        ReadBucket(sample, &(figures.*latency.field));
      }
    }
    if (sample.name.starts_with("alcca_attention_")) {
      ReadAttention(sample, &figures);
    }
  }
  if (!ours) {
    return absl::FailedPreconditionError("the page has none of alccad's metrics");
  }
  return figures;
}

const char* TopStateName(TopState state) {
  switch (state) {
    case TopState::kUp:
      return "up";
    case TopState::kServing:
      return "serving";
    case TopState::kLoading:
      return "loading";
    case TopState::kDraining:
      return "draining";
    case TopState::kUnready:
      return "unready";
    case TopState::kStalled:
      return "stalled";
    case TopState::kDown:
      return "down";
    case TopState::kUnknown:
      break;
  }
  return "unknown";
}

}  // namespace alcca::cli
