#include "server/metrics/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <ctime>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "tests/testing/process.h"

namespace alcca {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class MetricsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto port = metrics_.Listen("127.0.0.1:0");
    ASSERT_TRUE(port.ok()) << port.status();
    address_ = "127.0.0.1:" + std::to_string(*port);
  }
  std::string Page() { return testing::HttpGet(address_, "/metrics"); }

  static ServingFacts Facts() {
    return {.load_seconds = 1.5,
            .weight_bytes = 1000,
            .kv_bytes = 4096,
            .kv_pages = 64,
            .page_tokens = 16,
            .max_context = 512,
            .max_num_seqs = 8,
            .max_batch_tokens = 128,
            .max_queued_requests = 32,
            .max_queued_tokens = 9000,
            .recall_bar = 0.25,
            .model = "tiny",
            .device = "cpu (portable, 1 thread)",
            .weight_dtype = "f32",
            .attention = "alcca"};
  }

  Metrics metrics_{"9.9.9"};
  std::string address_;
};

// A dashboard must not wait for the first event of a kind to know that its series exists.
TEST_F(MetricsTest, EverySeriesOfTheContractExistsAtZero) {
  const std::string page = Page();
  for (const char* series :
       {"alcca_num_requests_running 0", "alcca_num_requests_waiting 0",
        "alcca_kv_cache_usage_ratio 0", "alcca_time_to_first_token_seconds_count 0",
        "alcca_inter_token_latency_seconds_bucket{le=\"0.001\"} 0",
        "alcca_time_per_output_token_seconds_count 0", "alcca_e2e_request_latency_seconds_count 0",
        "alcca_request_queue_time_seconds_count 0", "alcca_prompt_tokens_total 0",
        "alcca_generation_tokens_total 0", "alcca_requests_finished_total{reason=\"stop\"} 0",
        "alcca_requests_finished_total{reason=\"deadline\"} 0",
        "alcca_requests_rejected_total{reason=\"queue_full\"} 0",
        "alcca_attention_queries_total{mode=\"alcca\"} 0",
        "alcca_attention_near_queries_total{mode=\"alcca\"} 0", "alcca_index_build_seconds_count 0",
        "alcca_index_bytes 0", "alcca_build_info{version=\"9.9.9\"} 1"}) {
    EXPECT_THAT(page, HasSubstr(std::string(series) + "\n"));
  }
  EXPECT_THAT(page, HasSubstr("alcca_attention_interactions_total{"));
  EXPECT_THAT(page, HasSubstr("alcca_attention_dense_equivalent_total{"));
}

