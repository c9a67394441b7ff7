#include "server/metrics/metrics.h"

#include <netdb.h>
#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <exception>
#include <map>
#include <thread>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/metrics/metrics_collectors.h"
#include "server/metrics/metrics_vllm.h"

namespace alcca {
namespace {

using prometheus::Counter;
using prometheus::Gauge;
using prometheus::Histogram;
using Labels = std::map<std::string, std::string>;
using Buckets = Histogram::BucketBoundaries;

const Buckets kFirstToken = {.001, .0025, .005, .01, .02, .04, .06, .08, .1,  .25, .5,  .75,
                             1,    2.5,   5,    7.5, 10,  20,  40,  80,  160, 640, 2560};
const Buckets kTokenGap = {.001, .0025, .005, .01, .025, .05, .075, .1, .15, .2, .3,
                           .4,   .5,    .75,  1,   2.5,  5,   7.5,  10, 20,  40, 80};
const Buckets kRequest = {.01, .05, .1, .2, .3, .5, .8,  1,   1.5, 2,   2.5,  5,   10,
                          15,  20,  30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
const Buckets kStep = {.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30};
const Buckets kSizes = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
const Buckets kTokens = {1,    2,    5,    10,    20,    50,    100,    200,   500,
                         1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000};
const Buckets kCompile = {.0001, .0005, .001, .002, .005, .01, .05, .1, .5, 1, 5, 30};
const Buckets kMask = {.000001, .000005, .00001, .00002, .00005, .0001,
                       .0002,   .0005,   .001,   .005,   .02,    .1};
const Buckets kBuild = {.00001, .0001, .001, .01, .1, 1, 10, 100};

constexpr std::array kFinished = {FinishReason::kStop, FinishReason::kLength, FinishReason::kAbort,
                                  FinishReason::kDeadline, FinishReason::kError};
constexpr const char* RejectName(RejectReason reason) {
  switch (reason) {
    case RejectReason::kInvalid:
      return "invalid";
    case RejectReason::kUnimplemented:
      return "unimplemented";
    case RejectReason::kQueueFull:
      return "queue_full";
    case RejectReason::kUnavailable:
      return "unavailable";
    case RejectReason::kDuplicateId:
      return "duplicate_id";
  }
  return "invalid";
}
constexpr std::array kRejected = {RejectReason::kInvalid, RejectReason::kUnimplemented,
                                  RejectReason::kQueueFull, RejectReason::kUnavailable,
                                  RejectReason::kDuplicateId};

constexpr std::array kPhaseNames = {"prefill", "decode"};

// Opens a TCP connection and closes it again.
void Connect(const std::string& host, const std::string& port) {
  addrinfo* found = nullptr;
  if (getaddrinfo(host.empty() ? nullptr : host.c_str(), port.c_str(), nullptr, &found) != 0) {
    return;
  }
  const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  (void)connect(fd, found->ai_addr, found->ai_addrlen);
  close(fd);
  freeaddrinfo(found);
}

}  // namespace

// Every series exists from the start, at zero.
struct Metrics::Families {
  std::shared_ptr<prometheus::Registry> registry = std::make_shared<prometheus::Registry>();
  std::shared_ptr<prometheus::Collectable> process = MakeProcessCollector();
  std::shared_ptr<prometheus::Collectable> vllm, device;  // null unless added
  std::unique_ptr<prometheus::Exposer> exposer;  // knows the collectables above only weakly
  std::string host, port;                        // of the exposer

