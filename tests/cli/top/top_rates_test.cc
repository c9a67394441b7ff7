#include "tools/cli/top/top_rates.h"

#include <gtest/gtest.h>

#include <limits>

namespace alcca::cli {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

TopHistogram Histogram(std::map<double, double> cumulative) {
  return {.cumulative = std::move(cumulative)};
}

TEST(TopQuantile, IsLinearInABucketAsInPrometheus) {
  const TopHistogram none;
  const TopHistogram some = Histogram({{1, 2}, {2, 8}, {4, 10}, {kInf, 10}});
  EXPECT_DOUBLE_EQ(Quantile(none, some, .5)->seconds, 1.5);   // 5th of 10: 3 of 6 into (1, 2]
  EXPECT_DOUBLE_EQ(Quantile(none, some, .95)->seconds, 3.5);  // 9.5th: 1.5 of 2 into (2, 4]
  EXPECT_DOUBLE_EQ(Quantile(none, some, .1)->seconds, .5);
  EXPECT_DOUBLE_EQ(Quantile(none, some, 1)->seconds, 4);
  EXPECT_FALSE(Quantile(none, some, .95)->above);
}

TEST(TopQuantile, CountsTheIntervalAlone) {
  const TopHistogram before = Histogram({{1, 100}, {2, 100}, {kInf, 100}});
  const TopHistogram now = Histogram({{1, 100}, {2, 104}, {kInf, 104}});
  EXPECT_DOUBLE_EQ(Quantile(before, now, .5)->seconds, 1.5);  // the hundred fast ones are past
  EXPECT_FALSE(Quantile(now, now, .5).has_value());
  EXPECT_FALSE(Quantile(now, TopHistogram(), .5).has_value());
}

TEST(TopQuantile, BeyondTheLastBoundIsSaidToBe) {
  const auto value = Quantile(TopHistogram(), Histogram({{1, 1}, {80, 2}, {kInf, 10}}), .95);
  ASSERT_TRUE(value.has_value());
  EXPECT_EQ(value->seconds, 80);
  EXPECT_TRUE(value->above);
}

TEST(TopQuantile, CountsThatDoNotAscendAreNoHistogram) {
  EXPECT_FALSE(Quantile(TopHistogram(), Histogram({{1, 5}, {kInf, -3}}), .5).has_value());
  EXPECT_FALSE(
      Quantile(TopHistogram(), Histogram({{kInf, std::numeric_limits<double>::quiet_NaN()}}), .5)
          .has_value());
}

TopFigures Early() {
  TopFigures f;
  f.prompt_tokens = 100;
  f.generation_tokens = 1000;
  f.finished = 10;
  f.rejected = 1;
  f.recall_wanted = 80;
  f.recall_found = 80;
  f.modes["alcca"] = {.performed = {50, 10}, .dense = {100, 100}, .queries = 40, .near = 4};
  f.modes["dense"] = {.performed = {70, 70}, .dense = {70, 70}, .queries = 5, .near = 0};
  f.first_token = Histogram({{.1, 10}, {kInf, 10}});
  return f;
}

TEST(TopRates, AreDifferencesPerSecond) {
  TopFigures now = Early();
  now.prompt_tokens += 60;
  now.generation_tokens += 500;
  now.finished += 5;
  now.failed += 1;
  now.rejected += 2;
  now.recall_wanted += 10;
  now.recall_found += 7;
  now.modes["alcca"] = {.performed = {50, 30}, .dense = {100, 200}, .queries = 60, .near = 9};
  now.modes["window"] = {.performed = {20, 0}, .dense = {100, 0}, .queries = 10, .near = 0};
  now.first_token = Histogram({{.1, 14}, {kInf, 14}});
  const TopRates r = Between(Early(), now, 2);
  EXPECT_FALSE(r.restarted);
  EXPECT_EQ(r.seconds, 2);
  EXPECT_EQ(r.prompt_tokens, 30);
  EXPECT_EQ(r.generation_tokens, 250);
  EXPECT_EQ(r.finished, 2.5);
  EXPECT_EQ(r.failed, .5);
  EXPECT_EQ(r.rejected, 1);
  EXPECT_DOUBLE_EQ(*r.recall, .7);  // not the 80 of before
  EXPECT_EQ(r.first_token.count, 4);
  EXPECT_DOUBLE_EQ(r.first_token.p50->seconds, .05);
  EXPECT_FALSE(r.token_gap.p50.has_value());
  // dense had no query in the interval, window none before it.
  ASSERT_EQ(r.modes.size(), 2u);
  const TopModeRates& alcca = r.modes.at("alcca");
  EXPECT_FALSE(alcca.cost[0].has_value());
  EXPECT_DOUBLE_EQ(*alcca.cost[1], .2);
  EXPECT_DOUBLE_EQ(*alcca.near, .25);
  EXPECT_EQ(alcca.queries, 10);
  EXPECT_DOUBLE_EQ(*r.modes.at("window").cost[0], .2);
  EXPECT_DOUBLE_EQ(*r.cost, (20. + 20) / (100 + 100));
}

TEST(TopRates, ARestartCountsFromZero) {
  TopFigures now;
  now.generation_tokens = 30;
  now.first_token = Histogram({{.1, 1}, {kInf, 1}});
  const TopRates r = Between(Early(), now, 2);
  EXPECT_TRUE(r.restarted);
  EXPECT_EQ(r.generation_tokens, 15);
  EXPECT_EQ(r.finished, 0);
  EXPECT_EQ(r.first_token.count, 1);
  EXPECT_FALSE(r.recall.has_value());
}

TEST(TopRates, NothingHappened) {
  const TopRates r = Between(Early(), Early(), 1);
  EXPECT_FALSE(r.restarted);
  EXPECT_EQ(r.generation_tokens, 0);
  EXPECT_TRUE(r.modes.empty());
  EXPECT_FALSE(r.cost.has_value());
}

TEST(ReadFigures, TakesWhatIsOurs) {
  const auto samples = ParsePrometheusText(
      "alcca_num_requests_running 3\n"
      "alcca_requests_finished_total{reason=\"stop\"} 5\n"
      "alcca_requests_finished_total{reason=\"error\"} 2\n"
      "alcca_attention_interactions_total{mode=\"alcca\",phase=\"decode\",kind=\"qk_exact\"} 5\n"
      "alcca_attention_interactions_total{mode=\"alcca\",phase=\"decode\",kind=\"pv_exact\"} 6\n"
      "alcca_attention_dense_equivalent_total{mode=\"alcca\",phase=\"decode\"} 44\n"
      "alcca_attention_queries_total{mode=\"alcca\"} 8\n"
      "alcca_attention_near_queries_total{mode=\"alcca\"} 2\n"
      "alcca_time_to_first_token_seconds_bucket{le=\"0.1\"} 1\n"
      "alcca_time_to_first_token_seconds_bucket{le=\"+Inf\"} 2\n"
      "alcca_time_to_first_token_seconds_bucket{le=\"x\"} 9\n"
      "alcca_kv_cache_usage_ratio NaN\n"
      "other_metric 1\n");
  ASSERT_TRUE(samples.ok());
  const auto figures = ReadFigures(*samples);
  ASSERT_TRUE(figures.ok()) << figures.status();
  EXPECT_EQ(figures->running, 3);
  EXPECT_EQ(figures->finished, 7);
  EXPECT_EQ(figures->failed, 2);
  EXPECT_EQ(figures->kv_usage, 0);
  ASSERT_EQ(figures->modes.size(), 1u);
  EXPECT_EQ(figures->modes.at("alcca").performed[1], 11);
  EXPECT_EQ(figures->modes.at("alcca").dense[1], 44);
  EXPECT_EQ(figures->modes.at("alcca").near, 2);
  EXPECT_EQ(figures->first_token.count(), 2);
  EXPECT_EQ(figures->first_token.cumulative.size(), 2u);
  EXPECT_FALSE(ReadFigures(*ParsePrometheusText("process_cpu_seconds_total 1\n")).ok());
}

TEST(ReadFigures, AnotherProgramsModesAreBounded) {
  std::string page = "alcca_num_requests_running 1\n";
  for (int i = 0; i < 1000; ++i) {
    page += "alcca_attention_queries_total{mode=\"m" + std::to_string(i) + "\"} 1\n";
  }
  EXPECT_LE(ReadFigures(*ParsePrometheusText(page))->modes.size(), 16u);
}

}  // namespace
}  // namespace alcca::cli
