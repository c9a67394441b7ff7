// The scheduler as an event machine: random requests, cancels and deadlines over pools that are far
// too small, against the same requests served alone.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "tests/testing/fake_model.h"
#include "tests/testing/scheduler_harness.h"

namespace alcca {
namespace {

using testing::Completion;
using testing::FakeModel;
using testing::FakeModelOptions;
using testing::MakeByteTokenizer;
using testing::SchedulerHarness;

constexpr int32_t kEosId = 2;
constexpr int32_t kVocab = 263;

const Tokenizer& SmallTokenizer() {
  static const SentencePieceTokenizer tokenizer = MakeByteTokenizer({"a", "b", "ab", "\xC3\xA9"});
  return tokenizer;
}

FakeModelOptions ModelOptions(int32_t pages, int32_t page_tokens) {
  return {.vocab_size = kVocab,
          .page_tokens = page_tokens,
          .pages = pages,
          .likely = {kEosId, 3 + 0xC3, 3 + 0xA9, 259, 260, 261, 262}};
}

Request RandomRequest(std::mt19937& random, uint64_t key, int32_t capacity) {
  Request request;
  request.key = key;
  request.attention.mode = random() % 2 ? AttentionMode::kAlcca : AttentionMode::kDense;
  SamplingParams& s = request.sampling;
  s.temperature = random() % 2 ? 0.0f : 0.9f;
  s.top_p = random() % 2 ? 1.0f : 0.9f;
  s.repetition_penalty = random() % 3 ? 1.0f : 1.1f;
  s.frequency_penalty = random() % 3 ? 0.0f : 0.2f;
  s.seed = random();
  s.n = random() % 5 ? 1 : 2 + static_cast<int32_t>(random() % 2);
  s.ignore_eos = random() % 2;
  s.logprobs = random() % 4 ? -1 : 2;
  s.prompt_logprobs = random() % 4 ? -1 : 1;
  s.include_stop_str_in_output = random() % 2;
  if (random() % 3 == 0) {
    s.stop = {"abab", "bb\xC3\xA9", "aaa"};
  }
  if (random() % 6 == 0) {
    s.stop_token_ids = {262};
  }
  request.cache_salt = random() % 6 ? "" : "salt";
  request.bypass_prefix_cache = random() % 8 == 0;
  const int32_t prompt = 1 + static_cast<int32_t>(random() % (capacity * 3 / 4));
  s.max_tokens = 1 + static_cast<int32_t>(random() % std::min(capacity - prompt, 40));
  s.min_tokens = random() % 3 ? 0 : static_cast<int32_t>(random() % (s.max_tokens + 1));
  // Prompts are the beginnings of two long ones, changed somewhere now and then.
  std::mt19937 text(static_cast<uint32_t>(random() % 2));
  for (int32_t i = 0; i < prompt; ++i) {
    request.prompt.push_back(static_cast<int32_t>(text() % kVocab));
  }
  if (random() % 2) {
    request.prompt[random() % prompt] = static_cast<int32_t>(random() % kVocab);
  }
  return request;
}

std::map<testing::Completions::Key, Completion> ServeAlone(Request request) {
  request.deadline.reset();
  EngineOptions options;
  options.max_num_seqs = 1;
  options.max_prefill_chunk = 64;
  options.max_context = 1000;
  options.eos_token_ids = {kEosId};
  options.prefix_cache = false;
  SchedulerHarness h(options, ModelOptions(400, 4), &SmallTokenizer());
  h.Submit(request);
  h.Finish();
  return h.completions().all();
}

// Of the first `cached` tokens nothing was computed; the fake model's row at p reads p + 1 keys.
void ExpectCountersWithout(int32_t cached, const PhaseCounters& seen, PhaseCounters alone) {
  const int64_t reads = int64_t{cached} * (cached + 1) / 2;
  AttentionCounters& prefill = alone[static_cast<size_t>(Phase::kPrefill)];
  prefill.queries -= cached;
  prefill.qk_exact -= reads;
  prefill.dense_equivalent_qk -= reads;
  EXPECT_EQ(seen, alone);
}

void ExpectSamePrefix(const Completion& c, const Completion& alone) {
  EXPECT_EQ(c.finishes, 1);
  if (c.finish() == FinishReason::kStop || c.finish() == FinishReason::kLength) {
    EXPECT_EQ(c.finish(), alone.finish());
    EXPECT_EQ(c.tokens, alone.tokens);
    EXPECT_EQ(c.text, alone.text);
    EXPECT_EQ(c.ending.matched_stop, alone.ending.matched_stop);
    EXPECT_EQ(c.logprobs.size(), alone.logprobs.size());
    EXPECT_EQ(c.prompt_logprobs.size(), alone.prompt_logprobs.size());
    EXPECT_EQ(c.first_tokens, 1);
    if (c.ending.timings.preemptions == 0) {
      ExpectCountersWithout(c.cached_tokens, c.ending.counters, alone.ending.counters);
    }
  } else {
    ASSERT_LE(c.tokens.size(), alone.tokens.size());
    EXPECT_TRUE(std::equal(c.tokens.begin(), c.tokens.end(), alone.tokens.begin()));
  }
  for (size_t i = 0; i < c.logprobs.size(); ++i) {
    EXPECT_EQ(c.logprobs[i].logprob, alone.logprobs[i].logprob);
    EXPECT_EQ(c.logprobs[i].top, alone.logprobs[i].top);
  }
  for (size_t i = 0; i < c.prompt_logprobs.size(); ++i) {
    EXPECT_EQ(c.prompt_logprobs[i].logprob, alone.prompt_logprobs[i].logprob);
  }
}

// A page has one owner, or its tokens and all before them are the same in all of them.
void CheckOwners(const Plan& plan, int32_t page_tokens) {
  std::map<int32_t, std::pair<const Sequence*, size_t>> owners;  // of a page, and where it stands
  for (const PlannedSequence& planned : plan.sequences) {
    const Sequence& sequence = *planned.sequence;
    const auto ids = planned.sequence->pages().ids();
    for (size_t i = 0; i < ids.size(); ++i) {
      const auto [owner, first] = owners.try_emplace(ids[i], &sequence, i);
      if (first) {
        continue;
      }
      const auto [other, at] = owner->second;
      const size_t end = (i + 1) * page_tokens;
      ASSERT_EQ(at, i);
      ASSERT_LE(end, static_cast<size_t>(std::min(sequence.computed(), other->computed())));
      const auto a = sequence.tokens().first(end), b = other->tokens().first(end);
      ASSERT_TRUE(std::equal(a.begin(), a.end(), b.begin()));
      ASSERT_EQ(sequence.domain(), other->domain());
    }
  }
}

// What holds for every plan.
void CheckPlan(const Plan& plan, const EngineOptions& options, uint64_t oldest) {
  EXPECT_LE(plan.batch.tokens(), options.max_batch_tokens);
  EXPECT_LE(std::ssize(plan.batch.sequences), options.max_num_seqs);
  EXPECT_LE(std::ssize(plan.batch.logit_rows), options.max_batch_tokens);
  bool oldest_runs = plan.sequences.empty();
  for (const PlannedSequence& planned : plan.sequences) {
    oldest_runs |= planned.sequence->key() == oldest;
    EXPECT_LE(planned.query_count, options.max_prefill_chunk);
  }
  EXPECT_TRUE(oldest_runs) << "the oldest request always progresses";
}

bool Finished(const testing::Completions& completions, const Request& request) {
  for (int32_t i = 0; i < request.sampling.n; ++i) {
    const auto it = completions.all().find({request.key, i});
    if (it == completions.all().end() || it->second.finishes == 0) {
      return false;
    }
  }
  return true;
}

struct Totals {
  int requests = 0, cancelled = 0, expired = 0, preemptions = 0;
  int cached_tokens = 0, forgotten_pages = 0;
};

void RunTrial(uint32_t seed, int32_t chunk, Totals* totals) {
  std::mt19937 random(seed);
  const int32_t page_tokens = 1 + static_cast<int32_t>(random() % 4);
  const int32_t pages = 48 / page_tokens;
  EngineOptions options;
  options.max_num_seqs = 1 + static_cast<int32_t>(random() % 8);
  options.max_batch_tokens = options.max_num_seqs + static_cast<int32_t>(random() % 16);
  options.max_prefill_chunk = chunk;
  options.max_context = pages * page_tokens;
  options.eos_token_ids = {kEosId};
  options.prefix_cache = random() % 4 != 0;
  options.max_idle_pages = random() % 4 ? pages : static_cast<int32_t>(random() % 6);
  SchedulerHarness h(options, ModelOptions(pages, page_tokens), &SmallTokenizer());

  std::map<uint64_t, Request> requests;
  std::set<uint64_t> cancelled;
  int sequences = 0;
  const uint64_t count = 12;
  for (int step = 0; requests.size() < count || !h.scheduler().Empty(); ++step) {
    ASSERT_LT(step, 100000) << "no progress";
    while (requests.size() < count && random() % 3 == 0) {
      const uint64_t key = requests.size() + 1;
      Request request = RandomRequest(random, key, options.max_context);
      if (random() % 6 == 0) {
        request.deadline = h.now() + std::chrono::milliseconds(1 + random() % 60);
      }
      sequences += request.sampling.n;
      h.Submit(request);
      cancelled.erase(key);  // what was cancelled before it came, came too early
      requests.emplace(key, request);
    }
    if (random() % 25 == 0) {
      const std::vector<uint64_t> keys = {1 + random() % count, 1 + random() % count};
      cancelled.insert(keys.begin(), keys.end());
      h.scheduler().Cancel(keys, h.now());
    }
    const StepStats stats = h.Step([&](const Plan& plan) {
      const auto alive = std::find_if(requests.begin(), requests.end(), [&](const auto& entry) {
        const auto& [key, request] = entry;
        return !cancelled.contains(key) && !(request.deadline && *request.deadline <= h.now()) &&
               !Finished(h.completions(), request);
      });
      CheckPlan(plan, options, alive == requests.end() ? 0 : alive->first);
      CheckOwners(plan, page_tokens);
    });
    totals->preemptions += stats.preemptions;
    totals->forgotten_pages += stats.prefix_forgotten_pages;
    EXPECT_LE(stats.kv_pages_idle, options.prefix_cache ? options.max_idle_pages : 0);
    EXPECT_LE(stats.kv_pages_used + stats.kv_pages_idle, pages);
    EXPECT_EQ(stats.kv_pages_total, pages);
    EXPECT_LE(stats.running, options.max_num_seqs);
    EXPECT_EQ(stats.running + stats.waiting + h.completions().finished(), sequences);
    EXPECT_EQ(stats.kv_pages_used == 0, stats.running == 0);
  }
  EXPECT_EQ(h.scheduler().Stats().kv_pages_used, 0);
  EXPECT_EQ(FakeModel::live_states(), 0);
  ASSERT_EQ(std::ssize(h.completions().all()), sequences);
  for (const auto& [key, request] : requests) {
    const auto alone = ServeAlone(request);
    for (int32_t i = 0; i < request.sampling.n; ++i) {
      const Completion& c = h.completions().at(key, i);
      ExpectSamePrefix(c, alone.at({key, i}));
      totals->cancelled += c.finish() == FinishReason::kAbort;
      totals->expired += c.finish() == FinishReason::kDeadline;
      totals->cached_tokens += c.cached_tokens;
      EXPECT_TRUE(options.prefix_cache || c.cached_tokens == 0);
      EXPECT_LT(c.cached_tokens, std::max<int32_t>(1, c.prompt_tokens));
    }
    ++totals->requests;
  }
}

constexpr uint32_t kTrials = 250;

class SchedulerRandom : public ::testing::TestWithParam<int32_t> {};

TEST_P(SchedulerRandom, TokensAreThoseOfAnUnloadedEngine) {
  Totals totals;
  for (uint32_t seed = 0; seed < kTrials && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    RunTrial(seed, GetParam(), &totals);
  }
  EXPECT_EQ(totals.requests, static_cast<int>(kTrials) * 12);
  EXPECT_GT(totals.cancelled, 50);
  EXPECT_GT(totals.expired, 50);
  EXPECT_GT(totals.preemptions, 100);
  EXPECT_GT(totals.cached_tokens, 1000);
  EXPECT_GT(totals.forgotten_pages, 100);
}
INSTANTIATE_TEST_SUITE_P(Chunk, SchedulerRandom, ::testing::Values(1, 3, 7, 64));

TEST(SchedulerSoak, AHundredThousandCancelsLeaveNothing) {
  EngineOptions options;
  options.max_num_seqs = 8;
  options.max_batch_tokens = 24;
  options.max_prefill_chunk = 5;
  options.max_context = 40;
  SchedulerHarness h(options, {.vocab_size = 17, .page_tokens = 2, .pages = 40});
  std::mt19937 random(1);
  uint64_t key = 0;
  int cancels = 0, finished = 0;
  while (cancels < 100000) {
    while (h.scheduler().waiting() < 12) {
      h.Submit(testing::MakeRequest(++key, 1 + static_cast<int32_t>(random() % 20), 10));
    }
    std::vector<uint64_t> keys;
    for (int i = 0; i < 8; ++i) {
      keys.push_back(key - random() % 24);  // queued, prefilling, decoding, ended
    }
    cancels += static_cast<int>(keys.size());
    h.scheduler().Cancel(keys, h.now());
    const StepStats stats = h.Step();
    ASSERT_EQ(stats.running + stats.waiting + h.completions().finished(), static_cast<int>(key));
    finished = h.completions().finished();
  }
  EXPECT_GT(finished, 20000);
  h.scheduler().CancelAll();
  const StepStats stats = h.Step();
  EXPECT_EQ(stats.kv_pages_used, 0);
  EXPECT_EQ(stats.index_bytes, 0);
  EXPECT_EQ(FakeModel::live_states(), 0);
  EXPECT_EQ(h.completions().finished(), static_cast<int>(key));
}

}  // namespace
}  // namespace alcca
