#include "engine/kv_pages.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <utility>
#include <vector>

namespace alcca {
namespace {

TEST(KvPages, CountsPagesOfTokens) {
  const KvPagePool pool(8, 16);
  EXPECT_EQ(pool.PagesFor(0), 0);
  EXPECT_EQ(pool.PagesFor(1), 1);
  EXPECT_EQ(pool.PagesFor(16), 1);
  EXPECT_EQ(pool.PagesFor(17), 2);
  EXPECT_EQ(pool.total(), 8);
  EXPECT_EQ(pool.used(), 0);
}

TEST(KvPages, GrowsToWhatIsAskedAndNoMore) {
  KvPagePool pool(4, 4);
  KvPages pages(&pool);
  EXPECT_TRUE(pages.Grow(0));
  EXPECT_EQ(pages.size(), 0);
  EXPECT_TRUE(pages.Grow(5));
  EXPECT_EQ(pages.size(), 2);
  EXPECT_TRUE(pages.Grow(8));
  EXPECT_TRUE(pages.Grow(3));  // never shrinks
  EXPECT_EQ(pages.size(), 2);
  EXPECT_EQ(pool.used(), 2);
}

TEST(KvPages, ARefusedGrowthChangesNothing) {
  KvPagePool pool(4, 4);
  KvPages a(&pool), b(&pool);
  ASSERT_TRUE(a.Grow(8));
  const std::vector<int32_t> before(a.ids().begin(), a.ids().end());
  ASSERT_TRUE(b.Grow(1));
  EXPECT_FALSE(a.Grow(16));
  EXPECT_EQ(std::vector<int32_t>(a.ids().begin(), a.ids().end()), before);
  EXPECT_EQ(pool.free(), 1);
  b.Release();
  EXPECT_TRUE(a.Grow(16));
  EXPECT_EQ(pool.free(), 0);
}

TEST(KvPages, MoveLeavesNothingBehind) {
  KvPagePool pool(8, 4);
  KvPages a(&pool);
  ASSERT_TRUE(a.Grow(9));
  KvPages b(std::move(a));
  EXPECT_EQ(b.size(), 3);
  KvPages c(&pool);
  ASSERT_TRUE(c.Grow(4));
  c = std::move(b);  // c's own page returns
  EXPECT_EQ(c.size(), 3);
  EXPECT_EQ(pool.used(), 3);
}

TEST(KvPages, DestructorReturnsPages) {
  KvPagePool pool(8, 4);
  {
    KvPages pages(&pool);
    ASSERT_TRUE(pages.Grow(32));
    EXPECT_EQ(pool.free(), 0);
  }
  EXPECT_EQ(pool.free(), 8);
}

TEST(KvPagesDeathTest, APoolOutlivesItsPages) {
  EXPECT_DEATH(
      {
        KvPages* leaked = nullptr;
        KvPagePool pool(2, 4);
        leaked = new KvPages(&pool);
        (void)leaked->Grow(1);
      },
      "check failed");
}

TEST(KvPages, NoPageHasTwoOwners) {
  std::mt19937 random(1);
  KvPagePool pool(37, 3);
  std::vector<KvPages> holders;
  for (int i = 0; i < 8; ++i) {
    holders.emplace_back(&pool);
  }
  for (int step = 0; step < 20000; ++step) {
    KvPages& pages = holders[random() % holders.size()];
    if (random() % 4 == 0) {
      pages.Release();
    } else {
      const int64_t tokens = random() % 60;
      const bool fits = pool.PagesFor(tokens) - pages.size() <= pool.free();
      EXPECT_EQ(pages.Grow(tokens), fits);
    }
    std::set<int32_t> held;
    int32_t count = 0;
    for (const KvPages& holder : holders) {
      held.insert(holder.ids().begin(), holder.ids().end());
      count += holder.size();
    }
    ASSERT_EQ(static_cast<int32_t>(held.size()), count);
    ASSERT_EQ(pool.used(), count);
  }
}

}  // namespace
}  // namespace alcca
