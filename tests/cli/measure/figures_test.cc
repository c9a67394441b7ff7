// What the client computes of its own: sums of counters, shares, loss by position, formats.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "tools/cli/measure/cost.h"
#include "tools/cli/measure/loss.h"
#include "tools/cli/measure/scoring.h"
#include "tools/cli/measure/variant.h"
#include "tools/cli/report.h"

namespace alcca::cli {
namespace {

using ::testing::HasSubstr;

v1::AttentionReport Sequence(int64_t heads, int64_t prompt, int64_t fed) {
  v1::AttentionReport report;
  v1::AttentionCounters& prefill = *report.mutable_prefill();
  prefill.set_queries(heads * prompt);
  prefill.set_qk_exact(heads * prompt * 3);
  prefill.set_com_test(heads * prompt);
  prefill.set_index_build(heads * prompt / 2);
  prefill.set_pv_exact(heads * prompt * 2);
  prefill.set_running_sums(heads * prompt);
  prefill.set_dense_equivalent_qk(heads * prompt * (prompt + 1) / 2);
  prefill.set_dense_equivalent_pv(heads * prompt * (prompt + 1) / 2);
  report.mutable_decode()->set_queries(heads * fed);
  return report;
}

TEST(Cost, SharesNameTheirBaseline) {
  Cost cost;
  cost.Add(Sequence(2, 10, 0), 2);
  EXPECT_EQ(cost.square, 2 * 100);
  EXPECT_DOUBLE_EQ(cost.query_key_over_square(), (60 + 20 + 10) / 200.0);
  EXPECT_DOUBLE_EQ(cost.query_key_over_causal(), (60 + 20 + 10) / 110.0);
  EXPECT_DOUBLE_EQ(cost.performed_over_square(), (60 + 20 + 10 + 40 + 20) / 400.0);
  EXPECT_DOUBLE_EQ(cost.performed_over_causal(), (60 + 20 + 10 + 40 + 20) / 220.0);
  EXPECT_DOUBLE_EQ(cost.query_key_per_query(), 4.5);
  cost.Add(Sequence(2, 4, 6), 2);  // ten tokens too, fed in two phases
  EXPECT_EQ(cost.square, 2 * 2 * 100);
  EXPECT_EQ(cost.sequences, 2);
  EXPECT_EQ(cost.sum.queries(), 2 * 20);
}

TEST(Cost, NothingComparedIsZero) {
  const Cost cost;
  EXPECT_EQ(cost.query_key_over_causal(), 0);
  EXPECT_EQ(cost.near_share(), 0);
  EXPECT_EQ(cost.recall(), 0);
}

TEST(Loss, BucketsDoubleAndCoverEveryToken) {
  Loss loss;
  loss.Add(std::vector<float>(40, -1.0f));
  loss.Add(std::vector<float>(15, -3.0f));
  const std::vector<Loss::Bucket>& buckets = loss.by_position();
  ASSERT_EQ(buckets.size(), 3u);
  EXPECT_EQ(buckets[0].from, 1);
  EXPECT_EQ(buckets[0].to, 16);
  EXPECT_EQ(buckets[0].tokens, 15 + 15);
  EXPECT_DOUBLE_EQ(buckets[0].nats_per_token(), 2);
  EXPECT_EQ(buckets[1].from, 16);
  EXPECT_EQ(buckets[1].tokens, 16);
  EXPECT_EQ(buckets[2].from, 32);
  EXPECT_EQ(buckets[2].to, 64);
  EXPECT_EQ(buckets[2].tokens, 40 - 31);
  EXPECT_EQ(loss.tokens(), 55);
  EXPECT_DOUBLE_EQ(loss.nats(), 40 + 45);
}

TEST(Report, NumbersAsPeopleReadThem) {
  EXPECT_EQ(Grouped(0), "0");
  EXPECT_EQ(Grouped(999), "999");
  EXPECT_EQ(Grouped(1000), "1,000");
  EXPECT_EQ(Grouped(-1234567), "-1,234,567");
  EXPECT_EQ(Percent(1), "100.0");
  EXPECT_EQ(Percent(.987), "98.7");
  EXPECT_EQ(Percent(.0127), "1.27");
  EXPECT_EQ(Percent(.00127), "0.127");
  EXPECT_EQ(Percent(0), "0.00");
}

TEST(Variant, NamesFieldsAndAliases) {
  v1::AttentionParams base;
  base.set_tree_distances(32);
  Variant v;
  EXPECT_EQ(ParseVariant("dense", base, &v), "");
  EXPECT_EQ(v.attention.mode(), v1::ATTENTION_MODE_DENSE);
  EXPECT_EQ(v.attention.tree_distances(), 32u);
  EXPECT_EQ(ParseVariant("tree:k=4:tree_recent=3", base, &v), "");
  EXPECT_EQ(v.attention.mode(), v1::ATTENTION_MODE_ALCCA);
  EXPECT_EQ(v.attention.search(), v1::ATTENTION_SEARCH_TREE);
  EXPECT_EQ(v.attention.k(), 4u);
  EXPECT_EQ(v.attention.tree_recent(), 3u);
  EXPECT_EQ(ParseVariant("exact", base, &v), "");
  EXPECT_EQ(v.attention.search(), v1::ATTENTION_SEARCH_EXACT);
  EXPECT_EQ(ParseVariant("alcca:search=tree:theta=0.5", base, &v), "");
  EXPECT_EQ(v.attention.search(), v1::ATTENTION_SEARCH_TREE);
  EXPECT_FLOAT_EQ(v.attention.theta(), 0.5f);
  EXPECT_EQ(ParseVariant("topk:sparsity=0.1", base, &v), "");
  EXPECT_FLOAT_EQ(v.attention.sparsity(), 0.1f);
  EXPECT_EQ(ParseVariant(kMultipole, base, &v), "");
  EXPECT_EQ(v.attention.mode(), v1::ATTENTION_MODE_MULTIPOLE);
  EXPECT_TRUE(v.attention.has_dense_below());
}

TEST(Variant, WrongOnesAreNamed) {
  Variant v;
  EXPECT_THAT(ParseVariant("sparse", {}, &v), HasSubstr("'sparse' is no attention mode"));
  EXPECT_THAT(ParseVariant("unspecified", {}, &v), HasSubstr("'unspecified' is no attention mode"));
  EXPECT_EQ(ParseVariant("window:width=3", {}, &v), "'width' is no attention setting");
  EXPECT_THAT(ParseVariant("window:window=x", {}, &v), HasSubstr("window: must be an integer"));
  EXPECT_THAT(ParseVariant("window:window=0", {}, &v), HasSubstr("window: must be from 1 to"));
  EXPECT_THAT(ParseVariant("alcca:search=best", {}, &v), HasSubstr("search: must be one of"));
  EXPECT_NE(ParseVariant("matched:window=3", {}, &v), "");
  std::vector<Variant> list;
  EXPECT_EQ(ParseVariants({"tree", "matched"}, {}, &list), "");
  EXPECT_TRUE(list[1].matched);
  EXPECT_NE(ParseVariants({"matched", "tree"}, {}, &list), "");
}

TEST(Variant, MatchedWindowCostsNoLessThanItsBudget) {
  Variant v;
  ASSERT_EQ(ParseVariant("matched", {}, &v), "");
  v1::AttentionParams applied;
  applied.set_mode(v1::ATTENTION_MODE_MULTIPOLE);
  // Of 10 tokens a window of w costs 10 w less w (w - 1) / 2 interactions: 40 of 5, 45 of 6; of 4
  // tokens more, 10 of either.
  Cost cost;
  const auto match = [&](int64_t per_head) {
    v1::AttentionReport report = Sequence(2, 10, 0);
    report.mutable_prefill()->set_qk_exact(2 * per_head);
    report.mutable_prefill()->clear_qk_centroid();
    report.mutable_prefill()->clear_com_test();
    report.mutable_prefill()->clear_index_build();
    cost = {};
    cost.Add(report, 2);
    MatchBudget(applied, cost, &v);
    EXPECT_EQ(v.attention.mode(), v1::ATTENTION_MODE_WINDOW);
    return v.attention.window();
  };
  EXPECT_EQ(match(40), 5u);
  EXPECT_EQ(match(41), 6u);
  EXPECT_EQ(match(45), 6u);
  EXPECT_EQ(match(55), 10u);  // causal dense
  EXPECT_EQ(match(1000), 10u);
  EXPECT_EQ(match(1), 1u);
  EXPECT_EQ(match(10), 1u);
  EXPECT_EQ(match(11), 2u);
  // Two sequences: a window of 5 computes 40 + 10.
  cost = {};
  v1::AttentionReport report;
  report.mutable_prefill()->set_queries(10);
  report.mutable_prefill()->set_qk_exact(45);
  report.mutable_prefill()->set_index_build(5);
  cost.Add(report, 1);
  report = {};
  report.mutable_prefill()->set_queries(4);
  cost.Add(report, 1);
  EXPECT_EQ(cost.MatchedWindow(), 5u);
  cost.sum.set_index_build(6);
  EXPECT_EQ(cost.MatchedWindow(), 6u);
}

TEST(Variant, MatchedToAlccaKeepsItsFormula) {
  v1::AttentionParams applied;
  applied.set_mode(v1::ATTENTION_MODE_ALCCA);
  applied.set_search(v1::ATTENTION_SEARCH_TREE);
  applied.set_k(8);
  applied.set_epsilon(.05f);
  applied.set_tree_distances(11);
  applied.set_tree_recent(6);
  Variant v;
  MatchBudget(applied, {}, &v);
  EXPECT_EQ(v.attention.tree_distances(), 11u);
  EXPECT_EQ(v.attention.tree_recent(), 11u);
  EXPECT_FLOAT_EQ(v.attention.epsilon(), .05f);
  applied.set_search(v1::ATTENTION_SEARCH_EXACT);
  applied.set_theta_per_head(true);
  MatchBudget(applied, {}, &v);
  EXPECT_FALSE(v.attention.theta_per_head());
  EXPECT_EQ(v.attention.search(), v1::ATTENTION_SEARCH_TREE);
  EXPECT_EQ(v.attention.tree_distances(), 8u);
  EXPECT_EQ(v.attention.tree_recent(), 8u);
  Cost cost;
  cost.Add(Sequence(2, 10, 0), 2);  // two values a query
  applied.clear_k();
  applied.set_k_per_head(true);
  MatchBudget(applied, cost, &v);
  EXPECT_EQ(v.attention.tree_distances(), 2u);
}

TEST(Scoring, LongTextsAreCutWhereTheTokensStayTheSame) {
  const auto cut = [](std::string_view text, size_t most) {
    std::vector<std::string> parts;
    while (!text.empty()) {
      parts.emplace_back(CutTokenizable(most, &text));
      EXPECT_LE(parts.back().size(), most);
    }
    return parts;
  };
  EXPECT_EQ(cut("one two", 100), std::vector<std::string>{"one two"});
  EXPECT_EQ(cut("one two", 7), std::vector<std::string>{"one two"});
  EXPECT_EQ(cut("one two three", 8), (std::vector<std::string>{"one two", "three"}));
  EXPECT_EQ(cut("onetwo", 4), (std::vector<std::string>{"onet", "wo"}));
  EXPECT_EQ(cut("\u00e9\u00e9\u00e9", 3), (std::vector<std::string>(3, "\u00e9")));
}

TEST(Scoring, PieceBytes) {
  EXPECT_EQ(PieceBytes("abc"), 3);
  EXPECT_EQ(PieceBytes("\u2581abc"), 4);
  EXPECT_EQ(PieceBytes("\u2581\u2581"), 2);
  EXPECT_EQ(PieceBytes("<0x0A>"), 1);
  EXPECT_EQ(PieceBytes("\u00e9"), 2);
}

TEST(Scoring, DocumentsAreTrimmedAndLimited) {
  const std::string text = " a \n<|>\n\n<|>b<|>c";
  EXPECT_EQ(SplitDocuments(text, "<|>", 0), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(SplitDocuments(text, "<|>", 2), (std::vector<std::string>{"a", "b"}));
}

TEST(Scoring, CutSequencesAreExactAndCountPredictedBytes) {
  TokenizedText text{.ids = TokenIds(10), .pieces = std::vector<std::string>(10, "xy")};
  std::iota(text.ids.begin(), text.ids.end(), 100);
  text.pieces[0] = "\u2581xy";  // the tokenizer's own space
  v1::GetModelInfoResponse info;
  info.set_bos_token_id(1);
  const ExactSequences with = CutSequences(text, info, 5, 100);
  ASSERT_EQ(with.ids.size(), 2u);
  EXPECT_EQ(with.ids[0], (TokenIds{1, 100, 101, 102, 103}));
  EXPECT_EQ(with.ids[1], (TokenIds{1, 104, 105, 106, 107}));
  EXPECT_EQ(with.bytes, 16);
  EXPECT_EQ(CutSequences(text, info, 5, 1).bytes, 8);
  info.clear_bos_token_id();
  const ExactSequences without = CutSequences(text, info, 5, 100);
  EXPECT_EQ(without.ids[1], (TokenIds{105, 106, 107, 108, 109}));
  EXPECT_EQ(without.bytes, 16);  // the first token of each is not predicted
  EXPECT_TRUE(CutSequences(text, info, 11, 100).ids.empty());
}

TEST(Scoring, ForEachDoesEachOnceAndReportsTheFailure) {
  std::vector<int> done(100, 0);
  EXPECT_TRUE(ForEach(done.size(), 4, [&](size_t i) {
                ++done[i];
                return grpc::Status::OK;
              }).ok());
  EXPECT_EQ(done, std::vector<int>(100, 1));
  const grpc::Status status = ForEach(100, 4, [](size_t i) {
    return i == 7 ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "seven") : grpc::Status::OK;
  });
  EXPECT_EQ(status.error_message(), "seven");
}

}  // namespace
}  // namespace alcca::cli
