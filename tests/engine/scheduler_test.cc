#include "engine/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/testing/fake_model.h"
#include "tests/testing/scheduler_harness.h"

namespace alcca {
namespace {

using testing::Completion;
using ::testing::ElementsAre;
using testing::FakeModel;
using testing::FakeModelOptions;
using ::testing::HasSubstr;
using testing::MakeRequest;
using testing::SchedulerHarness;

EngineOptions Options() {
  EngineOptions options;
  options.max_num_seqs = 4;
  options.max_batch_tokens = 16;
  options.max_prefill_chunk = 8;
  options.max_context = 200;
  return options;
}

// The rows of each sequence in the next step: {key, rows}.
using Rows = std::vector<std::pair<uint64_t, int32_t>>;
Rows StepRows(SchedulerHarness& harness) {
  Rows rows;
  harness.Step([&](const Plan& plan) {
    for (const PlannedSequence& planned : plan.sequences) {
      rows.emplace_back(planned.sequence->key(), planned.query_count);
    }
  });
  return rows;
}

TEST(Scheduler, DecodesComeFirstThenChunksInOrderOfArrival) {
  SchedulerHarness h(Options(), {});
  h.Submit(MakeRequest(1, 3, 20));
  EXPECT_EQ(StepRows(h), (Rows{{1, 3}}));
  h.Submit(MakeRequest(2, 20, 20));
  h.Submit(MakeRequest(3, 9, 20));
  EXPECT_EQ(StepRows(h), (Rows{{1, 1}, {2, 8}, {3, 7}}));  // 16 rows at most, 8 of a prompt
  EXPECT_EQ(StepRows(h), (Rows{{1, 1}, {2, 8}, {3, 2}}));
  EXPECT_EQ(StepRows(h), (Rows{{1, 1}, {3, 1}, {2, 4}}));  // 3 decodes before 2, though younger
  EXPECT_EQ(StepRows(h), (Rows{{1, 1}, {2, 1}, {3, 1}}));
  h.Finish();
  EXPECT_EQ(h.completions().finished(), 3);
}

TEST(Scheduler, TheHeadOfTheQueueIsNotOvertaken) {
  SchedulerHarness h(Options(), {.page_tokens = 4, .pages = 8});
  h.Submit(MakeRequest(1, 16, 4));  // 4 pages
  h.Submit(MakeRequest(2, 24, 4));  // does not fit beside it
  h.Submit(MakeRequest(3, 1, 1));   // would
  EXPECT_EQ(StepRows(h), (Rows{{1, 8}}));
  EXPECT_EQ(h.scheduler().waiting(), 2);
  EXPECT_EQ(h.scheduler().Stats().waiting_tokens, 25);
  h.Finish();
  EXPECT_EQ(h.completions().finished(), 3);
}

TEST(Scheduler, NoMoreSequencesThanAllowed) {
  SchedulerHarness h(Options(), {});
  for (uint64_t key = 1; key <= 6; ++key) {
    h.Submit(MakeRequest(key, 2, 5));
  }
  EXPECT_EQ(StepRows(h), (Rows{{1, 2}, {2, 2}, {3, 2}, {4, 2}}));
  EXPECT_EQ(h.scheduler().waiting(), 2);
  h.Finish();
}

TEST(Scheduler, RefusesWhatCanNeverFit) {
  EngineOptions options = Options();
  options.max_context = 50;
  SchedulerHarness large(options, {.page_tokens = 4, .pages = 64});
  EXPECT_TRUE(large.scheduler().CheckFits(MakeRequest(1, 30, 20)).ok());
  EXPECT_EQ(large.scheduler().CheckFits(MakeRequest(1, 31, 20)),
            absl::InvalidArgumentError(
                "prompt of 31 tokens + max_tokens 20 = 51 exceeds the context of 50 tokens"));
  SchedulerHarness small(options, {.page_tokens = 4, .pages = 10});
  EXPECT_TRUE(small.scheduler().CheckFits(MakeRequest(1, 30, 10)).ok());
  EXPECT_EQ(small.scheduler().CheckFits(MakeRequest(1, 31, 10)).message(),
            "prompt of 31 tokens + max_tokens 10 = 41 exceeds the KV cache of 40 tokens");
  EXPECT_FALSE(small.scheduler().CheckFits(MakeRequest(1, 1, 2147483647)).ok());
}

TEST(Scheduler, OptionsAreChecked) {
  const auto message = [](auto change) {
    EngineOptions options = Options();
    change(options);
    return std::string(ValidateEngineOptions(options).message());
  };
  EXPECT_EQ(message([](EngineOptions&) {}), "");
  EXPECT_EQ(message([](EngineOptions& o) { o.max_context = 0; }), "max_context is 0, must be > 0");
  EXPECT_THAT(message([](EngineOptions& o) { o.max_num_seqs = -1; }), HasSubstr("max_num_seqs"));
  EXPECT_THAT(message([](EngineOptions& o) { o.max_num_seqs = 17; }),
              HasSubstr("max_batch_tokens (16)"));
  EXPECT_THAT(message([](EngineOptions& o) { o.max_logit_rows = 3; }),
              HasSubstr("max_logit_rows (3)"));
}

TEST(Scheduler, PreemptsTheYoungestAndResumesItUnchanged) {
  const auto solo = [](uint64_t key) {
    SchedulerHarness h(Options(), {});
    h.Submit(MakeRequest(key, 8, 16));
    h.Finish();
    return h.completions().at(key);
  };
  SchedulerHarness h(Options(), {.page_tokens = 4, .pages = 8});  // 32 tokens; they want 48
  h.Submit(MakeRequest(1, 8, 16));
  h.Submit(MakeRequest(2, 8, 16));
  int preemptions = 0;
  while (!h.scheduler().Empty()) {
    preemptions += h.Step().preemptions;
  }
  EXPECT_GT(preemptions, 0);
  EXPECT_EQ(h.completions().at(1).ending.timings.preemptions, 0);
  EXPECT_EQ(h.completions().at(2).ending.timings.preemptions, preemptions);
  for (const uint64_t key : {1, 2}) {
    EXPECT_EQ(h.completions().at(key).tokens, solo(key).tokens);
    EXPECT_EQ(h.completions().at(key).first_tokens, 1);
  }
  // Computing again is work, and is counted as such.
  EXPECT_GT(h.completions().at(2).ending.counters[0].queries, solo(2).ending.counters[0].queries);
  EXPECT_EQ(h.completions().at(1).ending.counters[0], solo(1).ending.counters[0]);
}

TEST(Scheduler, CancelFreesEverythingWithinTheStep) {
  const int64_t states = FakeModel::live_states();
  SchedulerHarness h(Options(), {});
  Request twins = MakeRequest(1, 4, 50);
  twins.sampling.n = 2;
  h.Submit(twins);                   // decoding
  h.Submit(MakeRequest(2, 30, 50));  // prefilling
  h.Step();
  h.Submit(MakeRequest(3, 4, 50));
  h.Submit(MakeRequest(4, 4, 50));  // queued: 4 sequences run
  h.Step();
  EXPECT_EQ(h.scheduler().waiting(), 1);
  h.scheduler().Cancel({4, 1, 2, 3, 99, 1}, h.now());
  EXPECT_EQ(h.scheduler().Stats().kv_pages_used, 0);
  EXPECT_EQ(FakeModel::live_states(), states);
  const StepStats stats = h.Step();
  EXPECT_EQ(h.completions().finished(), 5);
  for (const auto& [key, completion] : h.completions().all()) {
    EXPECT_EQ(completion.finish(), FinishReason::kAbort);
    EXPECT_EQ(completion.ending.counters == PhaseCounters{}, key.first == 4);
  }
  EXPECT_EQ(stats.running + stats.waiting + stats.batch_tokens + stats.index_bytes, 0);
  EXPECT_TRUE(h.scheduler().Empty());
  h.scheduler().Cancel({1}, h.now());  // once more is nothing
  EXPECT_TRUE(h.scheduler().Empty());
}

TEST(Scheduler, DeadlinesEndQueuedAndRunning) {
  EngineOptions options = Options();
  options.max_num_seqs = 1;
  SchedulerHarness h(options, {});
  const auto submit = [&](uint64_t key, int milliseconds) {
    Request request = MakeRequest(key, 4, 100);
    request.deadline = h.now() + std::chrono::milliseconds(milliseconds);
    h.Submit(request);
  };
  submit(1, 5);  // gets steps 1..4
  submit(2, 3);  // never runs
  submit(3, 7);  // gets steps 5 and 6
  for (int i = 0; i < 7; ++i) {
    h.Step();
  }
  EXPECT_EQ(h.completions().finished(), 3);
  EXPECT_EQ(h.completions().at(1).finish(), FinishReason::kDeadline);
  EXPECT_EQ(h.completions().at(1).tokens.size(), 4u);
  EXPECT_EQ(h.completions().at(2).finish(), FinishReason::kDeadline);
  EXPECT_EQ(h.completions().at(2).tokens.size(), 0u);
  EXPECT_DOUBLE_EQ(h.completions().at(2).ending.timings.queue_seconds, 0.003);
  EXPECT_EQ(h.completions().at(3).tokens.size(), 2u);
  EXPECT_TRUE(h.scheduler().Empty());
  EXPECT_EQ(h.scheduler().Stats().kv_pages_used, 0);
}

// A client whose time is up resets its call, which arrives as a cancel.
TEST(Scheduler, ACancelAtTheDeadlineIsTheDeadlines) {
  SchedulerHarness h(Options(), {});
  for (const int seconds : {0, 1}) {
    Request request = MakeRequest(1 + seconds, 4, 100);
    request.deadline = h.now() + std::chrono::milliseconds(10) + std::chrono::seconds(seconds);
    h.Submit(request);
  }
  h.Submit(MakeRequest(3, 4, 100));          // no deadline
  Request rounded = MakeRequest(4, 4, 100);  // 300 s, said to be 301
  rounded.arrival = h.now() - std::chrono::seconds(300);
  rounded.deadline = rounded.arrival + std::chrono::seconds(301);
  h.Submit(rounded);
  h.Step();
  h.scheduler().Cancel({1, 2, 3, 4}, h.now());
  h.Step();
  EXPECT_EQ(h.completions().at(4).finish(), FinishReason::kDeadline);
  EXPECT_EQ(h.completions().at(1).finish(), FinishReason::kDeadline);
  EXPECT_EQ(h.completions().at(2).finish(), FinishReason::kAbort);
  EXPECT_EQ(h.completions().at(3).finish(), FinishReason::kAbort);
}

TEST(Scheduler, ASequenceThatCannotGoOnEndsAlone) {
  SchedulerHarness h(Options(), {.nan_after = 60, .stateless_k = 13});
  Request stateless = MakeRequest(1, 4, 8), poisoned = MakeRequest(2, 4, 8);
  stateless.attention.k = 13;
  poisoned.prompt.back() = 60;
  Request poisoned_inside = MakeRequest(3, 4, 8);
  poisoned_inside.prompt[1] = 60;  // its logits are looked at only for prompt_logprobs
  poisoned_inside.sampling.prompt_logprobs = 1;
  h.Submit(stateless);
  h.Submit(poisoned);
  h.Submit(poisoned_inside);
  h.Submit(MakeRequest(4, 4, 8));
  h.Finish();
  EXPECT_EQ(h.completions().at(1).finish(), FinishReason::kError);
  EXPECT_EQ(h.completions().at(1).ending.error.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(h.completions().at(2).finish(), FinishReason::kError);
  EXPECT_EQ(h.completions().at(2).ending.error.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(h.completions().at(3).finish(), FinishReason::kError);
  EXPECT_EQ(h.completions().at(4).finish(), FinishReason::kLength);
  EXPECT_EQ(h.scheduler().Stats().kv_pages_used, 0);
}

TEST(Scheduler, PromptLogprobsAreTheSameHoweverThePromptIsCut) {
  Request request = MakeRequest(1, 30, 4);
  request.sampling.prompt_logprobs = 2;
  request.sampling.logprobs = 1;
  request.sampling.n = 2;
  std::vector<TokenLogprob> expected;
  for (const int32_t chunk : {64, 1, 3, 7}) {
    EngineOptions options = Options();
    options.max_batch_tokens = 64;
    options.max_prefill_chunk = chunk;
    options.max_logit_rows = chunk == 7 ? 5 : 0;
    SchedulerHarness h(options, {});
    h.Submit(request);
    while (!h.scheduler().Empty()) {
      h.Step([&](const Plan& plan) {
        EXPECT_LE(plan.batch.logit_rows.size(), chunk == 7 ? 5u : 64u);
      });
    }
    const Completion& c = h.completions().at(1);
    ASSERT_EQ(c.prompt_logprobs.size(), 30u);
    EXPECT_EQ(h.completions().at(1, 1).prompt_logprobs.size(), 0u);
    EXPECT_EQ(c.logprobs.size(), 4u);
    EXPECT_TRUE(c.prompt_logprobs[0].top.empty());
    expected = expected.empty() ? c.prompt_logprobs : expected;
    for (size_t i = 0; i < 30; ++i) {
      EXPECT_EQ(c.prompt_logprobs[i].token, request.prompt[i]);
      EXPECT_EQ(c.prompt_logprobs[i].logprob, expected[i].logprob) << chunk;
      EXPECT_EQ(c.prompt_logprobs[i].top, expected[i].top);
      EXPECT_EQ(c.prompt_logprobs[i].top.size(), i == 0 ? 0u : 2u);
    }
  }
}

TEST(Scheduler, StepCountersAddUpToThoseOfTheRequests) {
  SchedulerHarness h(Options(), {.page_tokens = 4, .pages = 12});
  for (uint64_t key = 1; key <= 5; ++key) {
    Request request = MakeRequest(key, 9, 12);
    request.attention.mode = key % 2 ? AttentionMode::kAlcca : AttentionMode::kDense;
    h.Submit(request);
  }
  std::array<PhaseCounters, kAttentionModeCount> steps{}, requests{};
  int64_t generated = 0;
  while (!h.scheduler().Empty()) {
    const StepStats stats = h.Step();
    generated += stats.generated_tokens;
    for (int mode = 0; mode < kAttentionModeCount; ++mode) {
      for (int phase = 0; phase < kPhaseCount; ++phase) {
        steps[mode][phase] += stats.counters[mode][phase];
      }
    }
  }
  for (const auto& [key, completion] : h.completions().all()) {
    for (int phase = 0; phase < kPhaseCount; ++phase) {
      requests[size_t(completion.ending.attention.mode)][phase] +=
          completion.ending.counters[phase];
    }
  }
  EXPECT_EQ(steps, requests);
  EXPECT_EQ(generated, 5 * 12);
  EXPECT_GT(steps[1][1].queries, 0);
}

TEST(Scheduler, TimingsAreThoseOfTheArguments) {
  EngineOptions options = Options();
  options.max_num_seqs = 1;
  SchedulerHarness h(options, {});
  h.Submit(MakeRequest(1, 4, 3));   // steps 1..3
  h.Submit(MakeRequest(2, 20, 5));  // prefill in steps 4, 5, 6; last token in step 10
  h.Finish();
  const Timings& t = h.completions().at(2).ending.timings;
  EXPECT_DOUBLE_EQ(t.queue_seconds, 0.004);
  EXPECT_DOUBLE_EQ(t.prefill_seconds, 0.002);
  EXPECT_DOUBLE_EQ(t.decode_seconds, 0.004);
  EXPECT_DOUBLE_EQ(t.index_build_seconds, 24e-6);
  EXPECT_EQ(h.completions().at(2).ending.index_bytes, 8 * 24);
}

// As many steps as tokens after the first: the step of a token that only ends the text is not one.
TEST(Scheduler, DecodingEndsWithTheLastTokenOfTheAnswer) {
  for (const int32_t answered : {0, 1, 3}) {
    SchedulerHarness h(Options(), {.script = {7, 8, 9, 10, 11, 12, 13, 14}});
    Request request = MakeRequest(1, 4, 8);  // without an end: 10, 11, 12, 13, 14, 7, 8, 9
    request.sampling.stop_token_ids = {10 + answered};
    h.Submit(request);
    h.Finish();
    const Completion& c = h.completions().at(1);
    EXPECT_EQ(c.finish(), FinishReason::kStop);
    EXPECT_EQ(std::ssize(c.tokens), answered);
    EXPECT_NEAR(c.ending.timings.decode_seconds, 1e-3 * std::max(0, answered - 1), 1e-9);
  }
}

}  // namespace
}  // namespace alcca
