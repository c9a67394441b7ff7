#include "engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/testing/fake_model.h"
#include "tests/testing/scheduler_harness.h"

namespace alcca {
namespace {

using testing::Completion;
using testing::Completions;
using testing::FakeModel;
using testing::FakeModelOptions;
using ::testing::HasSubstr;
using testing::MakeRequest;
using testing::SchedulerHarness;

// Collects what comes out; any thread may wait for a state of it.
class CollectingSink final : public EventSink {
 public:
  void OnStep(std::vector<TokenNews> news, const StepStats& stats) override {
    {
      const std::lock_guard lock(mutex_);
      completions_.Take(std::move(news));
      last_stats_ = stats;
      ++steps_;
    }
    changed_.notify_all();
  }
  void AwaitFinished(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return completions_.finished() >= count; });
  }
  // Until the report without news that follows the last finish.
  StepStats AwaitIdleReport() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] {
      return last_stats_.running == 0 && last_stats_.waiting == 0 && last_stats_.batch_tokens == 0;
    });
    return last_stats_;
  }
  // Only when the engine is idle or stopped.
  const Completions& completions() const { return completions_; }
  const Completion& at(uint64_t key, int32_t index = 0) const {
    return completions_.at(key, index);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  Completions completions_;
  StepStats last_stats_;
  int steps_ = 0;
};

// Holds the engine thread inside Forward until opened.
class Gate {
 public:
  void Pass() {
    std::unique_lock lock(mutex_);
    ++arrivals_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_; });
  }
  void AwaitArrival(int count = 1) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return arrivals_ >= count; });
  }
  void Open() {
    {
      const std::lock_guard lock(mutex_);
      open_ = true;
    }
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int arrivals_ = 0;
  bool open_ = false;
};

EngineOptions Options() {
  EngineOptions options;
  options.max_num_seqs = 4;
  options.max_batch_tokens = 32;
  options.max_prefill_chunk = 16;
  options.max_context = 200;
  return options;
}

std::unique_ptr<Engine> MakeEngine(const EngineOptions& options, EventSink* sink,
                                   std::function<void(const Batch&)> on_forward = nullptr) {
  auto engine = Engine::Create(
      options, std::make_unique<FakeModel>(FakeModelOptions{.on_forward = std::move(on_forward)}),
      nullptr, sink);
  EXPECT_TRUE(engine.ok()) << engine.status();
  return *std::move(engine);
}

void AwaitIdle(const Engine& engine) {
  while (!engine.Idle()) {
    std::this_thread::yield();
  }
}

void ExpectNothingHeld(const Engine& engine) {
  const EngineLoad load = engine.Load();
  EXPECT_EQ(load.running, 0);
  EXPECT_EQ(load.waiting, 0);
  EXPECT_EQ(load.waiting_tokens, 0);
  EXPECT_EQ(load.kv_pages_used, 0);
  EXPECT_EQ(FakeModel::live_states(), 0);
}

TEST(Engine, SaysWhatTheSchedulerSays) {
  SchedulerHarness alone(Options(), {});
  alone.Submit(MakeRequest(5, 40, 30));
  alone.Finish();
  CollectingSink sink;
  const auto engine = MakeEngine(Options(), &sink);
  ASSERT_TRUE(engine->Submit(MakeRequest(5, 40, 30)).ok());
  sink.AwaitFinished(1);
  AwaitIdle(*engine);
  EXPECT_EQ(sink.at(5).tokens, alone.completions().at(5).tokens);
  EXPECT_EQ(sink.at(5).finish(), FinishReason::kLength);
  ExpectNothingHeld(*engine);
}

TEST(Engine, GaugesReturnToZero) {
  CollectingSink sink;
  const auto engine = MakeEngine(Options(), &sink);
  sink.AwaitIdleReport();  // before anything came
  ASSERT_TRUE(engine->Submit(MakeRequest(1, 4, 4)).ok());
  sink.AwaitFinished(1);
  const StepStats stats = sink.AwaitIdleReport();
  EXPECT_EQ(stats.kv_pages_used, 0);
  EXPECT_EQ(stats.kv_pages_total, 64);
  EXPECT_EQ(stats.index_bytes, 0);
}

