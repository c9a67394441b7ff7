#include "engine/prefix_cache.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "tests/testing/scheduler_harness.h"

namespace alcca {
namespace {

using testing::MakeRequest;
using testing::SchedulerHarness;

using Tokens = std::vector<int32_t>;

Tokens Count(int32_t from, int32_t count) {
  Tokens tokens(count);
  std::iota(tokens.begin(), tokens.end(), from);
  return tokens;
}

TEST(PrefixDomain, IsWhatShapesAPage) {
  AttentionParams dense, window;
  window.mode = AttentionMode::kWindow;
  EXPECT_EQ(PrefixDomain(dense, ""), PrefixDomain(dense, ""));
  EXPECT_NE(PrefixDomain(dense, ""), PrefixDomain(dense, "a"));
  EXPECT_NE(PrefixDomain(dense, ""), PrefixDomain(window, ""));
  AttentionParams other = dense;
  other.window = 7;  // means nothing to dense
  EXPECT_EQ(PrefixDomain(dense, ""), PrefixDomain(other, ""));
  other = window;
  other.window = 7;
  EXPECT_NE(PrefixDomain(window, ""), PrefixDomain(other, ""));
  AttentionParams topk, sparser;
  topk.mode = sparser.mode = AttentionMode::kTopK;
  sparser.sparsity = topk.sparsity / 2;
  EXPECT_NE(PrefixDomain(topk, ""), PrefixDomain(sparser, ""));
}

TEST(PrefixDomain, ASaltIsNoKnob) {
  AttentionParams window, longer;
  window.mode = longer.mode = AttentionMode::kWindow;
  window.window = 1;
  longer.window = 12;
  EXPECT_NE(PrefixDomain(window, "2"), PrefixDomain(longer, ""));
}

TEST(PrefixDomain, AStateThatPagesDoNotRestoreSharesNothing) {
  for (const ModeTraits& mode : kAttentionModes) {
    AttentionParams params;
    params.mode = mode.mode;
    EXPECT_FALSE(PrefixDomain(params, "salt").empty()) << mode.name;
    params.near_share = 0.5f;  // of `alcca`: a quantile of what queries were
    EXPECT_EQ(PrefixDomain(params, "salt").empty(), mode.has_near_gate) << mode.name;
  }
}

class PrefixCacheTest : public ::testing::Test {
 protected:
  // A sequence that computed `tokens` and ended.
  void Compute(const Tokens& tokens, const std::string& domain = "d") {
    KvPages pages(&pool_);
    PrefixCache::Cursor cursor = cache_.Find(domain, tokens, &pages);
    ASSERT_TRUE(pages.Grow(std::ssize(tokens)));
    cache_.Add(domain, tokens, static_cast<int32_t>(tokens.size()), pages, &cursor);
  }
  int32_t Found(const Tokens& tokens, const std::string& domain = "d") {
    KvPages pages(&pool_);
    const PrefixCache::Cursor cursor = cache_.Find(domain, tokens, &pages);
    EXPECT_EQ(cursor.tokens, pages.size() * pool_.page_tokens());
    return cursor.tokens;
  }

  PrefixCacheTest() { pool_.KeepIdle(8); }

