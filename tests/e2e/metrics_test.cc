// What operators see: names, invariants, Prometheus' own opinion, and a real Prometheus scraping.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "tests/e2e/client.h"
#include "tests/testing/checkpoint_writer.h"

namespace alcca::e2e {
namespace {

using testing::DaemonProcess;
using ::testing::HasSubstr;
using testing::HttpGet;
using testing::RunProgram;

bool Installed(const char* program) {
  return RunProgram("/bin/sh", {"-c", std::string("command -v ") + program}).exit_code == 0;
}

TEST(Metrics, CountTokensRequestsAndInteractions) {
  DaemonProcess daemon;
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  int64_t prompt_tokens = 0, dense = 0;
  for (const auto mode : {v1::ATTENTION_MODE_DENSE, v1::ATTENTION_MODE_ALCCA}) {
    v1::GenerateRequest request = Greedy("Once upon a time", 21);
    request.mutable_attention()->set_mode(mode);
    const Reply reply = client.Generate(request);
    ASSERT_TRUE(reply.status.ok());
    prompt_tokens += reply.complete().prompt_tokens();
    for (const auto* c :
         {&reply.complete().attention().prefill(), &reply.complete().attention().decode()}) {
      dense += c->dense_equivalent_qk() + c->dense_equivalent_pv();
    }
  }
  const auto scrape = Scrape(daemon.metrics());
  EXPECT_EQ(Total(scrape, "alcca_prompt_tokens_total"), prompt_tokens);
  EXPECT_EQ(Total(scrape, "alcca_generation_tokens_total"), 42);
  EXPECT_EQ(Total(scrape, "alcca_requests_finished_total{reason=\"length\"}"), 2);
  EXPECT_EQ(Total(scrape, "alcca_time_to_first_token_seconds_count"), 2);
  EXPECT_EQ(Total(scrape, "alcca_inter_token_latency_seconds_count"), 40);
  EXPECT_EQ(Total(scrape, "alcca_time_per_output_token_seconds_count"), 2);
  EXPECT_EQ(Total(scrape, "alcca_e2e_request_latency_seconds_count"), 2);
  EXPECT_EQ(Total(scrape, "alcca_index_build_seconds_count"), 1);  // the alcca one
  // The reply and Prometheus tell the same story.
  EXPECT_EQ(Total(scrape, "alcca_attention_dense_equivalent_total"), dense);
  EXPECT_GT(Total(scrape, "alcca_attention_interactions_total"), 0);
}

// Generated tokens are those of the answers: one that ends its text is in neither.
TEST(Metrics, TokensThatEndTheTextAreNotCounted) {
  DaemonProcess daemon;
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  const Reply whole = client.Generate(Greedy("Once upon a time", 8));
  ASSERT_EQ(whole.token_ids.size(), 8u);
  int64_t generated = 8;
  for (const size_t end : {0, 1, 5}) {
    v1::GenerateRequest request = Greedy("Once upon a time", 8);
    request.mutable_sampling_params()->add_stop_token_ids(whole.token_ids[end]);
    const Reply reply = client.Generate(request);
    ASSERT_TRUE(reply.status.ok());
    EXPECT_LE(reply.complete().completion_tokens(), end);  // it may come earlier, too
    generated += reply.complete().completion_tokens();
  }
  EXPECT_EQ(Total(Scrape(daemon.metrics()), "alcca_generation_tokens_total"), generated);
}

TEST(Metrics, PromtoolFindsNothingToCriticise) {
  if (!Installed("promtool")) {
    GTEST_SKIP() << "promtool is not installed";
  }
  DaemonProcess daemon;
  ASSERT_TRUE(daemon.serving());
  ASSERT_TRUE(Client(daemon.grpc()).Generate(Greedy("Once", 4)).status.ok());
  const std::string page = HttpGet(daemon.metrics(), "/metrics");
  ASSERT_FALSE(page.empty());
  const auto result = RunProgram("promtool", {"check", "metrics"}, page);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out + result.err, "");
}

TEST(Metrics, ARealPrometheusScrapesThem) {
  if (!Installed("prometheus")) {
    GTEST_SKIP() << "prometheus is not installed";
  }
  DaemonProcess daemon;
  ASSERT_TRUE(daemon.serving());
  ASSERT_TRUE(Client(daemon.grpc()).Generate(Greedy("Once upon a time", 30)).status.ok());
  const testing::TempDir dir;
  const std::string config = dir.Write("prometheus.yml",
                                       "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
                                       "scrape_configs:\n"
                                       "  - job_name: alcca\n"
                                       "    static_configs: [{targets: ['" +
                                           daemon.metrics() + "']}]\n");
  const std::string address = "127.0.0.1:" + std::to_string(20000 + getpid() % 20000);
  const pid_t pid = fork();
  if (pid == 0) {
    const std::string log = dir.File("log");
    (void)!freopen(log.c_str(), "w", stdout);
    (void)!freopen(log.c_str(), "w", stderr);
    execlp("prometheus", "prometheus", ("--config.file=" + config).c_str(),
           ("--storage.tsdb.path=" + dir.File("tsdb")).c_str(),
           ("--web.listen-address=" + address).c_str(), nullptr);
    _exit(127);
  }
  std::string value;
  for (int i = 0; i < 300 && value != "30"; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    const auto json = nlohmann::json::parse(
        HttpGet(address, "/api/v1/query?query=alcca_generation_tokens_total"), nullptr, false);
    if (!json.is_discarded() && !json["data"]["result"].empty()) {
      value = json["data"]["result"][0]["value"][1];
    }
  }
  kill(pid, SIGTERM);
  waitpid(pid, nullptr, 0);
  EXPECT_EQ(value, "30");
}

TEST(Logs, EachCallIsOneJsonLine) {
  DaemonProcess daemon;
  ASSERT_TRUE(daemon.serving());
  v1::GenerateRequest request = Greedy("Once", 5);
  request.set_request_id("quote \" and \n line");
  ASSERT_TRUE(Client(daemon.grpc()).Generate(request).status.ok());
  daemon.Signal(SIGTERM);
  ASSERT_EQ(daemon.Wait(20), 0);
  bool found = false;
  std::istringstream log(daemon.Log());
  for (std::string line; std::getline(log, line);) {
    const auto json = nlohmann::json::parse(line, nullptr, false);
    ASSERT_FALSE(json.is_discarded()) << line;
    if (json["msg"] == "call") {
      EXPECT_EQ(json["request_id"], request.request_id());
      EXPECT_EQ(json["output_tokens"], 5);
      found = true;
    }
  }
  EXPECT_TRUE(found);
}

}  // namespace
}  // namespace alcca::e2e