// Steps and what they brought, in the order in which they were seen: "s" a step's work, "t" a
// token.
std::string OrderOfThings(bool asynchronous) {
  class Recorder final : public EventSink {
   public:
    explicit Recorder(std::string* order) : order_(order) {}
    void OnStep(std::vector<TokenNews> news, const StepStats&) override {
      for (const TokenNews& one : news) {
        order_->append(one.token_ids.size(), 't');
      }
    }

   private:
    std::string* const order_;
  };
  std::string order;
  Recorder sink(&order);
  const FakeModelOptions model = {.asynchronous = asynchronous,
                                  .on_forward = [&](const Batch&) { order += 's'; }};
  const auto engine =
      *Engine::Create(Options(), std::make_unique<FakeModel>(model), nullptr, &sink);
  EXPECT_TRUE(engine->Submit(MakeRequest(1, 4, 3)).ok());
  AwaitIdle(*engine);
  engine->Stop();
  return order;
}

TEST(Engine, TokensGoOutWhileADeviceComputesTheNextStep) {
  EXPECT_EQ(OrderOfThings(true), "sststt");
}

TEST(Engine, TokensGoOutBeforeTheEngineThreadComputesTheNextStep) {
  EXPECT_EQ(OrderOfThings(false), "ststst");
}

TEST(Engine, RefusesBadOptions) {
  CollectingSink sink;
  EngineOptions options = Options();
  options.max_context = 0;
  const auto create = [&] {
    return Engine::Create(options, std::make_unique<FakeModel>(FakeModelOptions{}), nullptr, &sink)
        .status();
  };
  EXPECT_EQ(create().message(), "max_context is 0, must be > 0");
  options = Options();
  options.eos_token_ids = {61};
  EXPECT_THAT(create().message(), HasSubstr("61"));
}

TEST(Engine, RefusesBadRequests) {
  CollectingSink sink;
  EngineOptions options = Options();
  options.max_queued_tokens = 100;
  options.max_queued_requests = 3;
  const auto engine = MakeEngine(options, &sink);
  const auto refused = [&](const std::function<void(Request&)>& change) {
    Request request = MakeRequest(1, 40, 10);
    change(request);
    const absl::Status status = engine->Submit(std::move(request));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  };
  EXPECT_THAT(refused([](Request& r) { r.sampling.max_tokens = 161; }), HasSubstr("of 200 tokens"));
  EXPECT_THAT(refused([](Request& r) { r.prompt[7] = 61; }), HasSubstr("prompt has token id 61"));
  EXPECT_THAT(refused([](Request& r) { r.prompt[7] = -1; }), HasSubstr("token id -1"));
  EXPECT_THAT(refused([](Request& r) { r.sampling.stop_token_ids = {99}; }), HasSubstr("stop_"));
  EXPECT_THAT(refused([](Request& r) { r.sampling.logit_bias = {{99, 1.0f}}; }), HasSubstr("bias"));
  EXPECT_THAT(refused([](Request& r) { r.prompt.clear(); }), HasSubstr("prompt"));
  EXPECT_THAT(refused([](Request& r) { r.sampling.n = 0; }), HasSubstr("n >= 1"));
  EXPECT_THAT(refused([](Request& r) { r.sampling.n = 4; }), HasSubstr("whole queue"));
  EXPECT_THAT(refused([](Request& r) { r.sampling.n = 3; }), HasSubstr("100 tokens"));
  EXPECT_TRUE(engine->Idle());
}

