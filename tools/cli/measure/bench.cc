#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <limits>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "tools/cli/commands.h"
#include "tools/cli/measure/bench_stats.h"
#include "tools/cli/measure/cost.h"
#include "tools/cli/options.h"
#include "tools/cli/report.h"

namespace alcca::cli {
namespace {

constexpr int kConcurrencyMax = 4096;

struct BenchFlags {
  ConnectionOptions connection;
  AttentionOptions attention;
  JsonOption json;
  int requests = 32;
  int warmup = 1;
  std::optional<int> concurrency;  // 1; with a rate as many as come
  double request_rate = 0;         // per second; 0: as fast as concurrency allows
  uint32_t prefix_len = 0, input_len = 128, output_len = 128;
  float temperature = 0;
  uint32_t seed = 0;
  std::vector<std::string> goodput;
  std::string cache_salt = absl::StrCat("bench ", std::random_device()());  // each run begins cold
  bool bypass_prefix_cache = false;
};

struct Totals {
  std::vector<RequestTimes> requests;
  double seconds = 0;
  Cost cost;
  v1::AttentionCounters decode;  // of `cost`, the part of decoding
  int64_t index_bytes = 0;       // summed over requests, each at its peak
  double index_build_seconds = 0;
  double late_seconds = 0;  // the worst, of a request sent after its arrival
  std::string mode;
  grpc::Status first_error;
};

// Prompts of random token ids: prefix_len that all begin with, then input_len; output_len tokens
// whatever the model says. The "random" workload of other engines' benchmarks. Without a prefix
// nothing is shared, not even with a run before.
std::vector<v1::GenerateRequest> MakeRequests(const BenchFlags& options, uint32_t vocab_size,
                                              int count) {
  std::mt19937 random(options.seed);
  // The lowest ids are control and byte pieces; real text has few.
  std::uniform_int_distribution<uint32_t> id(vocab_size > 1024 ? 512 : 3, vocab_size - 1);
  std::vector<v1::GenerateRequest> requests(count);
  std::vector<uint32_t> prefix(options.prefix_len);
  std::generate(prefix.begin(), prefix.end(), [&] { return id(random); });
  for (v1::GenerateRequest& request : requests) {
    request.mutable_tokenized()->mutable_input_ids()->Assign(prefix.begin(), prefix.end());
    for (uint32_t i = 0; i < options.input_len; ++i) {
      request.mutable_tokenized()->add_input_ids(id(random));
    }
    request.set_cache_salt(options.cache_salt);
    request.set_bypass_prefix_cache(options.bypass_prefix_cache || options.prefix_len == 0);
    v1::SamplingParams& sampling = *request.mutable_sampling_params();
    sampling.set_max_tokens(options.output_len);
    sampling.set_ignore_eos(true);
    sampling.set_temperature(options.temperature);
    sampling.set_seed(static_cast<int32_t>(options.seed));
    request.set_stream(true);
    *request.mutable_attention() = options.attention.Params();
  }
  return requests;
}

// Seconds after the start at which each request is sent: a Poisson process, or all at once.
std::vector<double> Arrivals(const BenchFlags& options, size_t count) {
  std::vector<double> at(count, 0);
  if (options.request_rate > 0) {
    std::mt19937 random(options.seed + 1);
    std::exponential_distribution<double> gap(options.request_rate);
    for (size_t i = 1; i < count; ++i) {
      at[i] = at[i - 1] + gap(random);
    }
  }
  return at;
}

// Threads, each with one request in flight. Where arrivals have a rate they must not wait for
// answers, or a slow server would be asked more slowly.
int Workers(const BenchFlags& options, size_t requests) {
  const int most = options.concurrency.value_or(options.request_rate > 0 ? kConcurrencyMax : 1);
  return static_cast<int>(std::min(requests, static_cast<size_t>(most)));
}

class Benchmark {
 public:
  explicit Benchmark(const BenchFlags& options)
      : options_(options), stub_(options.connection.Stub()) {}

  grpc::Status Connect(v1::GetModelInfoResponse* info) {
    const grpc::Status status = stub_->GetModelInfo(options_.connection.Context().get(), {}, info);
    heads_ = int64_t{info->num_layers()} * info->num_attention_heads();
    return status;
  }

  Totals Run(const std::vector<v1::GenerateRequest>& requests) {
    totals_ = {};
    totals_.requests.resize(requests.size());
    const std::vector<double> arrivals = Arrivals(options_, requests.size());
    std::atomic<size_t> next = 0;
    const auto start = Clock::now();
    std::vector<std::thread> workers;
    for (int i = 0; i < Workers(options_, requests.size()); ++i) {
      workers.emplace_back([&] {
        for (size_t at = next++; at < requests.size(); at = next++) {
          if (options_.request_rate <= 0) {
            totals_.requests[at] = Send(requests[at], Clock::now());
            continue;
          }
          const auto arrival = start + std::chrono::duration_cast<Clock::duration>(
                                           std::chrono::duration<double>(arrivals[at]));
          std::this_thread::sleep_until(arrival);
          NoteLate(Seconds(arrival, Clock::now()));
          totals_.requests[at] = Send(requests[at], arrival);
        }
      });
    }
    for (std::thread& worker : workers) {
      worker.join();
    }
    totals_.seconds = Seconds(start, Clock::now());
    return std::move(totals_);
  }

