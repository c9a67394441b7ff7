#include "tools/cli/measure/card_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace alcca::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr int64_t kHeads = 4;

// A row of two sequences, with so many query-key interactions and an index of so many for a head.
CardRow Row(const std::string& role, int64_t n, int64_t qk, int64_t build) {
  CardRow row;
  row.role = role;
  row.label = "row " + role;
  row.n = n;
  row.heads = kHeads;
  row.applied.set_mode(role == "tree" ? v1::ATTENTION_MODE_ALCCA : v1::ATTENTION_MODE_WINDOW);
  v1::AttentionReport report;
  v1::AttentionCounters& counters = *report.mutable_prefill();
  counters.set_queries(kHeads * n);
  counters.set_qk_exact(kHeads * qk);
  counters.set_index_build(kHeads * build);
  counters.set_pv_exact(kHeads * 8 * n);
  counters.set_kv_bytes_read(3000000);
  counters.set_dense_equivalent_qk(kHeads * n * (n + 1) / 2);
  counters.set_dense_equivalent_pv(kHeads * n * (n + 1) / 2);
  row.cost.Add(report, kHeads);
  row.cost.Add(report, kHeads);
  row.nats_per_byte = .8125;
  row.seconds = .25;
  return row;
}

CardTable Table() {
  CardTable table;
  table.text = "stories.txt";
  table.model = "model";
  table.default_mode = "alcca";
  CardTable::Length& card = table.lengths.emplace_back();
  card = {.n = 1000, .sequences = 2, .bytes = 7400, .rows = {}, .notes = {"multipole: refused"}};
  card.rows = {Row("window", 1000, 95050, 0), Row("sparse", 1000, 500500, 0),
               Row("tree", 1000, 11945, 755)};
  table.lengths.push_back(
      {.n = 4000, .sequences = 0, .bytes = 0, .rows = {}, .notes = {"exceeds"}});
  return table;
}

TEST(CardTable, FiguresAreOfOneSequenceAndHead) {
  const CardRow row = Row("tree", 1000, 11945, 755);
  EXPECT_DOUBLE_EQ(row.qk(), 11945);
  EXPECT_DOUBLE_EQ(row.with_build(), 12700);
  EXPECT_DOUBLE_EQ(row.all(), 20700);
  EXPECT_DOUBLE_EQ(row.kv_bytes(), 3000000);
}

TEST(CardTable, PublishedStandsBesideMeasured) {
  const CardTable table = Table();
  const std::string text = CardText(table.lengths[0]);
  EXPECT_THAT(text, HasSubstr("n = 1000, 2 sequences, 7,400 bytes"));
  EXPECT_THAT(text,
              HasSubstr("11,945      12,700      1.27      2.54       3.0     250.0    0.8125"));
  EXPECT_THAT(text, HasSubstr("98.7 % fewer than full, 87 % fewer than sliding window and sparse"));
  EXPECT_THAT(text, HasSubstr("98.7 % fewer than n^2, 97.5 % fewer than causal dense"));
  EXPECT_THAT(text, HasSubstr("86.6 % fewer than window, 97.5 % fewer than topk"));
  EXPECT_THAT(text, HasSubstr("multipole: refused"));
  const std::string absent = CardText(table.lengths[1]);
  EXPECT_THAT(absent, HasSubstr("exceeds"));
  EXPECT_THAT(absent, Not(HasSubstr("published")));  // the card speaks of n = 1000
  EXPECT_THAT(CardHeading(table), HasSubstr("default attention is alcca"));
}

TEST(CardTable, MoreIsNotCalledFewer) {
  CardTable::Length length;
  length.n = 10;
  length.rows = {Row("window", 10, 50, 0), Row("sparse", 10, 55, 0), Row("exact", 10, 65, 0)};
  EXPECT_THAT(CardText(length), HasSubstr("30.0 % more than window, 18.2 % more than topk"));
}

TEST(CardTable, Json) {
  const nlohmann::json json = CardTableJson(Table());
  ASSERT_EQ(json["rows"].size(), 3u);
  const nlohmann::json& row = json["rows"][2];
  EXPECT_EQ(row["n"], 1000);
  EXPECT_EQ(row["mode"], "alcca");
  EXPECT_EQ(row["label"], "row tree");
  EXPECT_EQ(row["interactions_qk"], 11945);
  EXPECT_EQ(row["interactions_with_build"], 12700);
  EXPECT_DOUBLE_EQ(row["vs_n2"], .0127);
  EXPECT_DOUBLE_EQ(row["vs_causal"], 12700 / 500500.0);
  EXPECT_DOUBLE_EQ(row["all_vs_2n2"], 20700 / 2e6);
  EXPECT_EQ(row["kv_bytes"], 3000000);
  EXPECT_EQ(row["ms"], 250);
  EXPECT_EQ(json["published"]["interactions"]["tree"], 11000);
  EXPECT_EQ(json["notes"][1]["n"], 4000);
}

}  // namespace
}  // namespace alcca::cli
