// The tables of modes and counters: names and numbers find their row, sums miss no member.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "attention/counters.h"
#include "attention/modes.h"
#include "attention/params.h"

namespace alcca {
namespace {

using ::testing::ElementsAre;

TEST(Modes, NamesAndNumbersFindTheirRow) {
  for (const ModeTraits& row : kAttentionModes) {
    EXPECT_EQ(ModeOf(row.name), row.mode);
    EXPECT_EQ(ModeOfWire(row.wire), row.mode);
    EXPECT_EQ(&TraitsOf(row.mode), &row);
  }
  for (const SearchTraits& row : kKeySearches) {
    EXPECT_EQ(SearchOf(row.name), row.search);
    EXPECT_EQ(SearchOfWire(row.wire), row.search);
    EXPECT_FALSE(ModeOf(row.name)) << "in a list of modes it stands for alcca with that search";
  }
  EXPECT_FALSE(ModeOf("") || ModeOf("Dense") || ModeOfWire(0) || ModeOfWire(-1) || ModeOfWire(99));
  EXPECT_FALSE(SearchOf("") || SearchOfWire(0) || SearchOfWire(3));
  EXPECT_THAT(AttentionModeNames(), ElementsAre("dense", "alcca", "multipole", "window", "topk"));
  EXPECT_THAT(KeySearchNames(), ElementsAre("exact", "tree"));
}

TEST(Modes, MultipoleDoesNotServeASlidingWindow) {
  for (const ModeTraits& row : kAttentionModes) {
    EXPECT_TRUE(CheckSlidingWindow(row.mode, 0).ok()) << row.name;
    EXPECT_EQ(CheckSlidingWindow(row.mode, 64).ok(), row.mode != AttentionMode::kMultipole);
  }
  const absl::Status status = CheckSlidingWindow(AttentionMode::kMultipole, 4096);
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_EQ(
      status.message(),
      "mode: multipole does not serve a model with a sliding window (4096 tokens); choose one "
      "of dense, alcca, window, topk");
}

TEST(Modes, FirstKeyFollowsTheNarrowerWindow) {
  AttentionScalars p = {.mode = AttentionMode::kDense, .window = 3};
  EXPECT_EQ(FirstKey(p, 0, 9), 0);
  EXPECT_EQ(FirstKey(p, 4, 9), 6);
  EXPECT_EQ(FirstKey(p, 4, 3), 0);
  EXPECT_EQ(FirstKey(p, 4, 4), 1);
  p.mode = AttentionMode::kWindow;
  EXPECT_EQ(FirstKey(p, 0, 9), 7);
  EXPECT_EQ(FirstKey(p, 2, 9), 8);
  EXPECT_EQ(FirstKey(p, 4, 9), 7);
  EXPECT_EQ(FirstKey(p, 4, 1), 0);
  p.mode = AttentionMode::kAlcca;
  EXPECT_EQ(FirstKey(p, 4, 9), 0) << "it sees every key";
  p.mode = AttentionMode::kTopK;
  EXPECT_EQ(FirstKey(p, 4, 9), 6);
}

TEST(Counters, EveryMemberIsInTheSum) {
  AttentionCounters a, b;
  int64_t value = 1;
  std::set<std::string> names;
  for (const CounterTraits& counter : kCounters) {
    EXPECT_TRUE(names.insert(counter.name).second) << counter.name;
    EXPECT_EQ(a.*counter.field, 0) << counter.name << " has another's member";
    a.*counter.field = value;
    value *= 2;
  }
  b += a;
  EXPECT_EQ(b, a);
  b += a;
  for (const CounterTraits& counter : kCounters) {
    EXPECT_EQ(b.*counter.field, 2 * (a.*counter.field)) << counter.name;
  }
}

TEST(Counters, PerformedAsTheFormulaHasIt) {
  AttentionCounters c;
  int64_t value = 1;
  for (const CounterTraits& counter : kCounters) {
    c.*counter.field = value;
    value *= 2;
  }
  EXPECT_EQ(c.performed(), c.qk_exact + c.qk_centroid + c.com_test + c.index_build + c.pv_exact +
                               c.pv_centroid + c.running_sums);
  EXPECT_EQ(c.qk_performed(), c.qk_exact + c.qk_centroid + c.com_test + c.index_build);
  EXPECT_EQ(c.dense_equivalent(), c.dense_equivalent_qk + c.dense_equivalent_pv);
}

}  // namespace
}  // namespace alcca
