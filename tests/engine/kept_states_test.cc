#include "engine/kept_states.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/testing/fake_model.h"
#include "tests/testing/scheduler_harness.h"

namespace alcca {
namespace {

using testing::Completion;
using testing::FakeModel;
using testing::FakeModelOptions;
using testing::SchedulerHarness;

using Ids = std::vector<int32_t>;

Ids From(int32_t first, int32_t count) {
  Ids ids(count);
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

class TestState final : public AttentionState {
 public:
  size_t bytes() const override { return 10; }
  double build_seconds() const override { return 0; }
};

class KeptStatesTest : public ::testing::Test {
 protected:
  KeptStatesTest() { pool_.KeepIdle(8); }

  // A sequence that computed `tokens` and ended; it begins with `shared` pages of another one.
  void Keep(const Ids& tokens, const Ids& shared = {}, const std::string& domain = "d") {
    KvPages pages(&pool_);
    pages.Share(shared);
    ASSERT_TRUE(pages.Grow(std::ssize(tokens)));
    kept_.Keep(domain, tokens, pages.ids(), std::make_unique<TestState>());
  }
  int32_t Found(const Ids& tokens, const std::string& domain = "d") const {
    return kept_.Find(domain, tokens, /*unit=*/4).tokens;
  }

  KvPagePool pool_{8, 3};
  KeptStates kept_{&pool_};
};

TEST_F(KeptStatesTest, FindsTheLongestCommonBeginning) {
  Keep(From(0, 10));
  EXPECT_EQ(pool_.idle(), 4);
  EXPECT_EQ(Found(From(0, 3)), 0);
  EXPECT_EQ(Found(From(0, 7)), 4);
  EXPECT_EQ(Found(From(0, 30)), 8);
  EXPECT_EQ(Found(From(1, 9)), 0);
  EXPECT_EQ(Found(From(0, 30), "e"), 0);
  Ids other = From(0, 8);
  other[5] = 99;
  Keep(other, {}, "d");
  EXPECT_EQ(Found(other), 8);
  EXPECT_EQ(Found(From(0, 8)), 8);
  EXPECT_EQ(kept_.bytes(), 20u);
  EXPECT_EQ(kept_.Find("d", From(0, 10), 4).pages.size(), 4u);
}

TEST_F(KeptStatesTest, WhatIsContinuedGoesAndItsPagesWithIt) {
  Keep(From(0, 6));
  const Ids shared = {kept_.Find("d", From(0, 6), 4).pages[0]};
  Keep(From(0, 12), shared);
  EXPECT_EQ(kept_.bytes(), 10u);
  EXPECT_EQ(pool_.idle(), 4) << "its second page is blank";
  EXPECT_EQ(Found(From(0, 12)), 12);
  Keep(From(0, 9));  // continued already
  EXPECT_EQ(kept_.bytes(), 10u);
  EXPECT_EQ(pool_.idle(), 4);
  EXPECT_EQ(kept_.forgotten(), 0);
}

TEST_F(KeptStatesTest, OnePageTakenGivesUpAllThatNeedIt) {
  Keep(From(0, 6));
  const Ids shared = {kept_.Find("d", From(0, 6), 4).pages[0]};
  Ids other = From(0, 6);
  other[4] = 99;
  Keep(other, shared);
  Keep(From(50, 6));
  EXPECT_EQ(pool_.idle(), 5);
  KvPages pages(&pool_);
  ASSERT_TRUE(pages.Grow(12));  // the three blank ones, and the last of the first to have ended
  EXPECT_EQ(kept_.bytes(), 20u);
  EXPECT_EQ(Found(From(0, 6)), 4) << "by the other";
  ASSERT_TRUE(pages.Grow(15));  // the other's last: the first page is of no use any more
  EXPECT_EQ(Found(From(0, 6)), 0);
  EXPECT_EQ(Found(From(50, 6)), 4);
  EXPECT_EQ(kept_.forgotten(), 2);
  EXPECT_EQ(pool_.idle(), 2);
  pool_.ForgetIdle();
  EXPECT_EQ(kept_.bytes(), 0u);
  EXPECT_EQ(pool_.free(), 3);
}

TEST_F(KeptStatesTest, AHeldPageOutlivesWhatIsGivenUp) {
  Keep(From(0, 6));
  KvPages held(&pool_);
  held.Share(Ids{kept_.Find("d", From(0, 6), 4).pages[0]});
  pool_.ForgetIdle();  // its second page
  EXPECT_EQ(Found(From(0, 6)), 0);
  EXPECT_EQ(pool_.free(), 7);
  held.Release();
  EXPECT_EQ(pool_.free(), 8);
  EXPECT_EQ(pool_.idle(), 0);
}

constexpr int32_t kCapacity = 2000;

Request ForkingRequest(std::mt19937& random, uint64_t key) {
  Request request;
  request.key = key;
  request.attention.mode = random() % 5 ? AttentionMode::kMultipole : AttentionMode::kDense;
  request.sampling.temperature = 0.9f;
  request.sampling.seed = random();
  request.sampling.n = random() % 4 ? 1 : 2;
  request.sampling.logprobs = 1;
  request.cache_salt = random() % 6 ? "" : "salt";
  request.bypass_prefix_cache = random() % 8 == 0;
  const int32_t prompt = 100 + static_cast<int32_t>(random() % 1200);
  request.sampling.max_tokens = 1 + static_cast<int32_t>(random() % 300);
  std::mt19937 text(static_cast<uint32_t>(random() % 2));
  for (int32_t i = 0; i < prompt; ++i) {
    request.prompt.push_back(static_cast<int32_t>(text() % 61));
  }
  if (random() % 2) {
    request.prompt[random() % prompt] = static_cast<int32_t>(random() % 61);
  }
  return request;
}

Completion ServeAlone(const Request& request, int32_t index) {
  EngineOptions options;
  options.max_num_seqs = 1;
  options.max_context = kCapacity;
  options.prefix_cache = false;
  SchedulerHarness h(options, {.page_tokens = 16, .pages = 500});
  h.Submit(request);
  h.Finish();
  return h.completions().at(request.key, index);
}

struct ForkTotals {
  int cached_tokens = 0, forgotten_pages = 0, preemptions = 0;
};

void RunForks(uint32_t seed, bool out_of_forks, ForkTotals* totals) {
  std::mt19937 random(seed);
  EngineOptions options;
  options.max_num_seqs = 1 + static_cast<int32_t>(random() % 4);
  options.max_batch_tokens = 300;
  options.max_prefill_chunk = 100 + static_cast<int32_t>(random() % 200);
  options.max_context = kCapacity;
  const int32_t page_tokens = 8 + static_cast<int32_t>(random() % 12);
  const int32_t pages = (kCapacity + static_cast<int32_t>(random() % 3000)) / page_tokens + 1;
  options.max_idle_pages = random() % 4 ? pages : pages / 3;
  std::vector<Request> requests;
  {
    SchedulerHarness h(options,
                       {.page_tokens = page_tokens, .pages = pages, .out_of_forks = out_of_forks});
    while (requests.size() < 10 || !h.scheduler().Empty()) {
      while (requests.size() < 10 && random() % 60 == 0) {
        requests.push_back(ForkingRequest(random, requests.size() + 1));
        h.Submit(requests.back());
      }
      const StepStats stats = h.Step();
      totals->forgotten_pages += stats.prefix_forgotten_pages;
      totals->preemptions += stats.preemptions;
      EXPECT_LE(stats.kv_pages_idle, options.max_idle_pages);
    }
    EXPECT_EQ(h.scheduler().Stats().kv_pages_used, 0);
    for (const Request& request : requests) {
      for (int32_t i = 0; i < request.sampling.n; ++i) {
        const Completion& c = h.completions().at(request.key, i);
        EXPECT_EQ(c.tokens, ServeAlone(request, i).tokens) << request.key;
        const bool forks = request.attention.mode == AttentionMode::kMultipole;
        totals->cached_tokens += forks ? c.cached_tokens : 0;
        EXPECT_TRUE(!forks || c.cached_tokens % 256 == 0);
        EXPECT_TRUE(!request.bypass_prefix_cache || c.cached_tokens == 0);
      }
    }
  }
  EXPECT_EQ(FakeModel::live_states(), 0);
}

TEST(Forks, TokensAreThoseOfAnUnloadedEngine) {
  ForkTotals totals;
  for (uint32_t seed = 0; seed < 25 && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    RunForks(seed, /*out_of_forks=*/false, &totals);
  }
  EXPECT_GT(totals.cached_tokens, 5000);
  EXPECT_GT(totals.forgotten_pages, 100);
  EXPECT_GT(totals.preemptions, 5);
}

TEST(Forks, WithoutMemoryForOneASequenceComputesAllItself) {
  ForkTotals totals;
  RunForks(3, /*out_of_forks=*/true, &totals);
  EXPECT_EQ(totals.cached_tokens, 0);
}

}  // namespace
}  // namespace alcca
