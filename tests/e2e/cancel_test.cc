// Cancel at every phase, Abort, deadlines and a full queue: everything is freed, nothing is lost,
// and the books balance.

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "google/rpc/error_details.pb.h"
#include "tests/e2e/client.h"

namespace alcca::e2e {
namespace {

using testing::DaemonProcess;

// Waits until the daemon is idle, then checks the invariants of docs/contracts.md.
void ExpectAtRest(const DaemonProcess& daemon) {
  std::map<std::string, double> scrape;
  for (int i = 0; i < 500; ++i) {
    scrape = Scrape(daemon.metrics());
    if (Total(scrape, "alcca_num_requests_running") == 0 &&
        Total(scrape, "alcca_num_requests_waiting") == 0 &&
        Total(scrape, "alcca_kv_cache_usage_ratio") == 0 &&
        Total(scrape, "alcca_requests_started_total") ==
            Total(scrape, "alcca_requests_finished_total") +
                Total(scrape, "alcca_requests_rejected_total")) {
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(Total(scrape, "alcca_num_requests_running"), 0);
  EXPECT_EQ(Total(scrape, "alcca_num_requests_waiting"), 0);
  EXPECT_EQ(Total(scrape, "alcca_kv_cache_usage_ratio"), 0);
  EXPECT_EQ(Total(scrape, "alcca_index_bytes"), 0);
  EXPECT_GT(Total(scrape, "alcca_requests_started_total"), 0);
  EXPECT_EQ(Total(scrape, "alcca_requests_started_total"),
            Total(scrape, "alcca_requests_finished_total") +
                Total(scrape, "alcca_requests_rejected_total"));
}

// Waits until `family` has this value: a sleep would only hope that the call has arrived.
void AwaitGauge(const DaemonProcess& daemon, const std::string& family, double value) {
  double now = -1;
  for (int i = 0; i < 2000 && now != value; ++i) {
    now = Total(Scrape(daemon.metrics()), family);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  ASSERT_EQ(now, value) << family;
}

std::string LongPrompt() {
  std::string prompt;
  while (prompt.size() < 2500) {
    prompt += "Once there was a bear who walked over the hill to see the sea. ";
  }
  return prompt;
}

TEST(Cancel, AtEveryPhaseFreesEverything) {
  // One sequence at a time and small chunks: a second request waits, a long prompt takes a while.
  DaemonProcess daemon({"--max-num-seqs=1", "--max-prefill-chunk=8"});
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  const v1::GenerateRequest slow = Greedy("Once upon a time", 900);
  for (int phase = 0; phase < 4; ++phase) {
    grpc::ClientContext context, behind;
    std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader, waiting;
    v1::GenerateResponse message;
    if (phase == 0) {  // at once
      reader = client.stub().Generate(&context, slow);
    } else if (phase == 1) {  // in the queue
      reader = client.stub().Generate(&context, slow);
      ASSERT_TRUE(reader->Read(&message));
      waiting = client.stub().Generate(&behind, slow);
      AwaitGauge(daemon, "alcca_num_requests_waiting", 1);
      behind.TryCancel();
      EXPECT_EQ(waiting->Finish().error_code(), grpc::StatusCode::CANCELLED);
    } else if (phase == 2) {  // while the prompt is computed
      AwaitGauge(daemon, "alcca_num_requests_running", 0);
      reader = client.stub().Generate(&context, Greedy(LongPrompt(), 200));
      AwaitGauge(daemon, "alcca_num_requests_running", 1);
    } else {  // while it decodes
      reader = client.stub().Generate(&context, slow);
      for (int i = 0; i < 5; ++i) {
        ASSERT_TRUE(reader->Read(&message));
      }
    }
    context.TryCancel();
    while (reader->Read(&message)) {
    }
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED) << phase;
  }
  EXPECT_TRUE(client.Generate(Greedy("One day", 4)).status.ok());
  ExpectAtRest(daemon);
  // Two in phase 1, one in each later phase; the call of phase 0 may end before the daemon sees it.
  EXPECT_GE(Total(Scrape(daemon.metrics()), "alcca_requests_finished_total{reason=\"abort\"}"), 4);
}

// Clients that come and go at random: AIPerf's cancellation pattern.
TEST(Cancel, AStormLeavesNothingBehind) {
  DaemonProcess daemon({"--max-num-seqs=8", "--max-queued-requests=1000"});
  ASSERT_TRUE(daemon.serving());
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&daemon, t] {
      Client client(daemon.grpc());
      for (int i = 0; i < 25; ++i) {
        grpc::ClientContext context;
        auto reader = client.stub().Generate(&context, Greedy("The bear", 300));
        std::this_thread::sleep_for(std::chrono::microseconds((t * 7919 + i * 104729) % 20000));
        context.TryCancel();
        for (v1::GenerateResponse message; reader->Read(&message);) {
        }
        reader->Finish();
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  ExpectAtRest(daemon);
}

TEST(Cancel, AClientThatVanishesIsNoticed) {
  DaemonProcess daemon;
  ASSERT_TRUE(daemon.serving());
  {
    const auto client = std::make_unique<Client>(daemon.grpc());
    grpc::ClientContext context;
    auto reader = client->stub().Generate(&context, Greedy("The bear", 900));
    v1::GenerateResponse message;
    ASSERT_TRUE(reader->Read(&message));
  }  // the channel closes with the call open
  ExpectAtRest(daemon);
  EXPECT_EQ(Total(Scrape(daemon.metrics()), "alcca_requests_finished_total{reason=\"abort\"}"), 1);
}

TEST(Cancel, AbortEndsByIdAndForgivesUnknownOnes) {
  DaemonProcess daemon;
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  v1::GenerateRequest request = Greedy("The bear", 900);
  request.set_request_id("mine");
  grpc::ClientContext context;
  auto reader = client.stub().Generate(&context, request);
  v1::GenerateResponse message;
  ASSERT_TRUE(reader->Read(&message));

  // The id is taken while it runs.
  EXPECT_EQ(client.Generate(request).status.error_code(), grpc::StatusCode::ALREADY_EXISTS);

  v1::AbortRequest abort;
  abort.add_request_ids("mine");
  abort.add_request_ids("nobody's");
  v1::AbortResponse aborted;
  grpc::ClientContext abort_context;
  ASSERT_TRUE(client.stub().Abort(&abort_context, abort, &aborted).ok());
  EXPECT_EQ(aborted.aborted(), 1u);
  while (reader->Read(&message)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  grpc::ClientContext again;
  ASSERT_TRUE(client.stub().Abort(&again, abort, &aborted).ok());
  EXPECT_EQ(aborted.aborted(), 0u);
  ExpectAtRest(daemon);
}

TEST(Cancel, ACallWithoutAnIdNeverMeetsAnothersId) {
  DaemonProcess daemon;
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  const Reply first = client.Generate(Greedy("The bear", 1));
  ASSERT_EQ(first.complete().request_id(), "alcca-1");
  v1::GenerateRequest squatter = Greedy("The bear", 900);
  squatter.set_request_id("alcca-3");  // the next but one: this call itself is the second
  grpc::ClientContext context;
  auto reader = client.stub().Generate(&context, squatter);
  v1::GenerateResponse message;
  ASSERT_TRUE(reader->Read(&message));
  const Reply reply = client.Generate(Greedy("The bear", 1));
  ASSERT_TRUE(reply.status.ok()) << reply.status.error_message();
  EXPECT_EQ(reply.complete().request_id(), "alcca-4");
  context.TryCancel();
}

TEST(Cancel, DeadlineEndsQueuedAndRunningRequests) {
  DaemonProcess daemon({"--max-num-seqs=1"});
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  ASSERT_TRUE(client.Generate(Greedy("The bear", 1)).status.ok());  // connects
  EXPECT_EQ(client.Generate(Greedy("The bear", 900), 0.2).status.error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  grpc::ClientContext context;
  auto running = client.stub().Generate(&context, Greedy("The bear", 1000));
  v1::GenerateResponse message;
  ASSERT_TRUE(running->Read(&message));
  EXPECT_EQ(client.Generate(Greedy("The fox", 1000), 0.2).status.error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  context.TryCancel();
  while (running->Read(&message)) {
  }
  running->Finish();
  ExpectAtRest(daemon);
  const auto scrape = Scrape(daemon.metrics());
  EXPECT_EQ(Total(scrape, "alcca_requests_finished_total{reason=\"deadline\"}"), 2);
  EXPECT_EQ(Total(scrape, "alcca_requests_finished_total{reason=\"abort\"}"), 1);
}

TEST(Overload, AFullQueueIsRefusedWithARetryHintAndServedLater) {
  DaemonProcess daemon({"--max-num-seqs=1", "--max-queued-requests=2"});
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  std::atomic<int> ok = 0, refused = 0, other = 0;
  std::atomic<bool> hinted = true;
  std::vector<std::thread> threads;
  for (int i = 0; i < 12; ++i) {
    threads.emplace_back([&] {
      Client own(daemon.grpc());
      const Reply reply = own.Generate(Greedy("The bear", 400));
      if (reply.status.ok()) {
        ++ok;
      } else if (reply.status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) {
        ++refused;
        const auto pushback = reply.trailers.find("grpc-retry-pushback-ms");
        const auto details = reply.trailers.find("grpc-status-details-bin");
        if (pushback == reply.trailers.end() || std::stoi(pushback->second) <= 0 ||
            details == reply.trailers.end() ||
            details->second.find("google.rpc.RetryInfo") == std::string::npos) {
          hinted = false;
        }
      } else {
        ++other;
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_GE(ok, 1);
  EXPECT_GE(refused, 1);
  EXPECT_EQ(other, 0);
  EXPECT_TRUE(hinted);
  EXPECT_TRUE(client.Generate(Greedy("The bear", 4)).status.ok());
  ExpectAtRest(daemon);
  EXPECT_EQ(Total(Scrape(daemon.metrics()), "alcca_requests_rejected_total{reason=\"queue_full\"}"),
            refused);
}

// Eight sequences that together need four times the cache: the younger are recomputed, and say
// exactly what they say alone.
TEST(Overload, PreemptionDoesNotChangeTokens) {
  // 6 layers x 4 heads x 32 x 2 x 4 bytes = 6 KiB a token: 2 MiB hold 341 tokens.
  DaemonProcess daemon({"--kv-cache-bytes=2097152", "--page-tokens=16"});
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  const std::string alone = client.Generate(Greedy("Once upon a time", 150)).text;
  std::vector<Reply> replies(8);
  std::vector<std::thread> threads;
  for (Reply& reply : replies) {
    threads.emplace_back(
        [&] { reply = Client(daemon.grpc()).Generate(Greedy("Once upon a time", 150)); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  for (const Reply& reply : replies) {
    EXPECT_TRUE(reply.status.ok()) << reply.status.error_message();
    EXPECT_EQ(reply.text, alone);
  }
  EXPECT_GT(Total(Scrape(daemon.metrics()), "alcca_num_preemptions_total"), 0);
  ExpectAtRest(daemon);
}

TEST(Overload, ARequestThatNeverFitsIsRefusedAtOnce) {
  DaemonProcess daemon({"--kv-cache-bytes=2097152", "--page-tokens=16"});
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  const Reply reply = client.Generate(Greedy("Once upon a time", 900));
  EXPECT_EQ(reply.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(reply.status.error_message().find("max_tokens"), std::string::npos)
      << reply.status.error_message();
}

}  // namespace
}  // namespace alcca::e2e
