#include "tools/cli/measure/task_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace alcca::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Proportion, WilsonAsTabulated) {
  // Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
  const struct {
    int64_t successes, trials;
    double low, high;
  } kCases[] = {
      {81, 263, .2553, .3662}, {15, 148, .0624, .1605}, {0, 20, 0, .1611}, {1, 29, .0061, .1718}};
  for (const auto& c : kCases) {
    const Proportion p{.successes = c.successes, .trials = c.trials};
    EXPECT_NEAR(p.Wilson().low, c.low, 5e-5) << c.successes;
    EXPECT_NEAR(p.Wilson().high, c.high, 5e-5) << c.successes;
  }
  const Proportion all{.successes = 20, .trials = 20};
  EXPECT_NEAR(all.Wilson().low, 1 - .1611, 5e-5);
  EXPECT_DOUBLE_EQ(all.Wilson().high, 1);
  EXPECT_EQ(Proportion().Wilson().low, 0);
  EXPECT_EQ(Proportion().Wilson().high, 1);
  EXPECT_EQ(Proportion().share(), 0);
}

TaskReport TwoSamples() {
  TaskReport report;
  report.task = "recall";
  report.model = "model";
  report.samples = 2;
  report.candidates = 4;
  report.has_depth = true;
  TaskLength& length = report.lengths.emplace_back();
  length.n = 500;
  length.prompt_tokens = 480;
  length.notes = {"multipole: refused"};
  TaskRow& row = length.rows.emplace_back();
  row.label = "tree";
  row.applied.set_mode(v1::ATTENTION_MODE_ALCCA);
  row.Add({-1, -2, -3, -4}, {-3, -3, -3, -3}, true, .1);
  row.Add({-2, -2, -3, -4}, {-5, -2, -3, -4}, false, 1);  // a tie is no choice, but it rose most
  v1::AttentionReport attention;
  attention.mutable_prefill()->set_queries(100);
  attention.mutable_prefill()->set_qk_exact(1150);
  attention.mutable_prefill()->set_dense_equivalent_qk(5000);
  row.cost.Add(attention, 1);
  return report;
}

TEST(TaskReport, CountsChoicesMatchesAndDepths) {
  const TaskReport report = TwoSamples();
  const TaskRow& row = report.lengths[0].rows[0];
  EXPECT_EQ(row.chosen.successes, 1);
  EXPECT_EQ(row.exact.successes, 1);
  EXPECT_EQ(row.lifted.successes, 2);
  EXPECT_EQ(row.by_depth[0].successes, 1);
  EXPECT_EQ(row.by_depth[3].trials, 1);
  EXPECT_EQ(row.by_depth[1].trials, 0);
}

TEST(TaskReport, Text) {
  TaskReport report = TwoSamples();
  EXPECT_THAT(TaskHeading(report), HasSubstr("best of 4 candidates (chance 25.0 %)"));
  const std::string text = TaskText(report, report.lengths[0]);
  EXPECT_THAT(text, HasSubstr("n = 500, prompts of 480 tokens"));
  EXPECT_THAT(text, HasSubstr("tree                     100.0 [34.2, 100.0]   50.0 [ 9.5,  90.5]"));
  EXPECT_THAT(text, HasSubstr("-1.500      11.5     23.00  100.0    0.0    0.0  100.0"));
  EXPECT_THAT(text, HasSubstr("multipole: refused"));
  report.has_depth = false;
  EXPECT_THAT(TaskText(report, report.lengths[0]), Not(HasSubstr("depth")));
}

TEST(TaskReport, WhatTheModelWritesAlone) {
  TaskReport report = TwoSamples();
  report.greedy_only = true;
  TaskRow& row = report.lengths[0].rows[0] = {};
  row.label = "dense";
  row.Add({}, {}, true, 0);
  row.Add({}, {}, false, .3);
  EXPECT_EQ(row.exact.trials, 2);
  EXPECT_EQ(row.chosen.trials, 0);
  EXPECT_THAT(TaskHeading(report), Not(HasSubstr("chance")));
  const std::string text = TaskText(report, report.lengths[0]);
  EXPECT_THAT(text, HasSubstr("exact % by quarter of depth"));
  EXPECT_THAT(text, HasSubstr(" -                    -                     50.0 [ 9.5,  90.5]"));
  const nlohmann::json json = TaskJson(report);
  EXPECT_FALSE(json.contains("chance"));
  EXPECT_FALSE(json["rows"][0].contains("chosen"));
  EXPECT_EQ(json["rows"][0]["exact_match"]["successes"], 1);
  EXPECT_EQ(json["rows"][0]["exact_by_depth"][1]["trials"], 1);
}

TEST(TaskReport, Json) {
  const nlohmann::json json = TaskJson(TwoSamples());
  EXPECT_EQ(json["task"], "recall");
  EXPECT_EQ(json["chance"], .25);
  const nlohmann::json& row = json["rows"][0];
  EXPECT_EQ(row["mode"], "alcca");
  EXPECT_EQ(row["chosen"]["share"], .5);
  EXPECT_NEAR(row["chosen"]["low"], .0945, 5e-5);
  EXPECT_EQ(row["exact_match"]["successes"], 1);
  EXPECT_EQ(row["right_logprob"], -1.5);
  EXPECT_EQ(row["margin"], .5);
  EXPECT_EQ(row["interactions_per_query"], 11.5);
  EXPECT_EQ(row["lifted_by_depth"].size(), 4u);
  EXPECT_EQ(json["notes"][0]["n"], 500);
}

}  // namespace
}  // namespace alcca::cli