// docs/metrics.md, no more and no less: what is renamed here breaks dashboards.
TEST_F(MetricsTest, FamiliesAndTypesAreTheContract) {
  const std::map<std::string, std::string> contract = {
      {"alcca_num_requests_running", "gauge"},
      {"alcca_num_requests_waiting", "gauge"},
      {"alcca_num_waiting_prompt_tokens", "gauge"},
      {"alcca_kv_cache_usage_ratio", "gauge"},
      {"alcca_kv_cache_idle_ratio", "gauge"},
      {"alcca_kv_cache_pages", "gauge"},
      {"alcca_index_bytes", "gauge"},
      {"alcca_kv_cache_bytes", "gauge"},
      {"alcca_kv_cache_page_tokens", "gauge"},
      {"alcca_context_tokens_limit", "gauge"},
      {"alcca_running_requests_limit", "gauge"},
      {"alcca_batch_tokens_limit", "gauge"},
      {"alcca_waiting_requests_limit", "gauge"},
      {"alcca_waiting_prompt_tokens_limit", "gauge"},
      {"alcca_memory_limit_bytes", "gauge"},
      {"alcca_step_loop_last_turn_timestamp_seconds", "gauge"},
      {"alcca_health_serving", "gauge"},
      {"alcca_search_recall_bar", "gauge"},
      {"alcca_request_decode_time_seconds", "histogram"},
      {"alcca_request_inference_time_seconds", "histogram"},
      {"alcca_request_prompt_tokens", "histogram"},
      {"alcca_request_generation_tokens", "histogram"},
      {"alcca_request_max_generation_tokens", "histogram"},
      {"alcca_model_weight_bytes", "gauge"},
      {"alcca_model_load_seconds", "gauge"},
      {"alcca_build_info", "gauge"},
      {"alcca_requests_started_total", "counter"},
      {"alcca_requests_finished_total", "counter"},
      {"alcca_requests_rejected_total", "counter"},
      {"alcca_prompt_tokens_total", "counter"},
      {"alcca_generation_tokens_total", "counter"},
      {"alcca_num_preemptions_total", "counter"},
      {"alcca_prefix_cache_queries_total", "counter"},
      {"alcca_prefix_cache_hits_total", "counter"},
      {"alcca_prefix_cache_evicted_pages_total", "counter"},
      {"alcca_time_to_first_token_seconds", "histogram"},
      {"alcca_inter_token_latency_seconds", "histogram"},
      {"alcca_time_per_output_token_seconds", "histogram"},
      {"alcca_e2e_request_latency_seconds", "histogram"},
      {"alcca_request_queue_time_seconds", "histogram"},
      {"alcca_request_prefill_time_seconds", "histogram"},
      {"alcca_step_duration_seconds", "histogram"},
      {"alcca_batch_tokens", "histogram"},
      {"alcca_constraint_cache_hits_total", "counter"},
      {"alcca_constraint_cache_misses_total", "counter"},
      {"alcca_constraint_failures_total", "counter"},
      {"alcca_constraint_compile_seconds", "histogram"},
      {"alcca_constraint_mask_seconds", "histogram"},
      {"alcca_attention_interactions_total", "counter"},
      {"alcca_attention_dense_equivalent_total", "counter"},
      {"alcca_attention_queries_total", "counter"},
      {"alcca_attention_near_queries_total", "counter"},
      {"alcca_attention_kv_bytes_read_total", "counter"},
      {"alcca_search_recall_wanted_keys_total", "counter"},
      {"alcca_search_recall_found_keys_total", "counter"},
      {"alcca_multipole_checked_queries_total", "counter"},
      {"alcca_multipole_checked_error_total", "counter"},
      {"alcca_attention_fallbacks_total", "counter"},
      {"alcca_index_build_seconds", "histogram"}};
  std::map<std::string, std::string> found;
  std::istringstream page(Page());
  for (std::string line; std::getline(page, line);) {
    std::istringstream words(line);
    std::string hash, keyword, name, type;
    words >> hash >> keyword >> name >> type;
    if (keyword == "TYPE" && name.starts_with("alcca_")) {
      EXPECT_TRUE(found.emplace(name, type).second) << name;
    } else if (line.starts_with("alcca_") && !line.starts_with("alcca_build_info") &&
               !line.starts_with("alcca_memory_limit_bytes")) {
      EXPECT_TRUE(line.ends_with(" 0")) << line;
    }
  }
  EXPECT_EQ(found, contract);
}

