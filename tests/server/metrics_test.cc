#include "server/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/testing/process.h"

namespace alcca {
namespace {

using ::testing::HasSubstr;

class MetricsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto port = metrics_.Listen("127.0.0.1:0");
    ASSERT_TRUE(port.ok()) << port.status();
    address_ = "127.0.0.1:" + std::to_string(*port);
  }
  std::string Page() { return testing::HttpGet(address_, "/metrics"); }

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
}

}  // namespace
}  // namespace alcca
