#include "server/metrics/metrics_vllm.h"

#include <prometheus/metric_family.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

namespace alcca {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Bounds = std::vector<double>;

// vLLM's bucket bounds. Ours are a superset, and only these are shown: histograms of a mixed fleet
// can be added up by `le` only if all have the same. (Prometheus 3 stores `le` in one form; before,
// our "1" and the Python client's "1.0" stay apart.)
const Bounds kVllmFirstToken = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
                                1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
const Bounds kVllmPerToken = {.01, .025, .05, .075, .1,  .15, .2, .3, .4, .5,
                              .75, 1,    2.5, 5,    7.5, 10,  20, 40, 80};
const Bounds kVllmRequest = {.3, .5, .8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                             30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
const Bounds kVllmIteration = {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};

struct Alias {
  const char* ours;
  const char* vllm;
  const Bounds* bounds = nullptr;  // null: all of ours
};
const Alias kAliases[] = {
    {"alcca_num_requests_running", "vllm:num_requests_running"},
    {"alcca_num_requests_waiting", "vllm:num_requests_waiting"},
    {"alcca_kv_cache_usage_ratio", "vllm:kv_cache_usage_perc"},
    {"alcca_kv_cache_usage_ratio", "vllm:gpu_cache_usage_perc"},  // its name before v0.10
    {"alcca_prompt_tokens_total", "vllm:prompt_tokens_total"},
    {"alcca_generation_tokens_total", "vllm:generation_tokens_total"},
    {"alcca_requests_finished_total", "vllm:request_success_total"},
    {"alcca_num_preemptions_total", "vllm:num_preemptions_total"},
    {"alcca_prefix_cache_queries_total", "vllm:prefix_cache_queries_total"},
    {"alcca_prefix_cache_hits_total", "vllm:prefix_cache_hits_total"},
    {"alcca_time_to_first_token_seconds", "vllm:time_to_first_token_seconds", &kVllmFirstToken},
    {"alcca_inter_token_latency_seconds", "vllm:inter_token_latency_seconds", &kVllmPerToken},
    {"alcca_inter_token_latency_seconds", "vllm:time_per_output_token_seconds",
     &kVllmPerToken},  // old
    {"alcca_time_per_output_token_seconds", "vllm:request_time_per_output_token_seconds",
     &kVllmPerToken},
    {"alcca_e2e_request_latency_seconds", "vllm:e2e_request_latency_seconds", &kVllmRequest},
    {"alcca_request_queue_time_seconds", "vllm:request_queue_time_seconds", &kVllmRequest},
    {"alcca_request_inference_time_seconds", "vllm:request_inference_time_seconds", &kVllmRequest},
    {"alcca_request_prefill_time_seconds", "vllm:request_prefill_time_seconds", &kVllmRequest},
    {"alcca_request_decode_time_seconds", "vllm:request_decode_time_seconds", &kVllmRequest},
    {"alcca_request_prompt_tokens", "vllm:request_prompt_tokens"},
    {"alcca_request_generation_tokens", "vllm:request_generation_tokens"},
    {"alcca_request_max_generation_tokens", "vllm:request_max_num_generation_tokens"},
    {"alcca_batch_tokens", "vllm:iteration_tokens_total", &kVllmIteration},
};

class VllmNames final : public prometheus::Collectable {
 public:
  VllmNames(std::shared_ptr<prometheus::Collectable> ours, const ServingFacts& facts)
      : ours_(std::move(ours)), common_({{"engine", "0"}, {"model_name", facts.model}}) {
    config_labels_ = common_;
    config_labels_.push_back({"block_size", std::to_string(facts.page_tokens)});
    config_labels_.push_back({"enable_prefix_caching", facts.prefix_cache ? "True" : "False"});
    config_labels_.push_back({"num_gpu_blocks", std::to_string(facts.kv_pages)});
  }

  std::vector<MetricFamily> Collect() const override {
    const std::vector<MetricFamily> ours = ours_->Collect();
    std::vector<MetricFamily> out;
    for (const Alias& alias : kAliases) {
      const auto family = std::find_if(ours.begin(), ours.end(),
                                       [&](const MetricFamily& f) { return f.name == alias.ours; });
      if (family != ours.end()) {
        out.push_back(Renamed(*family, alias));
      }
    }
    ClientMetric config;
    config.gauge.value = 1;
    out.push_back({.name = "vllm:cache_config_info",
                   .help = "Always 1; the KV cache's shape is in the labels.",
                   .type = MetricType::Gauge,
                   .metric = {Labelled(std::move(config), config_labels_)}});
    return out;
  }

 private:
  using Labels = std::vector<ClientMetric::Label>;

  static ClientMetric Labelled(ClientMetric metric, const Labels& labels) {
    metric.label.insert(metric.label.end(), labels.begin(), labels.end());
    return metric;
  }

  MetricFamily Renamed(const MetricFamily& family, const Alias& alias) const {
    MetricFamily out{.name = alias.vllm, .help = family.help, .type = family.type, .metric = {}};
    for (ClientMetric metric : family.metric) {
      for (ClientMetric::Label& label : metric.label) {
        if (label.name == "reason") {  // vLLM has no word of its own for a deadline
          label = {"finished_reason", label.value == "deadline" ? "abort" : label.value};
        }
      }
      if (alias.bounds != nullptr) {
        std::erase_if(metric.histogram.bucket, [&](const ClientMetric::Bucket& bucket) {
          return std::isfinite(bucket.upper_bound) &&
                 std::find(alias.bounds->begin(), alias.bounds->end(), bucket.upper_bound) ==
                     alias.bounds->end();
        });
      }
      metric = Labelled(std::move(metric), common_);
      const auto same =
          std::find_if(out.metric.begin(), out.metric.end(),
                       [&](const ClientMetric& m) { return m.label == metric.label; });
      if (same != out.metric.end()) {  // only counters are merged
        same->counter.value += metric.counter.value;
      } else {
        out.metric.push_back(std::move(metric));
      }
    }
    return out;
  }

  const std::shared_ptr<prometheus::Collectable> ours_;
  const Labels common_;
  Labels config_labels_;
};

}  // namespace

std::shared_ptr<prometheus::Collectable> MakeVllmNames(
    std::shared_ptr<prometheus::Collectable> ours, const ServingFacts& facts) {
  return std::make_shared<VllmNames>(std::move(ours), facts);
}

}  // namespace alcca