TEST_F(MetricsTest, EveryReasonHasItsOwnSeries) {
  metrics_.Started();
  int times = 0;
  for (const RejectReason reason :
       {RejectReason::kInvalid, RejectReason::kUnimplemented, RejectReason::kQueueFull,
        RejectReason::kUnavailable, RejectReason::kDuplicateId}) {
    for (int i = 0, count = ++times; i < count; ++i) {
      metrics_.Rejected(reason);
    }
  }
  for (const FinishReason reason :
       {FinishReason::kStop, FinishReason::kLength, FinishReason::kAbort, FinishReason::kDeadline,
        FinishReason::kError}) {
    for (int i = 0, count = ++times; i < count; ++i) {
      metrics_.Finished(reason, 0.5, 3);
    }
  }
  const std::string page = Page();
  EXPECT_THAT(page, HasSubstr("alcca_requests_started_total 1\n"));
  times = 0;
  for (const char* reason :
       {"invalid", "unimplemented", "queue_full", "unavailable", "duplicate_id"}) {
    EXPECT_THAT(page, HasSubstr("alcca_requests_rejected_total{reason=\"" + std::string(reason) +
                                "\"} " + std::to_string(++times) + "\n"));
  }
  for (const char* reason : {"stop", "length", "abort", "deadline", "error"}) {
    EXPECT_THAT(page, HasSubstr("alcca_requests_finished_total{reason=\"" + std::string(reason) +
                                "\"} " + std::to_string(++times) + "\n"));
  }
  EXPECT_THAT(page, HasSubstr("alcca_e2e_request_latency_seconds_count 40\n"));
  EXPECT_THAT(page, HasSubstr("alcca_e2e_request_latency_seconds_sum 20\n"));
  EXPECT_THAT(page, HasSubstr("alcca_request_max_generation_tokens_sum 120\n"));
}

TEST_F(MetricsTest, TokensAndSequencesFillTheHistograms) {
  metrics_.Serving(Facts());
  metrics_.FirstToken(0.25);
  metrics_.GeneratedTokens(1);
  metrics_.NextTokens(0.5);
  metrics_.GeneratedTokens(3);
  Ending ending;
  ending.timings = {.queue_seconds = 0.5,
                    .prefill_seconds = 0.25,
                    .decode_seconds = 8,
                    .index_build_seconds = 0.125,
                    .preemptions = 0};
  ending.attention.mode = AttentionMode::kAlcca;
  metrics_.SequenceDone(7, 5, ending);
  // Without a token there was no prefill to time, with one no gap between tokens, and dense has no
  // index.
  ending.attention.mode = AttentionMode::kDense;
  metrics_.SequenceDone(7, 1, ending);
  metrics_.SequenceDone(7, 0, ending);
  const std::string page = Page();
  for (const char* series : {"alcca_model_load_seconds 1.5",
                             "alcca_model_weight_bytes 1000",
                             "alcca_kv_cache_pages 64",
                             "alcca_time_to_first_token_seconds_sum 0.25",
                             "alcca_inter_token_latency_seconds_sum 0.5",
                             "alcca_inter_token_latency_seconds_count 1",
                             "alcca_generation_tokens_total 4",
                             "alcca_prompt_tokens_total 21",
                             "alcca_request_queue_time_seconds_count 3",
                             "alcca_request_queue_time_seconds_sum 1.5",
                             "alcca_request_prefill_time_seconds_count 2",
                             "alcca_time_per_output_token_seconds_count 1",
                             "alcca_time_per_output_token_seconds_sum 2",
                             "alcca_request_decode_time_seconds_count 2",
                             "alcca_request_decode_time_seconds_sum 16",
                             "alcca_request_inference_time_seconds_sum 16.5",
                             "alcca_request_prompt_tokens_count 3",
                             "alcca_request_prompt_tokens_sum 21",
                             "alcca_request_generation_tokens_sum 6",
                             "alcca_request_generation_tokens_bucket{le=\"2\"} 2",
                             "alcca_index_build_seconds_count 1",
                             "alcca_index_build_seconds_sum 0.125",
                             "alcca_time_to_first_token_seconds_bucket{le=\"0.1\"} 0",
                             "alcca_time_to_first_token_seconds_bucket{le=\"0.25\"} 1",
                             "alcca_time_to_first_token_seconds_bucket{le=\"+Inf\"} 1"}) {
    EXPECT_THAT(page, HasSubstr("\n" + std::string(series) + "\n"));
  }
}