TEST(Engine, AFullQueueRefusesAndRecovers) {
  CollectingSink sink;
  Gate gate;
  EngineOptions options = Options();
  options.max_num_seqs = 1;
  options.max_queued_requests = 3;
  options.max_queued_tokens = 30;
  const auto engine = MakeEngine(options, &sink, [&](const Batch&) { gate.Pass(); });
  ASSERT_TRUE(engine->Submit(MakeRequest(1, 10, 5)).ok());
  gate.AwaitArrival();
  EXPECT_EQ(engine->Load().waiting, 0);  // it runs
  EXPECT_EQ(engine->Load().running, 1);
  Request twins = MakeRequest(2, 5, 5);
  twins.sampling.n = 2;
  ASSERT_TRUE(engine->Submit(twins).ok());
  EXPECT_EQ(engine->Submit(MakeRequest(2, 5, 5)).code(), absl::StatusCode::kAlreadyExists);
  twins.key = 3;
  absl::Status full = engine->Submit(twins);  // sequences
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(full.message(), HasSubstr("2 of 3 sequences"));
  full = engine->Submit(MakeRequest(3, 21, 5));  // tokens
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(full.message(), HasSubstr("10 of 30 prompt tokens"));
  ASSERT_TRUE(engine->Submit(MakeRequest(4, 20, 5)).ok());
  EXPECT_EQ(engine->Submit(MakeRequest(5, 1, 1)).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(engine->Load().waiting, 3);
  EXPECT_EQ(engine->Load().waiting_tokens, 30);
  gate.Open();
  sink.AwaitFinished(4);
  AwaitIdle(*engine);
  ASSERT_TRUE(engine->Submit(MakeRequest(5, 1, 1)).ok());
  sink.AwaitFinished(5);
  AwaitIdle(*engine);
  ExpectNothingHeld(*engine);
}

TEST(Engine, CancelEndsQueuedAndRunningWithinAStep) {
  CollectingSink sink;
  Gate gate;
  EngineOptions options = Options();
  options.max_num_seqs = 1;
  const auto engine = MakeEngine(options, &sink, [&](const Batch&) { gate.Pass(); });
  ASSERT_TRUE(engine->Submit(MakeRequest(1, 10, 100)).ok());
  gate.AwaitArrival();
  ASSERT_TRUE(engine->Submit(MakeRequest(2, 10, 100)).ok());
  engine->Cancel(1);
  engine->Cancel(1);
  engine->Cancel(2);
  engine->Cancel(77);
  gate.Open();
  sink.AwaitFinished(2);
  AwaitIdle(*engine);
  EXPECT_EQ(sink.at(1).finish(), FinishReason::kAbort);
  EXPECT_EQ(sink.at(1).tokens.size(), 1u);  // of the step that was under way
  EXPECT_EQ(sink.at(2).finish(), FinishReason::kAbort);
  EXPECT_EQ(sink.at(2).tokens.size(), 0u);
  engine->Cancel(1);
  ExpectNothingHeld(*engine);
}

// The engine thread takes what was submitted and what was cancelled one after the other, and needs
// a while to queue a large request in between.
TEST(Engine, ACancelRightAfterItsSubmitIsNotLost) {
  CollectingSink sink;
  EngineOptions options = Options();
  options.max_context = 2'000'000;
  options.max_queued_requests = 10000;
  options.max_queued_tokens = 100'000'000;
  auto engine = Engine::Create(
      options, std::make_unique<FakeModel>(FakeModelOptions{.page_tokens = 64, .pages = 20000}),
      nullptr, &sink);
  ASSERT_TRUE(engine.ok()) << engine.status();
  constexpr int kRounds = 30, kLarge = 64;
  for (uint64_t round = 0; round < kRounds; ++round) {
    Request large = MakeRequest(2 * round + 1, 50000, 1);
    large.sampling.n = kLarge;
    const Request small = MakeRequest(2 * round + 2, 4, 1'000'000);
    ASSERT_TRUE((*engine)->Submit(std::move(large)).ok());
    EXPECT_TRUE((*engine)->Cancel(2 * round + 1));
    std::this_thread::sleep_for(std::chrono::microseconds(100 * round));
    ASSERT_TRUE((*engine)->Submit(small).ok());
    EXPECT_TRUE((*engine)->Cancel(2 * round + 2));
    AwaitIdle(**engine);
    EXPECT_FALSE((*engine)->Cancel(2 * round + 2));
  }
  (*engine)->Stop();
  EXPECT_EQ(sink.completions().finished(), kRounds * (kLarge + 1));
  for (uint64_t round = 0; round < kRounds; ++round) {
    EXPECT_EQ(sink.at(2 * round + 2).finish(), FinishReason::kAbort) << round;
  }
}

TEST(Engine, AMissedDeadlineEndsTheRequest) {
  CollectingSink sink;
  const auto engine = MakeEngine(Options(), &sink);
  Request request = MakeRequest(1, 10, 100);
  request.deadline = Clock::now() - std::chrono::seconds(1);
  ASSERT_TRUE(engine->Submit(request).ok());
  sink.AwaitFinished(1);
  AwaitIdle(*engine);
  EXPECT_EQ(sink.at(1).finish(), FinishReason::kDeadline);
  ExpectNothingHeld(*engine);
}

TEST(Engine, DrainFinishesWhatItHas) {
  CollectingSink sink;
  Gate gate;
  EngineOptions options = Options();
  options.max_num_seqs = 1;
  const auto engine = MakeEngine(options, &sink, [&](const Batch&) { gate.Pass(); });
  ASSERT_TRUE(engine->Submit(MakeRequest(1, 4, 10)).ok());
  ASSERT_TRUE(engine->Submit(MakeRequest(2, 4, 10)).ok());
  gate.AwaitArrival();
  engine->Drain();
  EXPECT_EQ(engine->Submit(MakeRequest(3, 4, 10)).code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(engine->Idle());
  gate.Open();
  AwaitIdle(*engine);
  EXPECT_EQ(sink.at(1).finish(), FinishReason::kLength);  // delivered before Idle
  EXPECT_EQ(sink.at(2).finish(), FinishReason::kLength);
}

TEST(Engine, StopAbortsAndDeliversEverything) {
  CollectingSink sink;
  Gate gate;
  const auto engine = MakeEngine(Options(), &sink, [&](const Batch&) { gate.Pass(); });
  ASSERT_TRUE(engine->Submit(MakeRequest(1, 4, 100)).ok());
  gate.AwaitArrival();
  for (uint64_t key = 2; key <= 20; ++key) {
    ASSERT_TRUE(engine->Submit(MakeRequest(key, 4, 100)).ok());
  }
  std::thread first([&] { engine->Stop(); }), second([&] { engine->Stop(); });
  while (engine->Submit(MakeRequest(1, 4, 4)).code() != absl::StatusCode::kUnavailable) {
    std::this_thread::yield();  // until the stop is known
  }
  gate.Open();
  first.join();
  second.join();
  EXPECT_EQ(sink.completions().finished(), 20);
  for (const auto& [key, completion] : sink.completions().all()) {
    EXPECT_EQ(completion.finish(), FinishReason::kAbort);
  }
  EXPECT_TRUE(engine->Idle());
  EXPECT_EQ(engine->Submit(MakeRequest(21, 4, 4)).code(), absl::StatusCode::kUnavailable);
  engine->Cancel(1);
  engine->Stop();
  ExpectNothingHeld(*engine);
}

TEST(Engine, TheHeartIsHeardWhenIdle) {
  CollectingSink sink;
  const auto engine = MakeEngine(Options(), &sink);
  const TimePoint first = engine->Load().last_step;
  while (engine->Load().last_step == first) {
    std::this_thread::yield();
  }
  EXPECT_GT(engine->Load().last_step, first);
}

TEST(Engine, EveryAcceptedSequenceEndsOnceUnderFire) {
  CollectingSink sink;
  EngineOptions options = Options();
  options.max_queued_requests = 24;
  const auto engine = MakeEngine(options, &sink);
  constexpr int kThreads = 4, kRequests = 250;
  std::atomic<int> accepted = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      for (int i = 0; i < kRequests; ++i) {
        Request request = MakeRequest(1 + t * kRequests + i, 1 + random() % 30, 1 + random() % 20);
        request.sampling.n = 1 + static_cast<int32_t>(random() % 2);
        accepted += request.sampling.n;
        for (absl::Status status; !(status = engine->Submit(request)).ok();) {
          ASSERT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
          std::this_thread::yield();
        }
        engine->Cancel(1 + random() % (kThreads * kRequests));
        (void)engine->Load();
        (void)engine->Idle();
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  sink.AwaitFinished(accepted);
  AwaitIdle(*engine);
  engine->Stop();
  EXPECT_EQ(sink.completions().finished(), accepted);
  EXPECT_EQ(std::ssize(sink.completions().all()), accepted);
  ExpectNothingHeld(*engine);
}

TEST(Engine, SubmitRacesWithStop) {
  for (int round = 0; round < 50; ++round) {
    CollectingSink sink;
    const auto engine = MakeEngine(Options(), &sink);
    int accepted = 0;
    std::thread submitter([&] {
      for (uint64_t key = 1; key <= 20; ++key) {
        accepted += engine->Submit(MakeRequest(key, 3, 50)).ok() ? 1 : 0;
      }
    });
    engine->Stop();
    submitter.join();
    EXPECT_EQ(sink.completions().finished(), accepted);
    EXPECT_TRUE(engine->Idle());
  }
}

}  // namespace
}  // namespace alcca
