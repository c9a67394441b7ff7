// `alcca top` for scripts, beside a real daemon under load. The screen: top_screen_test.py.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/e2e/client.h"

namespace alcca::e2e {
namespace {

using testing::DaemonProcess;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::ProgramResult;
using testing::RunProgram;

nlohmann::json Json(const ProgramResult& result) {
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return nlohmann::json::parse(result.out, nullptr, false);
}

// Completions one after another until it is destroyed; `done` counts their tokens.
class Load {
 public:
  explicit Load(const std::string& target)
      : thread_([this, target] {
          Client client(target);
          while (!stop_) {
            v1::GenerateRequest request = Greedy("Once upon a time", 40);
            request.mutable_attention()->set_mode(v1::ATTENTION_MODE_ALCCA);
            request.mutable_attention()->set_theta(1e9);  // every query is near
            tokens_ += client.Generate(request).complete().completion_tokens();
          }
        }) {}
  ~Load() {
    stop_ = true;
    thread_.join();
  }
  bool AwaitTokens(int64_t tokens) const {
    for (int i = 0; i < 60000 && tokens_ < tokens; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return tokens_ >= tokens;
  }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<int64_t> tokens_{0};
  std::thread thread_;
};

TEST(Top, ReportsRatesLatenciesAndSavingsOfTheInterval) {
  DaemonProcess daemon;
  ASSERT_TRUE(daemon.serving());
  Load load(daemon.grpc());
  ASSERT_TRUE(load.AwaitTokens(80));
  nlohmann::json top;
  for (int i = 0; i < 30; ++i) {  // on a slow machine no token may fall into an interval
    const nlohmann::json all = Json(RunProgram(
        ALCCA_CLI_PATH, {"top", "--once", "--json", "--interval=1", "--target", daemon.grpc()}));
    ASSERT_EQ(all.size(), 1u);
    top = all[0];
    if (top["rates"].is_object() && !top["rates"]["time_to_first_token"]["p95_seconds"].is_null() &&
        top["rates"]["modes"].contains("alcca")) {
      break;
    }
  }
  EXPECT_EQ(top["state"], "serving");
  EXPECT_TRUE(top["problem"].is_null()) << top["problem"];
  EXPECT_EQ(top["model"], "afia-5m");
  EXPECT_EQ(top["daemon"], daemon.grpc());
  EXPECT_GT(top["uptime_seconds"], 0);
  const nlohmann::json& rates = top["rates"];
  EXPECT_GT(rates["generation_tokens_per_second"], 0);
  EXPECT_GE(rates["interval_seconds"], 1);
  EXPECT_FALSE(rates["restarted"]);
  EXPECT_GT(rates["time_to_first_token"]["p95_seconds"], 0);
  EXPECT_GT(rates["inter_token_latency"]["count"], 0);
  EXPECT_LE(rates["inter_token_latency"]["p50_seconds"],
            rates["inter_token_latency"]["p95_seconds"]);
  EXPECT_EQ(rates["modes"]["alcca"]["near_share"], 1);  // theta takes every query in
  EXPECT_GT(rates["modes"]["alcca"]["decode_cost_over_dense"], 0);
  EXPECT_LT(rates["modes"]["alcca"]["decode_cost_over_dense"], 1);
  EXPECT_EQ(rates["modes"].size(), 1u);
  EXPECT_EQ(top["now"]["kv_pages"], Scrape(daemon.metrics())["alcca_kv_cache_pages"]);
}

TEST(Top, FallsBackToGetLoadsWithoutMetrics) {
  DaemonProcess daemon({"--metrics-listen", ""});
  ASSERT_TRUE(daemon.serving());
  const ProgramResult text =
      RunProgram(ALCCA_CLI_PATH, {"top", "--once", "--interval=0.1", "--target", daemon.grpc()});
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_THAT(text.out, HasSubstr("serving"));
  EXPECT_THAT(text.out, HasSubstr("no metrics endpoint"));
  EXPECT_THAT(text.out, HasSubstr("0 running of 32"));
  EXPECT_THAT(text.out, Not(HasSubstr("\x1b")));  // no terminal, no escapes
}

TEST(Top, MetricsAloneAreEnoughAndOneOfManyMayBeDown) {
  DaemonProcess daemon;
  ASSERT_TRUE(daemon.serving());
  std::string gone;
  {
    DaemonProcess other;
    ASSERT_TRUE(other.serving());
    gone = other.grpc();
  }
  const nlohmann::json all =
      Json(RunProgram(ALCCA_CLI_PATH, {"top", "--once", "--json", "--interval=0.1", "--target",
                                       gone, "--metrics", daemon.metrics()}));
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0]["state"], "down");
  EXPECT_FALSE(all[0]["problem"].is_null());
  EXPECT_EQ(all[1]["state"], "up");
  EXPECT_EQ(all[1]["rates"]["generation_tokens_per_second"], 0);
  EXPECT_EQ(
      RunProgram(ALCCA_CLI_PATH, {"top", "--once", "--interval=0.1", "--target", gone}).exit_code,
      14);
  // A page that is not alccad's is no daemon.
  const nlohmann::json wrong =
      nlohmann::json::parse(RunProgram(ALCCA_CLI_PATH, {"top", "--once", "--json", "--interval=0.1",
                                                        "--metrics", daemon.grpc()})
                                .out);
  EXPECT_EQ(wrong[0]["state"], "down");
}

TEST(Top, WrongFlagsAreRefused) {
  EXPECT_EQ(RunProgram(ALCCA_CLI_PATH, {"top", "--interval=0"}).exit_code, 64);
  EXPECT_EQ(RunProgram(ALCCA_CLI_PATH, {"top", "--target"}).exit_code, 64);
}

TEST(ServerInfo, TellsTheMetricsPort) {
  DaemonProcess daemon;
  ASSERT_TRUE(daemon.serving());
  v1::GetServerInfoResponse info;
  grpc::ClientContext context;
  Client::SetDeadline(&context, 60);
  ASSERT_TRUE(Client(daemon.grpc()).stub().GetServerInfo(&context, {}, &info).ok());
  EXPECT_EQ("127.0.0.1:" + std::to_string(info.metrics_port()), daemon.metrics());
}

}  // namespace
}  // namespace alcca::e2e
