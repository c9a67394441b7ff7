#include "attention/knobs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <set>
#include <string>

namespace alcca {
namespace {

using ::testing::HasSubstr;

TEST(Knobs, HaveNamesOfTheirOwnHelpAndADefaultInRange) {
  std::set<std::string> names = {"mode", "search"};
  for (const Knob& knob : kKnobs) {
    EXPECT_TRUE(names.insert(knob.name).second) << knob.name;
    EXPECT_EQ(FindKnob(knob.name), &knob);
    EXPECT_EQ(&KnobOf(knob.field), &knob) << knob.name << " has another's member";
    EXPECT_NE(std::string(knob.help), "") << knob.name;
    EXPECT_EQ(RuleBrokenBy(knob, Default(knob)), "") << knob.name;
  }
  EXPECT_EQ(FindKnob("widow"), nullptr);
}

// Setting one knob changes that one alone.
TEST(Knobs, PutWhatTheyGet) {
  for (const Knob& knob : kKnobs) {
    AttentionScalars params;
    Put(knob, knob.most, &params);
    for (const Knob& other : kKnobs) {
      EXPECT_EQ(Get(other, params), &other == &knob ? knob.most : Default(other)) << other.name;
    }
  }
}

TEST(Knobs, RangesAreKeptAtBothEnds) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInf = std::numeric_limits<double>::infinity();
  for (const Knob& knob : kKnobs) {
    EXPECT_EQ(RuleBrokenBy(knob, knob.least) == "", !knob.above) << knob.name;
    EXPECT_EQ(RuleBrokenBy(knob, knob.most), "") << knob.name;
    for (const double value :
         {knob.least - 1, knob.most + 1, knob.most * 1.0000001, 1e300, -1e300, kNan, kInf, -kInf}) {
      EXPECT_THAT(RuleBrokenBy(knob, value),
                  HasSubstr(knob.above ? "must be above" : "must be from"))
          << knob.name << " " << value;
    }
    if (IsInteger(knob)) {
      EXPECT_THAT(RuleBrokenBy(knob, knob.least + 0.5), HasSubstr("integer")) << knob.name;
    }
  }
  // Above 0 as a double, 0 as the float that would apply.
  EXPECT_NE(RuleBrokenBy(KnobOf(&AttentionScalars::sparsity), 1e-60), "");
}

// What the house had agreed on in four dialects.
TEST(Knobs, TheRangesThatTheSpeakersDisagreedOn) {
  const auto range = [](KnobField field) { return Bounds(KnobOf(field)); };
  EXPECT_EQ(range(&AttentionScalars::theta), "0 to 1e+09");
  EXPECT_EQ(range(&AttentionScalars::epsilon), "1e-30 to 1e+09");
  EXPECT_EQ(range(&AttentionScalars::sparsity), "above 0 to 1");
  EXPECT_EQ(range(&AttentionScalars::k), "1 to 2048");
  EXPECT_EQ(range(&AttentionScalars::tree_distances), "1 to 2048");
}

TEST(Knobs, DigitsReadBack) {
  EXPECT_EQ(Digits(KnobOf(&AttentionScalars::epsilon), double{1e-8f}), "1e-08");
  EXPECT_EQ(Digits(KnobOf(&AttentionScalars::theta), 0.123456789012345678), "0.12345678901234568");
  EXPECT_EQ(Digits(KnobOf(&AttentionScalars::window), 1048576), "1048576");
  EXPECT_EQ(Digits(KnobOf(&AttentionScalars::index_bytes_max), 1e15), "1000000000000000");
  EXPECT_EQ(FlagOf(KnobOf(&AttentionScalars::tree_recent)), "--tree-recent");
}

TEST(Knobs, ApplyWhereTheyMeanSomething) {
  const auto applying = [](const AttentionParams& params) {
    std::set<std::string> names;
    for (const Knob& knob : RequestKnobs()) {
      if (Applies(knob, params)) {
        names.insert(knob.name);
      }
    }
    return names;
  };
  using Names = std::set<std::string>;
  AttentionParams alcca = {{.mode = AttentionMode::kAlcca}};
  EXPECT_EQ(applying({}), Names());
  EXPECT_EQ(applying(alcca), (Names{"k", "theta", "epsilon"}));
  alcca.near_share = 0.5f;
  EXPECT_EQ(applying(alcca), (Names{"k", "near_share", "epsilon"}));
  alcca.search = KeySearch::kTree;
  EXPECT_EQ(applying(alcca),
            (Names{"k", "near_share", "epsilon", "tree_distances", "tree_recent"}));
  EXPECT_EQ(applying({{.mode = AttentionMode::kMultipole, .search = KeySearch::kTree}}),
            (Names{"mass", "max_keys", "dense_below", "sinks", "recent"}));
  EXPECT_EQ(applying({{.mode = AttentionMode::kWindow}}), (Names{"window"}));
  EXPECT_EQ(applying({{.mode = AttentionMode::kTopK}}), (Names{"sparsity"}));
}

}  // namespace
}  // namespace alcca
