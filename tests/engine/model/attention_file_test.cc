#include "engine/model/attention_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/testing/checkpoint_writer.h"

namespace alcca {
namespace {

using ::testing::HasSubstr;
using testing::TempDir;

ModelConfig TwoByTwo() {
  ModelConfig model;
  model.num_layers = 2;
  model.num_heads = 2;
  return model;
}

void ExpectRefused(const absl::Status& status, const std::string& text) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(text));
}

TEST(AttentionFile, SilenceSaysNothing) {
  const auto empty = ParseAttentionFile("{}", "a", TwoByTwo());
  ASSERT_TRUE(empty.ok()) << empty.status();
  EXPECT_FALSE(empty->mode || empty->search);
  for (const Knob& knob : kKnobs) {
    EXPECT_FALSE((*empty)[knob]) << knob.name;
  }
}

TEST(AttentionFile, ReadsWhatIsThere) {
  const auto file = ParseAttentionFile(
      R"({"_note": {"by": 1}, "mode": "alcca", "theta": 3.5, "k": 8, "epsilon": 1e-8,
          "search": "tree", "tree_distances": 16, "tree_recent": 0, "near_share": 0.5, "window": 12,
          "sparsity": 0.25, "mass": 1,
          "max_keys": 0, "dense_below": 1, "sinks": 2, "recent": 3})",
      "a", TwoByTwo());
  ASSERT_TRUE(file.ok()) << file.status();
  const AttentionParams got = Resolve({&*file});
  EXPECT_EQ(got.mode, AttentionMode::kAlcca);
  EXPECT_EQ(got.theta, 3.5f);
  EXPECT_EQ(got.k, 8);
  EXPECT_EQ(got.epsilon, 1e-8f);
  EXPECT_EQ(got.search, KeySearch::kTree);
  EXPECT_EQ(got.tree_distances, 16);
  EXPECT_EQ(got.tree_recent, 0);
  EXPECT_EQ(got.near_share, 0.5f);
  EXPECT_EQ(got.window, 12);
  EXPECT_EQ(got.sparsity, 0.25f);
  EXPECT_EQ(got.mass, 1);
  EXPECT_EQ(got.max_keys, 0);
  EXPECT_EQ(got.dense_below, 1);
  EXPECT_EQ(got.sinks, 2);
  EXPECT_EQ(got.recent, 3);
}

// Every knob of the table at its ends, and beyond.
TEST(AttentionFile, KeepsTheRangesOfTheTable) {
  for (const Knob& knob : kKnobs) {
    const auto parse = [&](double value) {
      return ParseAttentionFile("{\"" + std::string(knob.name) + "\": " + Digits(knob, value) + "}",
                                "a", TwoByTwo())
          .status();
    };
    if (knob.operators_own) {
      ExpectRefused(parse(knob.most), "unknown key");
      continue;
    }
    EXPECT_EQ(parse(knob.least).ok(), !knob.above) << knob.name;
    EXPECT_TRUE(parse(knob.most).ok()) << knob.name << parse(knob.most);
    ExpectRefused(parse(knob.least - 1), "a: '" + std::string(knob.name) + "': expected");
    ExpectRefused(parse(knob.most * 2), "a: '" + std::string(knob.name) + "': expected");
  }
}

TEST(AttentionFile, RefusesTheRest) {
  const std::vector<std::pair<std::string, std::string>> cases = {{"mode", "\"fast\""},
                                                                  {"mode", "1"},
                                                                  {"mode", "\"\""},
                                                                  {"theta", "-1"},
                                                                  {"theta", "1.1e9"},
                                                                  {"theta", "\"0\""},
                                                                  {"k", "0"},
                                                                  {"k", "8.5"},
                                                                  {"k", "2049"},
                                                                  {"epsilon", "0"},
                                                                  {"epsilon", "1e10"},
                                                                  {"search", "\"flat\""},
                                                                  {"search", "false"},
                                                                  {"tree_distances", "0"},
                                                                  {"tree_recent", "-1"},
                                                                  {"near_share", "1.1"},
                                                                  {"window", "0"},
                                                                  {"sparsity", "0"},
                                                                  {"sparsity", "1e-60"},
                                                                  {"sparsity", "1.5"},
                                                                  {"mass", "-0.1"},
                                                                  {"max_keys", "-1"},
                                                                  {"dense_below", "1e3"},
                                                                  {"sinks", "65537"},
                                                                  {"recent", "0"},
                                                                  {"theta", "[]"},
                                                                  {"theta", "[1, 2]"},
                                                                  {"theta", "[[]]"},
                                                                  {"theta", "[[1], [1, 2]]"},
                                                                  {"theta", "[[1, -1]]"},
                                                                  {"theta", "[[1], {}]"},
                                                                  {"theta", "[[1, \"2\"]]"},
                                                                  {"k", "[[8, 0]]"},
                                                                  {"k", "[[8, 8.5]]"}};
  for (const auto& [key, value] : cases) {
    ExpectRefused(ParseAttentionFile("{\"" + key + "\": " + value + "}", "a", TwoByTwo()).status(),
                  "a: '" + key + "': expected");
  }
  ExpectRefused(ParseAttentionFile("{\"thetta\": 1}", "a", TwoByTwo()).status(),
                "a: 'thetta': unknown key");
}

TEST(AttentionFile, TablesHaveARowForEachLayerAndAColumnForEachHead) {
  ModelConfig model = TwoByTwo();
  const std::string text = R"({"theta": [[1, 2.5], [0, 4]], "k": [[8, 1], [2, 3]]})";
  const auto parsed = ParseAttentionFile(text, "a", model);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_FALSE((*parsed)[KnobOf(&AttentionScalars::theta)]);
  EXPECT_FALSE((*parsed)[KnobOf(&AttentionScalars::k)]);
  EXPECT_EQ(*parsed->head_theta, (std::vector<float>{1, 2.5f, 0, 4}));
  EXPECT_EQ(*parsed->head_k, (std::vector<int32_t>{8, 1, 2, 3}));
  model.num_heads = 3;
  ExpectRefused(ParseAttentionFile(text, "a", model).status(),
                ": 2 lists of 2; the model has 2 layers of 3 query heads");
}

TEST(AttentionFile, AMissingFileSaysNothingAWrongOneIsNamed) {
  const TempDir dir;
  EXPECT_TRUE(LoadAttentionFile(dir.path(), TwoByTwo()).ok());
  dir.Write("alcca.json", "{\"k\": 0}");
  ExpectRefused(LoadAttentionFile(dir.path(), TwoByTwo()).status(), "/alcca.json: 'k': expected");
  dir.Write("alcca.json", "{\"k\": [[1, 2], [3, 4], [5, 6]]}");
  ExpectRefused(LoadAttentionFile(dir.path(), TwoByTwo()).status(), "'k': 3 lists of 2");
}

}  // namespace
}  // namespace alcca