 private:
  void NoteLate(double seconds) {
    const std::lock_guard lock(mutex_);
    totals_.late_seconds = std::max(totals_.late_seconds, seconds);
  }

  // `start`: when it should have been sent, from which its times count.
  RequestTimes Send(const v1::GenerateRequest& request, TimePoint start) {
    RequestTimes times;
    const auto context = options_.connection.Context();
    auto last = start;
    const auto reader = stub_->Generate(context.get(), request);
    for (v1::GenerateResponse message; reader->Read(&message);) {
      const auto now = Clock::now();
      if (message.has_chunk()) {
        if (times.ttft == 0) {
          times.ttft = Seconds(start, now);
        } else {
          times.itl.push_back(Seconds(last, now));
        }
        last = now;
        times.e2el = Seconds(start, now);
      } else {
        times.prompt_tokens = message.complete().prompt_tokens();
        times.output_tokens = message.complete().completion_tokens();
        Add(message.complete().attention());
      }
    }
    const grpc::Status status = reader->Finish();
    times.ok = status.ok();
    if (!status.ok()) {
      const std::lock_guard lock(mutex_);
      if (totals_.first_error.ok()) {
        totals_.first_error = status;
      }
    }
    return times;
  }

  void Add(const v1::AttentionReport& report) {
    const std::lock_guard lock(mutex_);
    totals_.mode = ModeName(report.applied().mode());
    totals_.cost.Add(report, heads_);
    cli::Add(report.decode(), &totals_.decode);
    totals_.index_bytes += report.index_bytes();
    totals_.index_build_seconds += report.index_build_seconds();
  }

  const BenchFlags& options_;
  const std::unique_ptr<v1::Inference::Stub> stub_;
  int64_t heads_ = 0;  // layers times query heads
  std::mutex mutex_;
  Totals totals_;
};

// The figures, printed and (with --json) written: one list, so that both say the same.
class ReportTable {
 public:
  explicit ReportTable(FILE* out) : out_(out) {}

  void Add(const char* name, double value, const char* unit) {
    std::fprintf(out_, "  %-34s %12.2f %s\n", name, value, unit);
    json_[name] = value;
  }
  void AddMilliseconds(const char* name, std::vector<double> seconds) {
    if (seconds.empty()) {
      std::fprintf(out_, "  %-6s %10s %10s %10s %10s %10s\n", name, "-", "-", "-", "-", "-");
      json_[std::string(name) + "_ms"] = nullptr;
      return;
    }
    const Summary s = Summarise(std::move(seconds));
    std::fprintf(out_, "  %-6s %10.2f %10.2f %10.2f %10.2f %10.2f\n", name, 1e3 * s.mean,
                 1e3 * s.p50, 1e3 * s.p90, 1e3 * s.p99, 1e3 * s.max);
    json_[std::string(name) + "_ms"] = {{"mean", 1e3 * s.mean},
                                        {"p50", 1e3 * s.p50},
                                        {"p90", 1e3 * s.p90},
                                        {"p99", 1e3 * s.p99},
                                        {"max", 1e3 * s.max}};
  }
  nlohmann::json& json() { return json_; }