// After the last sequence has left the engine reports once more, and no step was computed.
TEST_F(MetricsTest, AnIdleReportReturnsGaugesToZero) {
  StepStats stats;
  stats.running = 3;
  stats.waiting_tokens = 9;
  stats.kv_pages_used = 1;
  stats.kv_pages_total = 4;
  stats.batch_tokens = 5;
  stats.preemptions = 2;
  stats.index_bytes = 11;
  metrics_.Step(stats);
  EXPECT_THAT(Page(), HasSubstr("alcca_num_waiting_prompt_tokens 9\n"));
  EXPECT_THAT(Page(), HasSubstr("alcca_index_bytes 11\n"));
  metrics_.Step({});
  const std::string page = Page();
  for (const char* series :
       {"alcca_num_requests_running 0", "alcca_num_waiting_prompt_tokens 0",
        "alcca_kv_cache_usage_ratio 0", "alcca_index_bytes 0", "alcca_num_preemptions_total 2",
        "alcca_batch_tokens_count 1", "alcca_step_duration_seconds_count 1"}) {
    EXPECT_THAT(page, HasSubstr("\n" + std::string(series) + "\n"));
  }
}

TEST_F(MetricsTest, PromtoolFindsNothingToCriticise) {
  if (testing::RunProgram("/bin/sh", {"-c", "command -v promtool"}).exit_code != 0) {
    GTEST_SKIP() << "promtool is not installed";
  }
  const std::string page = Page();
  ASSERT_FALSE(page.empty());
  const auto result = testing::RunProgram("promtool", {"check", "metrics"}, page);
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
}

TEST_F(MetricsTest, AStepMovesGaugesAndCounters) {
  StepStats stats;
  stats.running = 3;
  stats.waiting = 2;
  stats.kv_pages_used = 1;
  stats.kv_pages_total = 4;
  stats.batch_tokens = 5;
  stats.step_seconds = 0.2;
  AttentionCounters& counters = stats.counters[int(AttentionMode::kAlcca)][int(Phase::kDecode)];
  counters.queries = 7;
  counters.near_queries = 2;
  counters.qk_exact = 100;
  counters.dense_equivalent_qk = 60;
  counters.dense_equivalent_pv = 50;
  metrics_.Step(stats);
  metrics_.Step(stats);
  const std::string page = Page();
  EXPECT_THAT(page, HasSubstr("alcca_num_requests_running 3\n"));
  EXPECT_THAT(page, HasSubstr("alcca_kv_cache_usage_ratio 0.25\n"));
  EXPECT_THAT(page, HasSubstr("alcca_step_duration_seconds_sum 0.4\n"));
  EXPECT_THAT(page, HasSubstr("alcca_attention_near_queries_total{mode=\"alcca\"} 4\n"));
  EXPECT_THAT(page, HasSubstr("{kind=\"qk_exact\",mode=\"alcca\",phase=\"decode\"} 200\n"));
  EXPECT_THAT(page, HasSubstr("alcca_attention_dense_equivalent_total{mode=\"alcca\","
                              "phase=\"decode\"} 220\n"));
}

TEST_F(MetricsTest, APortThatIsTakenIsUnavailable) {
  Metrics other("1");
  const auto port = other.Listen(address_);
  EXPECT_TRUE(absl::IsUnavailable(port.status()));
  EXPECT_THAT(std::string(port.status().message()), HasSubstr(address_));
  EXPECT_TRUE(absl::IsUnavailable(Metrics("1").Listen("no address").status()));
  EXPECT_FALSE(Page().empty());  // the one who has it goes on
}

TEST_F(MetricsTest, LimitsAndWhatIsServedAreToldOnceTheModelIsLoaded) {
  EXPECT_THAT(Page(), Not(HasSubstr("alcca_model_info{")));
  metrics_.Serving(Facts());
  const std::string page = Page();
  for (const char* series :
       {"alcca_kv_cache_bytes 4096", "alcca_kv_cache_page_tokens 16",
        "alcca_context_tokens_limit 512", "alcca_running_requests_limit 8",
        "alcca_batch_tokens_limit 128", "alcca_waiting_requests_limit 32",
        "alcca_waiting_prompt_tokens_limit 9000", "alcca_search_recall_bar 0.25",
        "alcca_model_info{attention=\"alcca\",device=\"cpu (portable, 1 thread)\",model=\"tiny\","
        "weight_dtype=\"f32\"} 1"}) {
    EXPECT_THAT(page, HasSubstr("\n" + std::string(series) + "\n"));
  }
}

