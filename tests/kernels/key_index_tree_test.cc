// The approximate key index on its own; that it compares exactly the keys that its description says
// is tests/conformance/attention_test.cc's matter.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "kernels/cpu/attention_kernels.h"
#include "kernels/key_index.h"

namespace alcca {
namespace {

constexpr int32_t kDim = 16;
using KeyRows = std::vector<std::vector<float>>;

KeyRows RandomKeys(int32_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  KeyRows keys(count, std::vector<float>(kDim));
  for (auto& key : keys) {
    std::generate(key.begin(), key.end(), [&] { return normal(random); });
  }
  return keys;
}

std::unique_ptr<KeyIndex> Build(const KeyRows& keys, const TreeParams& params) {
  auto index =
      MakeTreeKeyIndex(kDim, params, AttentionKernelsFor(CpuIsa::kPortable).squared_distances);
  for (const auto& key : keys) {
    index->Append(key.data(), 1);
  }
  return index;
}

std::vector<NearestKey> Search(KeyIndex& index, const std::vector<float>& query, int32_t k) {
  std::vector<NearestKey> out(k);
  out.resize(index.Search(query.data(), k, index.size(), out));
  return out;
}

// Share of the k nearest that a search of `distances` finds, over queries drawn like the keys.
double Recall(const KeyRows& keys, int32_t distances) {
  const int32_t all = static_cast<int32_t>(keys.size());
  const auto tree = Build(keys, {.distances = distances, .recent = 0});
  const auto exact = Build(keys, {.distances = all, .recent = 0});
  int32_t found = 0, wanted = 0;
  for (const auto& query : RandomKeys(60, 2)) {
    std::set<int32_t> nearest;
    for (const NearestKey& near : Search(*exact, query, 8)) {
      nearest.insert(near.key);
    }
    wanted += 8;
    for (const NearestKey& near : Search(*tree, query, 8)) {
      found += static_cast<int32_t>(nearest.count(near.key));
    }
  }
  return double(found) / wanted;
}

TEST(KeyIndexTree, RecallGrowsWithTheBudgetAndBeatsChance) {
  const KeyRows keys = RandomKeys(1000, 1);
  double last = 0;
  for (const int32_t distances : {16, 64, 256, 1000}) {
    const double recall = Recall(keys, distances);
    EXPECT_GT(recall, last);
    EXPECT_GE(recall, std::min(1.0, 3.0 * distances / 1000)) << distances;
    last = recall;
  }
  EXPECT_EQ(last, 1.0);
}

TEST(KeyIndexTree, NeverComparesAKeyTwiceNorMoreThanAllowed) {
  const KeyRows keys = RandomKeys(200, 3);
  for (const TreeParams& params : {TreeParams{1, 0}, {1, 1}, {12, 4}, {50, 50}, {500, 7}}) {
    auto index =
        MakeTreeKeyIndex(kDim, params, AttentionKernelsFor(CpuIsa::kPortable).squared_distances);
    for (size_t n = 0; n < keys.size(); ++n) {
      index->Append(keys[n].data(), 1);
      (void)Search(*index, keys[(n * 7) % keys.size()], 8);
      const SearchCost& cost = index->last_cost();
      const std::set<int32_t> distinct(cost.keys_read.begin(), cost.keys_read.end());
      EXPECT_EQ(cost.distances, std::min<int64_t>(params.distances, n + 1));
      EXPECT_EQ(distinct.size(), cost.keys_read.size());
      EXPECT_EQ(static_cast<int64_t>(distinct.size()), cost.distances);
      for (int32_t i = 0; i < std::min<int32_t>(params.recent, n + 1); ++i) {
        EXPECT_TRUE(distinct.count(static_cast<int32_t>(n) - i)) << n;
      }
    }
  }
}

TEST(KeyIndexTree, FindsAFarCopyOfTheQueryAmongMany) {
  KeyRows keys = RandomKeys(4000, 4);
  const auto index = Build(keys, {.distances = 12, .recent = 4});
  int32_t found = 0;
  for (int32_t t = 0; t < 4000; t += 40) {  // a key is in the leaf where it was put
    const auto nearest = Search(*index, keys[t], 1);
    found += nearest[0].key == t ? 1 : 0;
  }
  EXPECT_EQ(found, 100);
}

TEST(KeyIndexTree, EqualKeysShareALeaf) {
  KeyRows keys = RandomKeys(30, 5);
  for (int32_t t = 5; t < 30; ++t) {
    keys[t] = keys[4];
  }
  const auto index = Build(keys, {.distances = 12, .recent = 0});
  const auto nearest = Search(*index, keys[4], 12);
  ASSERT_EQ(nearest.size(), 12u);
  for (const NearestKey& near : nearest) {
    EXPECT_EQ(near.squared_distance, 0.0f);
    EXPECT_GE(near.key, 4);
  }
  EXPECT_TRUE(std::is_sorted(nearest.begin(), nearest.end(),
                             [](const auto& a, const auto& b) { return a.key < b.key; }));
}

TEST(KeyIndexTree, ManyEqualKeysAndAscendingKeysStayQuick) {
  KeyRows equal(20000, std::vector<float>(kDim, 1.0f));
  EXPECT_EQ(Search(*Build(equal, {}), equal[0], 8).size(), 8u);
  KeyRows ascending(4000, std::vector<float>(kDim, 0.0f));  // a chain: the deepest tree there is
  for (size_t t = 0; t < ascending.size(); ++t) {
    ascending[t][3] = static_cast<float>(t);
  }
  const auto index = Build(ascending, {.distances = 12, .recent = 0});
  const auto nearest = Search(*index, ascending[1234], 3);
  ASSERT_EQ(nearest.size(), 3u);
  EXPECT_EQ(nearest[0].key, 1234);
  EXPECT_EQ(nearest[1].key, 1233);
  EXPECT_EQ(nearest[2].key, 1235);
}

TEST(KeyIndexTree, NotANumberIsNeverFound) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  KeyRows keys = RandomKeys(20, 6);
  keys[3][2] = keys[0][0] = nan;
  const auto index = Build(keys, {.distances = 20, .recent = 4});
  const auto nearest = Search(*index, keys[10], 20);
  EXPECT_EQ(nearest.size(), 18u);
  EXPECT_TRUE(Search(*index, std::vector<float>(kDim, nan), 8).empty());
}

TEST(KeyIndexTree, CountsWhatBuildingCostAndHoldsLittle) {
  const KeyRows keys = RandomKeys(1000, 7);
  const auto index = Build(keys, {});
  // Two moments for each of the first 256 keys, one difference for each key but the first.
  EXPECT_EQ(index->build_interactions(), 2 * 256 + 999);
  EXPECT_LT(index->bytes(), 1000 * kTreeBytesPerKey + 4096);
}

}  // namespace
}  // namespace alcca