 private:
  FILE* out_;
  nlohmann::json json_;
};

// What attention cost. An output token is a query of decoding in one layer and head: the first
// comes from prefill, the last is never fed.
void AddAttention(const Totals& totals, ReportTable* table) {
  const Cost& cost = totals.cost;
  const v1::AttentionCounters& decode = totals.decode;
  if (cost.sum.dense_equivalent_qk() == 0) {
    return;
  }
  table->Add("interactions of causal dense", 100 * cost.performed_over_causal(), "%");
  table->Add("saving against causal dense", 100 * (1 - cost.performed_over_causal()), "%");
  table->Add("query-key saving against causal", 100 * (1 - cost.query_key_over_causal()), "%");
  if (decode.queries() > 0) {
    const double tokens = double(decode.queries());
    table->Add("interactions per output token", double(Performed(decode)) / tokens,
               "per layer and head");
    table->Add("of these on the query-key side",
               double(QueryKey(decode) + decode.index_build()) / tokens, "");
    table->Add("causal dense per output token",
               double(decode.dense_equivalent_qk() + decode.dense_equivalent_pv()) / tokens, "");
  }
  table->Add("near queries", 100 * cost.near_share(), "%");
  const double requests = double(cost.sequences);
  table->Add("index bytes", double(totals.index_bytes) / requests, "per request");
  table->Add("index build", 1e3 * totals.index_build_seconds / requests, "ms per request");
}

nlohmann::json Print(const Totals& totals, const Objectives& objectives, FILE* out) {
  std::vector<double> ttft, tpot, itl, e2el;
  int64_t done = 0, good = 0, prompt = 0, output = 0;
  for (const RequestTimes& r : totals.requests) {
    if (!r.ok) {
      continue;
    }
    ++done;
    good += objectives.Met(r);
    prompt += r.prompt_tokens;
    output += r.output_tokens;
    ttft.push_back(r.ttft);
    e2el.push_back(r.e2el);
    if (r.output_tokens > 1) {
      tpot.push_back(r.tpot());
    }
    itl.insert(itl.end(), r.itl.begin(), r.itl.end());
  }
  ReportTable table(out);
  table.json()["attention_mode"] = totals.mode;
  std::fprintf(out, "attention: %s\n", totals.mode.c_str());
  table.Add("requests finished", double(done), "");
  table.Add("requests failed", double(totals.requests.size() - size_t(done)), "");
  table.Add("duration", totals.seconds, "s");
  table.Add("request throughput", double(done) / totals.seconds, "requests/s");
  table.Add("output token throughput", double(output) / totals.seconds, "tokens/s");
  table.Add("total token throughput", double(prompt + output) / totals.seconds, "tokens/s");
  if (totals.late_seconds > 0) {
    table.Add("latest send after its arrival", 1e3 * totals.late_seconds, "ms");
  }
  if (objectives.Any()) {
    table.Add("goodput", double(good) / totals.seconds, "requests/s");
  }
  AddAttention(totals, &table);
  std::fprintf(out, "  %-6s %10s %10s %10s %10s %10s\n", "ms", "mean", "p50", "p90", "p99", "max");
  table.AddMilliseconds("TTFT", std::move(ttft));
  table.AddMilliseconds("TPOT", std::move(tpot));
  table.AddMilliseconds("ITL", std::move(itl));
  table.AddMilliseconds("E2EL", std::move(e2el));
  return table.json();
}

int Bench(const BenchFlags& options) {
  Objectives objectives;
  for (const std::string& text : options.goodput) {
    (void)ParseObjective(text, &objectives);  // checked by the flag
  }
  Benchmark benchmark(options);
  v1::GetModelInfoResponse info;
  if (const grpc::Status status = benchmark.Connect(&info); !status.ok()) {
    return Report(status);
  }
  std::vector<v1::GenerateRequest> requests =
      MakeRequests(options, info.vocab_size(), options.warmup + options.requests);
  benchmark.Run({requests.end() - options.warmup, requests.end()});
  requests.resize(options.requests);
  std::fprintf(
      options.json.text(), "%s, %s, %s: %d requests of %u + %u tokens, %d at once at most%s\n",
      info.served_model_name().c_str(), info.weight_dtype().c_str(), info.device().c_str(),
      options.requests, options.prefix_len + options.input_len, options.output_len,
      Workers(options, requests.size()), options.request_rate > 0 ? ", Poisson arrivals" : "");
  const Totals totals = benchmark.Run(requests);
  const nlohmann::json json = Print(totals, objectives, options.json.text());
  if (const grpc::Status status = options.json.Write(json); !status.ok()) {
    return Report(status);
  }
  return Report(totals.first_error);
}

}  // namespace

void AddBench(CLI::App* app, Run* run) {
  CLI::App* command = app->add_subcommand("bench", "Measure latency and throughput");
  auto options = std::make_shared<BenchFlags>();
  options->connection.AddTo(command);
  options->attention.AddTo(command);
  options->json.AddTo(command);
  command->add_option("--requests", options->requests)
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  command->add_option("--warmup", options->warmup, "requests sent first and not counted")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  command
      ->add_option("--concurrency", options->concurrency,
                   "requests in flight at most; default 1, with --request-rate as many as come")
      ->check(CLI::Range(1, kConcurrencyMax));
  command
      ->add_option("--request-rate", options->request_rate,
                   "Poisson arrivals a second; 0: as fast as concurrency allows")
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option("--prefix-len", options->prefix_len,
                   "tokens with which all prompts begin, before --input-len of their own")
      ->check(CLI::Range(0u, 1u << 20))
      ->capture_default_str();
  command->add_flag("--bypass-prefix-cache", options->bypass_prefix_cache,
                    "compute them for each request");
  command->add_option("--input-len", options->input_len, "prompt tokens (random ids)")
      ->check(CLI::Range(1u, 1u << 20))
      ->capture_default_str();
  command->add_option("--output-len", options->output_len, "tokens generated, end token ignored")
      ->check(CLI::Range(1u, 1u << 20))
      ->capture_default_str();
  command->add_option("--temperature", options->temperature)->capture_default_str();
  command->add_option("--seed", options->seed)->capture_default_str();
  command->add_option("--goodput", options->goodput, "objective, as ttft:200 (ms); also tpot, e2el")
      ->check([](const std::string& text) {
        Objectives unused;
        return ParseObjective(text, &unused);
      });
  command->callback([options, run] { *run = [options] { return Bench(*options); }; });
}

}  // namespace alcca::cli