  Gauge& MakeGauge(const char* name, const char* help, const Labels& labels = {}) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(*registry).Add(labels);
  }
  Counter& MakeCounter(const char* name, const char* help, const Labels& labels = {}) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(*registry).Add(labels);
  }
  Histogram& MakeHistogram(const char* name, const char* help, const Buckets& buckets) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(*registry).Add({}, buckets);
  }

  Gauge& running = MakeGauge("alcca_num_requests_running", "Sequences holding cache pages.");
  Gauge& waiting = MakeGauge("alcca_num_requests_waiting", "Sequences queued.");
  Gauge& waiting_tokens =
      MakeGauge("alcca_num_waiting_prompt_tokens", "Prompt tokens of queued sequences.");
  Gauge& kv_usage = MakeGauge("alcca_kv_cache_usage_ratio", "Share of KV cache pages in use.");
  Gauge& kv_idle =
      MakeGauge("alcca_kv_cache_idle_ratio",
                "Share of KV cache pages that nobody holds, kept by the prefix cache.");
  Gauge& kv_pages = MakeGauge("alcca_kv_cache_pages", "Pages of the KV cache.");
  Gauge& index_bytes =
      MakeGauge("alcca_index_bytes", "Memory of key indices and running sums beside the KV pages.");
  Gauge& weight_bytes = MakeGauge("alcca_model_weight_bytes", "Memory of the model's weights.");
  Gauge& load_seconds = MakeGauge("alcca_model_load_seconds", "Time the model took to load.");
  Gauge& kv_bytes = MakeGauge("alcca_kv_cache_bytes", "Memory set aside for keys and values.");
  Gauge& page_tokens = MakeGauge("alcca_kv_cache_page_tokens", "Tokens of a KV cache page.");
  Gauge& context_limit =
      MakeGauge("alcca_context_tokens_limit", "Prompt and output tokens of a sequence at most.");
  Gauge& seqs_limit = MakeGauge("alcca_running_requests_limit", "Sequences that run at once.");
  Gauge& batch_limit = MakeGauge("alcca_batch_tokens_limit", "Tokens computed in a step at most.");
  Gauge& queue_limit =
      MakeGauge("alcca_waiting_requests_limit", "Sequences the queue holds; one more is refused.");
  Gauge& queue_tokens_limit =
      MakeGauge("alcca_waiting_prompt_tokens_limit", "Prompt tokens that the queue holds.");
  Gauge& last_turn =
      MakeGauge("alcca_step_loop_last_turn_timestamp_seconds",
                "When the step loop last turned, idle turns included; Unix time, 0: not started.");
  Gauge& ready = MakeGauge("alcca_health_serving", "1 while this health service says SERVING.",
                           {{"service", "readiness"}});
  Gauge& live = MakeGauge("alcca_health_serving", "1 while this health service says SERVING.",
                          {{"service", "liveness"}});
  Gauge& recall_bar = MakeGauge("alcca_search_recall_bar",
                                "Recall of the tree search below which to worry; 0: none.");

  Counter& started = MakeCounter("alcca_requests_started_total", "Generate and Chat calls begun.");
  Counter& prompt_tokens =
      MakeCounter("alcca_prompt_tokens_total", "Prompt tokens of finished sequences.");
  Counter& generation_tokens = MakeCounter("alcca_generation_tokens_total", "Tokens generated.");
  Counter& prefix_asked = MakeCounter("alcca_prefix_cache_queries_total",
                                      "Prompt tokens looked up in the prefix cache.");
  Counter& prefix_found = MakeCounter("alcca_prefix_cache_hits_total",
                                      "Of these, tokens found, which were not computed again.");
  Counter& prefix_forgotten = MakeCounter("alcca_prefix_cache_evicted_pages_total",
                                          "Pages given up by the prefix cache for want of room.");
  Counter& preemptions = MakeCounter("alcca_num_preemptions_total",
                                     "Sequences evicted from the KV cache, to be recomputed.");
  std::array<Counter*, kFinished.size()> finished;
  std::array<Counter*, kRejected.size()> rejected;
  // By row of kCounters; null where it counts no interaction performed.
  Counter* interactions[kAttentionModeCount][kPhaseCount][std::size(kCounters)] = {};
  Counter* dense_equivalent[kAttentionModeCount][kPhaseCount];
  Counter* queries[kAttentionModeCount];
  Counter* near_queries[kAttentionModeCount];
  Counter* kv_bytes_read[kAttentionModeCount];
  Counter& fallbacks = MakeCounter(
      "alcca_attention_fallbacks_total",
      "Sequences answered by dense attention from where an index met its bound of memory.");
  Counter& recall_wanted = MakeCounter("alcca_search_recall_wanted_keys_total",
                                       "Nearest keys of the tree searches that were checked.");
  Counter& recall_found = MakeCounter("alcca_search_recall_found_keys_total",
                                      "Of these, keys that the tree search found.");
  Counter& error_checked = MakeCounter("alcca_multipole_checked_queries_total",
                                       "Queries of multipole compared with dense's output.");
  Counter& error_sum =
      MakeCounter("alcca_multipole_checked_error_total",
                  "Sum of their relative errors, each the norm of the difference over dense's.");

  Histogram& ttft = MakeHistogram("alcca_time_to_first_token_seconds",
                                  "Arrival to a sequence's first token.", kFirstToken);
  Histogram& itl = MakeHistogram("alcca_inter_token_latency_seconds",
                                 "Time between a sequence's tokens.", kTokenGap);
  Histogram& tpot =
      MakeHistogram("alcca_time_per_output_token_seconds",
                    "Decode time of a sequence over its tokens after the first.", kTokenGap);
  Histogram& e2e = MakeHistogram("alcca_e2e_request_latency_seconds",
                                 "Arrival to the end of a request.", kRequest);
  Histogram& queue =
      MakeHistogram("alcca_request_queue_time_seconds", "Arrival to first scheduled.", kRequest);
  Histogram& prefill = MakeHistogram("alcca_request_prefill_time_seconds",
                                     "First scheduled to first token.", kRequest);
  Histogram& decode =
      MakeHistogram("alcca_request_decode_time_seconds", "First token to last token.", kRequest);
  Histogram& inference = MakeHistogram("alcca_request_inference_time_seconds",
                                       "First scheduled to last token.", kRequest);
  Histogram& request_prompt =
      MakeHistogram("alcca_request_prompt_tokens", "Prompt tokens of a sequence.", kTokens);
  Histogram& request_generation =
      MakeHistogram("alcca_request_generation_tokens", "Tokens a sequence generated.", kTokens);
  Histogram& longest_completion =
      MakeHistogram("alcca_request_max_generation_tokens",
                    "Tokens of the longest of a request's sequences.", kTokens);
  Histogram& index_build =
      MakeHistogram("alcca_index_build_seconds",
                    "Time a sequence spent on its key indices and running sums.", kBuild);
  Histogram& step =
      MakeHistogram("alcca_step_duration_seconds", "Duration of an engine step.", kStep);
  Histogram& batch = MakeHistogram("alcca_batch_tokens", "Tokens computed in a step.", kSizes);

  Counter& constraint_hits = MakeCounter("alcca_constraint_cache_hits_total",
                                         "Requests whose constraint was compiled before.");
  Counter& constraint_misses =
      MakeCounter("alcca_constraint_cache_misses_total", "Requests whose constraint was not.");
  Counter& constraint_failures = MakeCounter("alcca_constraint_failures_total",
                                             "Of these, those whose constraint was refused.");
  Histogram& constraint_compile = MakeHistogram(
      "alcca_constraint_compile_seconds", "Time to compile a request's constraint.", kCompile);
  Histogram& constraint_mask = MakeHistogram(
      "alcca_constraint_mask_seconds",
      "Time of a step to find the tokens that constraints allow, over their number.", kMask);

  explicit Families(std::string_view version) {
    MakeGauge("alcca_build_info", "Always 1; the version is a label.",
              {{"version", std::string(version)}})
        .Set(1);
    for (size_t i = 0; i < kFinished.size(); ++i) {
      finished[i] = &MakeCounter("alcca_requests_finished_total", "Requests ended, by reason.",
                                 {{"reason", FinishReasonName(kFinished[i])}});
    }
    for (size_t i = 0; i < kRejected.size(); ++i) {
      rejected[i] = &MakeCounter("alcca_requests_rejected_total",
                                 "Requests refused before they were queued, by reason.",
                                 {{"reason", RejectName(kRejected[i])}});
    }
    for (int mode = 0; mode < kAttentionModeCount; ++mode) {
      const Labels by_mode = {{"mode", AttentionModeName(static_cast<AttentionMode>(mode))}};
      queries[mode] = &MakeCounter("alcca_attention_queries_total",
                                   "Attention queries: token, layer and query head.", by_mode);
      near_queries[mode] = &MakeCounter("alcca_attention_near_queries_total",
                                        "Queries answered by the mean value.", by_mode);
      kv_bytes_read[mode] = &MakeCounter("alcca_attention_kv_bytes_read_total",
                                         "Bytes of keys and values read by attention.", by_mode);
      for (int phase = 0; phase < kPhaseCount; ++phase) {
        Labels labels = by_mode;
        labels["phase"] = kPhaseNames[phase];
        dense_equivalent[mode][phase] = &MakeCounter(
            "alcca_attention_dense_equivalent_total",
            "Interactions that dense attention would have done, causal, QK and PV.", labels);
        for (size_t kind = 0; kind < std::size(kCounters); ++kind) {
          if (!kCounters[kind].is_performed) {
            continue;
          }
          labels["kind"] = kCounters[kind].name;
          interactions[mode][phase][kind] = &MakeCounter(
              "alcca_attention_interactions_total",
              "Interactions performed: one d-vector product, distance or accumulation.", labels);
        }
      }
    }
  }
};