  KvPagePool pool_{8, 4};
  PrefixCache cache_{&pool_};
};

TEST_F(PrefixCacheTest, WholePagesAreFound) {
  Compute(Count(0, 11));
  EXPECT_EQ(pool_.idle(), 2);
  EXPECT_EQ(Found(Count(0, 3)), 0);
  EXPECT_EQ(Found(Count(0, 4)), 4);
  EXPECT_EQ(Found(Count(0, 11)), 8);
  EXPECT_EQ(Found(Count(0, 40)), 8);
  EXPECT_EQ(Found(Count(4, 8)), 0) << "the same page after another beginning";
  EXPECT_EQ(Found(Count(0, 11), "e"), 0);
}

TEST_F(PrefixCacheTest, BeginningsFork) {
  Tokens a = Count(0, 8), b = Count(0, 8);
  b[5] = 99;
  Compute(a);
  Compute(b);
  EXPECT_EQ(pool_.idle(), 3);
  EXPECT_EQ(Found(a), 8);
  EXPECT_EQ(Found(b), 8);
}

TEST_F(PrefixCacheTest, TheSameTokensTwiceAreKnownOnce) {
  const Tokens tokens = Count(0, 8);
  {
    KvPages a(&pool_), b(&pool_);
    ASSERT_TRUE(a.Grow(8) && b.Grow(8));
    PrefixCache::Cursor of_a, of_b;
    cache_.Add("d", tokens, 4, a, &of_a);
    cache_.Add("d", tokens, 8, b, &of_b);  // its first page stays its own, its second is known
    cache_.Add("d", tokens, 8, a, &of_a);
    EXPECT_EQ(of_a.page, of_b.page);
  }
  EXPECT_EQ(pool_.idle(), 2);
  EXPECT_EQ(pool_.free(), 8);
  EXPECT_EQ(Found(tokens), 8);
}

TEST_F(PrefixCacheTest, TheLeastRecentlyHeldGoesFirstAndItsEndBeforeItsBeginning) {
  Compute(Count(0, 8));
  Compute(Count(100, 8));
  Compute(Count(200, 8));
  EXPECT_EQ(Found(Count(0, 8)), 8);  // held again
  KvPages pages(&pool_);
  ASSERT_TRUE(pages.Grow(12));  // two are blank
  EXPECT_EQ(cache_.forgotten(), 1);
  EXPECT_EQ(Found(Count(100, 8)), 4);
  ASSERT_TRUE(pages.Grow(20));
  EXPECT_EQ(cache_.forgotten(), 3);
  EXPECT_EQ(Found(Count(0, 8)), 8);
  EXPECT_EQ(Found(Count(200, 8)), 0) << "100's first page was held since";
}

TEST_F(PrefixCacheTest, HeldPagesAreNeverGivenUp) {
  Compute(Count(0, 8));
  KvPages held(&pool_), others(&pool_);
  ASSERT_EQ(cache_.Find("d", Count(0, 8), &held).tokens, 8);
  EXPECT_FALSE(others.Grow(28));
  EXPECT_TRUE(others.Grow(24));
  EXPECT_EQ(cache_.forgotten(), 0);
  others.Release();
  EXPECT_EQ(Found(Count(0, 8)), 8);
}

TEST_F(PrefixCacheTest, ClearForgetsWhatIsIdle) {
  Compute(Count(0, 8));
  cache_.Clear();
  EXPECT_EQ(pool_.idle(), 0);
  EXPECT_EQ(Found(Count(0, 8)), 0);
  Compute(Count(0, 8));
  EXPECT_EQ(Found(Count(0, 8)), 8);
}

TEST(PrefixCacheBound, OnlySoManyStayIdle) {
  KvPagePool pool(8, 4);
  pool.KeepIdle(1);
  PrefixCache cache(&pool);
  const Tokens tokens = Count(0, 12);
  {
    KvPages pages(&pool);
    ASSERT_TRUE(pages.Grow(12));
    PrefixCache::Cursor cursor;
    cache.Add("d", tokens, 12, pages, &cursor);
  }
  EXPECT_EQ(pool.idle(), 1);
  EXPECT_EQ(cache.forgotten(), 2);
  KvPages pages(&pool);
  EXPECT_EQ(cache.Find("d", tokens, &pages).tokens, 4);
}

EngineOptions SmallOptions() {
  EngineOptions options;
  options.max_num_seqs = 8;
  options.max_batch_tokens = 32;
  options.max_prefill_chunk = 8;
  options.max_context = 200;
  return options;
}

TEST(SchedulerPrefix, TheNextTurnFindsTheLastOne) {
  SchedulerHarness h(SmallOptions(), {});
  Request first = MakeRequest(1, 21, 10);
  first.sampling.ignore_eos = true;
  h.Submit(first);
  h.Finish();
  Request second = first;
  second.key = 2;
  const auto& said = h.completions().at(1).tokens;
  second.prompt.insert(second.prompt.end(), said.begin(), said.end());
  h.Submit(second);
  h.Finish();
  EXPECT_EQ(h.completions().at(1).cached_tokens, 0);
  // The last token of an answer is sampled and never computed: 30 tokens, 7 whole pages of 4.
  EXPECT_EQ(h.completions().at(2).cached_tokens, 28);
  EXPECT_EQ(h.scheduler().Stats().kv_pages_used, 0);
}

TEST(SchedulerPrefix, NAnswersComputeTheirPromptOnce) {
  SchedulerHarness h(SmallOptions(), {});
  Request request = MakeRequest(1, 41, 5);
  request.sampling.n = 4;
  h.Submit(request);
  h.Finish();
  int64_t queries = 0;
  for (int32_t i = 0; i < 4; ++i) {
    EXPECT_EQ(h.completions().at(1, i).cached_tokens, i == 0 ? 0 : 40);
    queries += h.completions().at(1, i).ending.counters[0].queries;
  }
  EXPECT_EQ(queries, 41 + 3);
}

TEST(SchedulerPrefix, WhoComesTogetherWaitsForTheFirst) {
  SchedulerHarness h(SmallOptions(), {});
  for (uint64_t key = 1; key <= 5; ++key) {
    Request request = MakeRequest(1, 40, 5);  // the same prompt
    request.key = key;
    request.prompt.push_back(static_cast<int32_t>(key));
    h.Submit(request);
  }
  h.Finish();
  for (uint64_t key = 2; key <= 5; ++key) {
    EXPECT_EQ(h.completions().at(key).cached_tokens, 40);
  }
}

TEST(SchedulerPrefix, SaltsBypassesAndPromptLogprobsShareNothing) {
  SchedulerHarness h(SmallOptions(), {});
  Request request = MakeRequest(1, 41, 2);
  request.cache_salt = "a";
  for (uint64_t key = 1; key <= 6; ++key) {
    Request one = request;
    one.key = key;
    one.cache_salt = key == 3 ? "b" : "a";
    one.bypass_prefix_cache = key == 4;
    one.sampling.prompt_logprobs = key == 5 ? 0 : -1;
    h.Submit(one);
    h.Finish();
  }
  EXPECT_EQ(h.completions().at(2).cached_tokens, 40);
  EXPECT_EQ(h.completions().at(3).cached_tokens, 0);
  EXPECT_EQ(h.completions().at(4).cached_tokens, 0);
  EXPECT_EQ(h.completions().at(5).cached_tokens, 0);
  EXPECT_EQ(h.completions().at(5).prompt_logprobs.size(), 41u);
  EXPECT_EQ(h.completions().at(6).cached_tokens, 40);
}

// Rows computed in all for two requests that do not fit beside each other.
int64_t RowsUnderPressure(bool prefix_cache) {
  EngineOptions options = SmallOptions();
  options.max_context = 64;
  options.prefix_cache = prefix_cache;
  SchedulerHarness h(options, {.pages = 20});  // 80 tokens
  for (uint64_t key = 1; key <= 2; ++key) {
    Request request = MakeRequest(key, 24, 30);
    request.sampling.ignore_eos = true;
    h.Submit(request);
  }
  int64_t rows = 0;
  while (!h.scheduler().Empty()) {
    rows += h.Step().batch_tokens;
  }
  EXPECT_GT(h.completions().at(2).ending.timings.preemptions, 0);
  EXPECT_EQ(h.completions().at(2).cached_tokens, 0) << "what it computed itself is no gift";
  return rows;
}

TEST(SchedulerPrefix, APreemptedSequenceFindsWhatIsLeft) {
  EXPECT_LT(RowsUnderPressure(true), RowsUnderPressure(false));
}

}  // namespace
}  // namespace alcca