TEST_F(MetricsTest, HealthAndTheStepLoopHaveGauges) {
  metrics_.Health("readiness", true);
  metrics_.Health("liveness", true);
  metrics_.LastTurn(1234.5);
  EXPECT_THAT(Page(), HasSubstr("alcca_health_serving{service=\"readiness\"} 1\n"));
  EXPECT_THAT(Page(), HasSubstr("alcca_health_serving{service=\"liveness\"} 1\n"));
  EXPECT_THAT(Page(), HasSubstr("alcca_step_loop_last_turn_timestamp_seconds 1234.5\n"));
  metrics_.Health("readiness", false);
  metrics_.Health("", true);
  EXPECT_THAT(Page(), HasSubstr("alcca_health_serving{service=\"readiness\"} 0\n"));
  EXPECT_THAT(Page(), HasSubstr("alcca_health_serving{service=\"liveness\"} 1\n"));
}

double ValueOf(const std::string& page, const std::string& series) {
  const size_t at = page.find("\n" + series + " ");
  return at == std::string::npos ? NAN : std::stod(page.substr(at + series.size() + 2));
}

TEST_F(MetricsTest, TheProcessTellsAboutItself) {
  const std::string page = Page();
  const auto now = static_cast<double>(time(nullptr));
  EXPECT_GT(ValueOf(page, "process_resident_memory_bytes"), 1 << 20);
  EXPECT_LT(ValueOf(page, "process_resident_memory_bytes"),
            ValueOf(page, "alcca_memory_limit_bytes"));
  EXPECT_GE(ValueOf(page, "process_cpu_seconds_total"), 0);
  EXPECT_GE(ValueOf(page, "process_threads"), 1);
  EXPECT_GT(ValueOf(page, "process_open_fds"), 2);
  EXPECT_LT(ValueOf(page, "process_open_fds"), ValueOf(page, "process_max_fds"));
  EXPECT_NEAR(ValueOf(page, "process_start_time_seconds"), now, 600);
  EXPECT_LE(ValueOf(page, "process_start_time_seconds"), now + 2);
}

// What a driver does not tell has no series: a dashboard must not show 0 joules.
TEST_F(MetricsTest, ADeviceTellsWhatItsDriverTells) {
  class Telemetry final : public DeviceTelemetry {
   public:
    std::string name() const override { return "a GPU"; }
    DeviceReading Read() const override {
      DeviceReading reading;
      reading.energy_joules = 12.5;
      reading.memory_used = 3;
      reading.memory_total = 7;
      reading.busy_ratio = 0.5;
      return reading;
    }
  };
  EXPECT_THAT(Page(), Not(HasSubstr("alcca_gpu_")));
  metrics_.AddDevice(std::make_shared<Telemetry>());
  const std::string page = Page();
  EXPECT_THAT(page, HasSubstr("# TYPE alcca_gpu_energy_joules_total counter\n"
                              "alcca_gpu_energy_joules_total 12.5\n"));
  EXPECT_EQ(ValueOf(page, "alcca_gpu_memory_used_bytes"), 3);
  EXPECT_EQ(ValueOf(page, "alcca_gpu_memory_total_bytes"), 7);
  EXPECT_EQ(ValueOf(page, "alcca_gpu_busy_ratio"), 0.5);
  EXPECT_THAT(page, Not(HasSubstr("alcca_gpu_power_watts")));
  EXPECT_THAT(page, Not(HasSubstr("alcca_gpu_temperature_celsius")));
}

}  // namespace
}  // namespace alcca