Metrics::Metrics(std::string_view version) : f_(std::make_unique<Families>(version)) {}
Metrics::~Metrics() {
  StopListening();
}

// The HTTP server looks at its stop flag only when a connection comes, or every two seconds: knock.
void Metrics::StopListening() {
  if (f_->exposer == nullptr) {
    return;
  }
  std::atomic<bool> stopped = false;
  std::thread stop([&] {
    f_->exposer.reset();
    stopped = true;
  });
  while (!stopped) {
    Connect(f_->host, f_->port);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  stop.join();
}

absl::StatusOr<int> Metrics::Listen(const std::string& address) {
  try {
    f_->exposer = std::make_unique<prometheus::Exposer>(address, 2);
    f_->exposer->RegisterCollectable(f_->registry);
    f_->exposer->RegisterCollectable(f_->process);
    const int port = f_->exposer->GetListeningPorts().at(0);
    f_->host = address.substr(0, address.rfind(':'));
    if (f_->host.starts_with('[')) {  // [::1]:9090
      f_->host = f_->host.substr(1, f_->host.size() - 2);
    }
    f_->port = std::to_string(port);
    return port;
  } catch (const std::exception& e) {
    return absl::UnavailableError(
        absl::StrCat("metrics_listen: cannot listen on ", address, ": ", e.what()));
  }
}

void Metrics::Serving(const ServingFacts& facts) {
  const auto set = [](Gauge& gauge, auto value) { gauge.Set(static_cast<double>(value)); };
  set(f_->load_seconds, facts.load_seconds);
  set(f_->weight_bytes, facts.weight_bytes);
  set(f_->kv_bytes, facts.kv_bytes);
  set(f_->kv_pages, facts.kv_pages);
  set(f_->page_tokens, facts.page_tokens);
  set(f_->context_limit, facts.max_context);
  set(f_->seqs_limit, facts.max_num_seqs);
  set(f_->batch_limit, facts.max_batch_tokens);
  set(f_->queue_limit, facts.max_queued_requests);
  set(f_->queue_tokens_limit, facts.max_queued_tokens);
  set(f_->recall_bar, facts.recall_bar);
  f_->MakeGauge("alcca_model_info", "Always 1; what is served is in the labels.",
                {{"model", facts.model},
                 {"device", facts.device},
                 {"weight_dtype", facts.weight_dtype},
                 {"attention", facts.attention}})
      .Set(1);
}

void Metrics::AddVllmNames(const ServingFacts& facts) {
  f_->vllm = MakeVllmNames(f_->registry, facts);
  if (f_->exposer != nullptr) {
    f_->exposer->RegisterCollectable(f_->vllm);
  }
}

void Metrics::AddDevice(std::shared_ptr<DeviceTelemetry> device) {
  f_->device = MakeDeviceCollector(std::move(device));
  if (f_->exposer != nullptr) {
    f_->exposer->RegisterCollectable(f_->device);
  }
}

void Metrics::Health(std::string_view service, bool serving) {
  if (service == "readiness") {
    f_->ready.Set(serving ? 1 : 0);
  } else if (service == "liveness") {
    f_->live.Set(serving ? 1 : 0);
  }
}

void Metrics::LastTurn(double unix_seconds) {
  f_->last_turn.Set(unix_seconds);
}

void Metrics::Started() {
  f_->started.Increment();
}

void Metrics::Rejected(RejectReason reason) {
  f_->rejected[static_cast<size_t>(reason)]->Increment();
}

void Metrics::Finished(FinishReason reason, double e2e_seconds, int32_t longest_completion) {
  for (size_t i = 0; i < kFinished.size(); ++i) {
    if (kFinished[i] == reason) {
      f_->finished[i]->Increment();
    }
  }
  f_->e2e.Observe(e2e_seconds);
  f_->longest_completion.Observe(longest_completion);
}

void Metrics::FirstToken(double seconds) {
  f_->ttft.Observe(seconds);
}

void Metrics::NextTokens(double seconds) {
  f_->itl.Observe(seconds);
}

void Metrics::GeneratedTokens(int64_t tokens) {
  f_->generation_tokens.Increment(static_cast<double>(tokens));
}

void Metrics::SequenceDone(int32_t prompt_tokens, int32_t completion_tokens, const Ending& ending) {
  f_->prompt_tokens.Increment(prompt_tokens);
  f_->request_prompt.Observe(prompt_tokens);
  f_->request_generation.Observe(completion_tokens);
  f_->queue.Observe(ending.timings.queue_seconds);
  if (completion_tokens > 0) {
    f_->prefill.Observe(ending.timings.prefill_seconds);
    f_->decode.Observe(ending.timings.decode_seconds);
    f_->inference.Observe(ending.timings.prefill_seconds + ending.timings.decode_seconds);
  }
  if (completion_tokens > 1) {
    f_->tpot.Observe(ending.timings.decode_seconds / (completion_tokens - 1));
  }
  if (TraitsOf(ending.attention.mode).keeps_state) {
    f_->index_build.Observe(ending.timings.index_build_seconds);
  }
  f_->fallbacks.Increment(ending.fell_back ? 1 : 0);
}

void Metrics::ConstraintKnown() {
  f_->constraint_hits.Increment();
}

void Metrics::ConstraintCompiled(double seconds, bool ok) {
  f_->constraint_misses.Increment();
  f_->constraint_failures.Increment(ok ? 0 : 1);
  f_->constraint_compile.Observe(seconds);
}

void Metrics::Step(const StepStats& s) {
  f_->running.Set(s.running);
  f_->waiting.Set(s.waiting);
  f_->waiting_tokens.Set(static_cast<double>(s.waiting_tokens));
  f_->kv_usage.Set(s.kv_pages_total > 0 ? double(s.kv_pages_used) / s.kv_pages_total : 0);
  f_->index_bytes.Set(static_cast<double>(s.index_bytes));
  f_->kv_idle.Set(s.kv_pages_total > 0 ? double(s.kv_pages_idle) / s.kv_pages_total : 0);
  f_->prefix_asked.Increment(s.prefix_asked_tokens);
  f_->prefix_found.Increment(s.prefix_found_tokens);
  f_->prefix_forgotten.Increment(s.prefix_forgotten_pages);
  f_->preemptions.Increment(s.preemptions);
  if (s.batch_tokens > 0) {
    f_->step.Observe(s.step_seconds);
    f_->batch.Observe(s.batch_tokens);
  }
  if (s.constrained_rows > 0) {
    f_->constraint_mask.Observe(s.mask_seconds / s.constrained_rows);
  }
  for (int mode = 0; mode < kAttentionModeCount; ++mode) {
    for (int phase = 0; phase < kPhaseCount; ++phase) {
      const AttentionCounters& c = s.counters[mode][phase];
      if (c.queries == 0) {
        continue;
      }
      for (size_t kind = 0; kind < std::size(kCounters); ++kind) {
        if (Counter* interactions = f_->interactions[mode][phase][kind]; interactions != nullptr) {
          interactions->Increment(static_cast<double>(c.*kCounters[kind].field));
        }
      }
      f_->dense_equivalent[mode][phase]->Increment(static_cast<double>(c.dense_equivalent()));
      f_->queries[mode]->Increment(static_cast<double>(c.queries));
      f_->near_queries[mode]->Increment(static_cast<double>(c.near_queries));
      f_->kv_bytes_read[mode]->Increment(static_cast<double>(c.kv_bytes_read));
      f_->recall_wanted.Increment(static_cast<double>(c.recall_wanted));
      f_->recall_found.Increment(static_cast<double>(c.recall_found));
      f_->error_checked.Increment(static_cast<double>(c.error_checked));
      f_->error_sum.Increment(1e-6 * static_cast<double>(c.error_millionths));
    }
  }
}

}  // namespace alcca
