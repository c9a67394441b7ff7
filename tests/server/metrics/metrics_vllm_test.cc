// vLLM's names are somebody else's contract: names, types, labels and bucket bounds as it exports
// them, and the values are ours.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <sstream>
#include <string>

#include "server/metrics/metrics.h"
#include "tests/testing/process.h"

namespace alcca {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::string kLabels = "engine=\"0\",model_name=\"tiny\"";

class VllmNamesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto port = metrics_.Listen("127.0.0.1:0");
    ASSERT_TRUE(port.ok()) << port.status();
    address_ = "127.0.0.1:" + std::to_string(*port);
    ServingFacts facts;
    facts.model = "tiny";
    facts.kv_pages = 64;
    facts.page_tokens = 16;
    metrics_.Serving(facts);
    metrics_.AddVllmNames(facts);
  }
  std::string Page() { return testing::HttpGet(address_, "/metrics"); }

  Metrics metrics_{"9.9.9"};
  std::string address_;
};

TEST_F(VllmNamesTest, NamesAndTypesAreVllms) {
  const std::map<std::string, std::string> contract = {
      {"vllm:num_requests_running", "gauge"},
      {"vllm:num_requests_waiting", "gauge"},
      {"vllm:kv_cache_usage_perc", "gauge"},
      {"vllm:gpu_cache_usage_perc", "gauge"},
      {"vllm:cache_config_info", "gauge"},
      {"vllm:prompt_tokens_total", "counter"},
      {"vllm:generation_tokens_total", "counter"},
      {"vllm:request_success_total", "counter"},
      {"vllm:num_preemptions_total", "counter"},
      {"vllm:prefix_cache_queries_total", "counter"},
      {"vllm:prefix_cache_hits_total", "counter"},
      {"vllm:time_to_first_token_seconds", "histogram"},
      {"vllm:inter_token_latency_seconds", "histogram"},
      {"vllm:time_per_output_token_seconds", "histogram"},
      {"vllm:request_time_per_output_token_seconds", "histogram"},
      {"vllm:e2e_request_latency_seconds", "histogram"},
      {"vllm:request_queue_time_seconds", "histogram"},
      {"vllm:request_inference_time_seconds", "histogram"},
      {"vllm:request_prefill_time_seconds", "histogram"},
      {"vllm:request_decode_time_seconds", "histogram"},
      {"vllm:request_prompt_tokens", "histogram"},
      {"vllm:request_generation_tokens", "histogram"},
      {"vllm:request_max_num_generation_tokens", "histogram"},
      {"vllm:iteration_tokens_total", "histogram"}};
  std::map<std::string, std::string> found;
  std::istringstream page(Page());
  for (std::string line; std::getline(page, line);) {
    std::istringstream words(line);
    std::string hash, keyword, name, type;
    words >> hash >> keyword >> name >> type;
    if (keyword == "TYPE" && name.starts_with("vllm:")) {
      found[name] = type;
    } else if (line.starts_with("vllm:")) {
      EXPECT_THAT(line, HasSubstr(kLabels));
    }
  }
  EXPECT_EQ(found, contract);
}

// Counts below a bound stay right when finer bounds of ours are left out.
TEST_F(VllmNamesTest, BucketsAreVllms) {
  for (const double seconds : {0.002, 0.004, 0.03, 100.0}) {
    metrics_.NextTokens(seconds);
    metrics_.GeneratedTokens(1);
  }
  const std::string page = Page();
  const std::string name = "vllm:inter_token_latency_seconds_bucket{" + kLabels + ",le=";
  EXPECT_THAT(page, Not(HasSubstr(name + "\"0.001\"")));
  EXPECT_THAT(page, HasSubstr(name + "\"0.01\"} 2\n"));
  EXPECT_THAT(page, HasSubstr(name + "\"0.025\"} 2\n"));
  EXPECT_THAT(page, HasSubstr(name + "\"0.05\"} 3\n"));
  EXPECT_THAT(page, HasSubstr(name + "\"80\"} 3\n"));
  EXPECT_THAT(page, HasSubstr(name + "\"+Inf\"} 4\n"));
  EXPECT_THAT(page, HasSubstr("vllm:generation_tokens_total{" + kLabels + "} 4\n"));
}

TEST_F(VllmNamesTest, EveryBoundOfVllmIsOneOfOurs) {
  const std::map<std::string, int> bounds = {{"time_to_first_token_seconds", 22},
                                             {"inter_token_latency_seconds", 19},
                                             {"request_time_per_output_token_seconds", 19},
                                             {"e2e_request_latency_seconds", 21},
                                             {"request_queue_time_seconds", 21},
                                             {"iteration_tokens_total", 13}};
  const std::string page = Page();
  for (const auto& [name, count] : bounds) {
    const std::string series = "\nvllm:" + name + "_bucket{";
    int found = 0;
    for (size_t at = page.find(series); at != std::string::npos; at = page.find(series, at + 1)) {
      ++found;
    }
    EXPECT_EQ(found, count + 1) << name;  // and +Inf
  }
}

TEST_F(VllmNamesTest, ReasonsAndTheCacheAreToldInVllmsWords) {
  metrics_.Finished(FinishReason::kStop, 1, 5);
  metrics_.Finished(FinishReason::kAbort, 1, 5);
  metrics_.Finished(FinishReason::kDeadline, 1, 5);
  const std::string page = Page();
  EXPECT_THAT(
      page, HasSubstr("vllm:request_success_total{finished_reason=\"stop\"," + kLabels + "} 1\n"));
  EXPECT_THAT(
      page, HasSubstr("vllm:request_success_total{finished_reason=\"abort\"," + kLabels + "} 2\n"));
  EXPECT_THAT(page, Not(HasSubstr("finished_reason=\"deadline\"")));
  EXPECT_THAT(page, HasSubstr("vllm:cache_config_info{" + kLabels +
                              ",block_size=\"16\",enable_prefix_caching=\"False\","
                              "num_gpu_blocks=\"64\"} 1\n"));
}

}  // namespace
}  // namespace alcca
