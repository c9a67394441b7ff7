#include "server/api/wire.h"

#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

namespace alcca {
namespace {

using google::protobuf::util::MessageDifferencer;

std::vector<TokenLogprob> TwoTokens() {
  return {{.token = 5, .logprob = -0.5f, .top = {{5, -0.5f}, {9, -2.0f}}},
          {.token = 7, .logprob = -1.5f, .top = {}}};
}

// One TopLogProbs a token even where it is empty, or clients could not pair them.
TEST(Wire, OutputLogprobsStayParallel) {
  v1::OutputLogProbs wire;
  SetLogprobs(TwoTokens(), &wire);
  ASSERT_EQ(wire.token_ids_size(), 2);
  ASSERT_EQ(wire.token_logprobs_size(), 2);
  ASSERT_EQ(wire.top_logprobs_size(), 2);
  EXPECT_EQ(wire.token_ids(1), 7u);
  EXPECT_EQ(wire.token_logprobs(0), -0.5f);
  EXPECT_EQ(wire.token_logprobs(1), -1.5f);
  ASSERT_EQ(wire.top_logprobs(0).token_ids_size(), 2);
  EXPECT_EQ(wire.top_logprobs(0).token_ids(1), 9u);
  EXPECT_EQ(wire.top_logprobs(0).values(1), -2.0f);
  EXPECT_EQ(wire.top_logprobs(1).token_ids_size(), 0);
}

TEST(Wire, TheFirstPromptTokenHasNoLogprob) {
  v1::InputLogProbs wire;
  SetLogprobs(TwoTokens(), &wire);
  ASSERT_EQ(wire.token_logprobs_size(), 2);
  EXPECT_FALSE(wire.token_logprobs(0).has_value());
  ASSERT_TRUE(wire.token_logprobs(1).has_value());
  EXPECT_EQ(wire.token_logprobs(1).value(), -1.5f);
  EXPECT_EQ(wire.token_ids(0), 5u);
  EXPECT_EQ(wire.top_logprobs_size(), 2);
}

TEST(Wire, DenseNamesNoParameterOfAlcca) {
  v1::AttentionParams wire, want;
  SetAttention({{.mode = AttentionMode::kDense, .theta = 3, .k = 4, .epsilon = 5}}, &wire);
  want.set_mode(v1::ATTENTION_MODE_DENSE);
  EXPECT_TRUE(MessageDifferencer::Equals(wire, want)) << wire.DebugString();
}

TEST(Wire, AlccaSaysAllThatApplied) {
  v1::AttentionParams wire;
  SetAttention({{.mode = AttentionMode::kAlcca, .theta = 0, .k = 4, .epsilon = 0.25f}}, &wire);
  EXPECT_EQ(wire.mode(), v1::ATTENTION_MODE_ALCCA);
  EXPECT_EQ(wire.search(), v1::ATTENTION_SEARCH_EXACT);
  ASSERT_TRUE(wire.has_theta());  // zero that applied, not silence
  EXPECT_EQ(wire.theta(), 0);
  EXPECT_EQ(wire.k(), 4u);
  EXPECT_EQ(wire.epsilon(), 0.25f);
}

TEST(Wire, TreeSearchSaysItsBudget) {
  v1::AttentionParams wire;
  SetAttention({{.mode = AttentionMode::kAlcca,
                 .search = KeySearch::kTree,
                 .tree_distances = 20,
                 .tree_recent = 0}},
               &wire);
  EXPECT_EQ(wire.search(), v1::ATTENTION_SEARCH_TREE);
  EXPECT_EQ(wire.tree_distances(), 20u);
  ASSERT_TRUE(wire.has_tree_recent());
  EXPECT_EQ(wire.tree_recent(), 0u);
}

TEST(Wire, RecallIsSaidWhereItWasChecked) {
  Ending ending;
  v1::AttentionReport report;
  SetReport(ending, &report);
  EXPECT_FALSE(report.has_search_recall());
  ending.counters[0].recall_wanted = 6;
  ending.counters[1].recall_wanted = 2;
  ending.counters[1].recall_found = 2;
  SetReport(ending, &report);
  EXPECT_EQ(report.search_recall(), 0.25);
  EXPECT_EQ(report.prefill().recall_wanted(), 6);
}

TEST(Wire, ErrorIsSaidWhereItWasChecked) {
  Ending ending;
  v1::AttentionReport report;
  SetReport(ending, &report);
  EXPECT_FALSE(report.has_output_error());
  ending.counters[0].error_checked = 3;
  ending.counters[1].error_checked = 1;
  ending.counters[1].error_millionths = 200'000;
  SetReport(ending, &report);
  EXPECT_DOUBLE_EQ(report.output_error(), 0.05);
  EXPECT_EQ(report.prefill().error_checked(), 3);
  EXPECT_EQ(report.decode().error_millionths(), 200'000);
}

TEST(Wire, BaselinesSayTheirOneParameter) {
  v1::AttentionParams wire, want;
  SetAttention({{.mode = AttentionMode::kWindow, .theta = 3, .window = 64}}, &wire);
  want.set_mode(v1::ATTENTION_MODE_WINDOW);
  want.set_window(64);
  EXPECT_TRUE(MessageDifferencer::Equals(wire, want)) << wire.DebugString();
  wire.Clear();
  want.Clear();
  SetAttention({{.mode = AttentionMode::kTopK, .theta = 3, .sparsity = 0.25f}}, &wire);
  want.set_mode(v1::ATTENTION_MODE_TOPK);
  want.set_sparsity(0.25f);
  EXPECT_TRUE(MessageDifferencer::Equals(wire, want)) << wire.DebugString();
}

TEST(Wire, MultipoleSaysAllThatApplied) {
  v1::AttentionParams wire, want;
  SetAttention({{.mode = AttentionMode::kMultipole,
                 .theta = 3,
                 .mass = 0.5f,
                 .max_keys = 0,
                 .dense_below = 7,
                 .sinks = 0,
                 .recent = 9}},
               &wire);
  want.set_mode(v1::ATTENTION_MODE_MULTIPOLE);
  want.set_mass(0.5f);
  want.set_max_keys(0);
  want.set_dense_below(7);
  want.set_sinks(0);
  want.set_recent(9);
  EXPECT_TRUE(MessageDifferencer::Equals(wire, want)) << wire.DebugString();
}

// What a head has of its own is named as such, never as the number that does not apply.
TEST(Wire, TablesAndQuantilesReplaceTheNumber) {
  AttentionParams params = {{.mode = AttentionMode::kAlcca, .theta = 3, .k = 4}};
  params.head_theta = std::make_shared<const std::vector<float>>(4, 1.0f);
  params.head_k = std::make_shared<const std::vector<int32_t>>(4, 2);
  v1::AttentionParams wire;
  SetAttention(params, &wire);
  EXPECT_TRUE(wire.theta_per_head());
  EXPECT_TRUE(wire.k_per_head());
  EXPECT_FALSE(wire.has_theta() || wire.has_k() || wire.has_near_share());
  params.near_share = 0.25f;
  wire.Clear();
  SetAttention(params, &wire);
  EXPECT_EQ(wire.near_share(), 0.25f);
  EXPECT_FALSE(wire.has_theta() || wire.theta_per_head());
}

// Every counter is another power of two: a swap, a loss or a double shows in the sums.
TEST(Wire, ReportCountsBothPhases) {
  Ending ending;
  ending.attention.mode = AttentionMode::kAlcca;
  ending.index_bytes = 77;
  ending.fell_back = true;
  ending.timings.index_build_seconds = 0.5;
  const AttentionCounters prefill = {.qk_exact = 1,
                                     .qk_centroid = 2,
                                     .com_test = 4,
                                     .index_build = 8,
                                     .pv_exact = 16,
                                     .pv_centroid = 32,
                                     .running_sums = 64,
                                     .queries = 128,
                                     .near_queries = 256,
                                     .dense_equivalent_qk = 512,
                                     .dense_equivalent_pv = 1024,
                                     .kv_bytes_read = 2048};
  ending.counters[static_cast<size_t>(Phase::kPrefill)] = prefill;
  AttentionCounters& decode = ending.counters[static_cast<size_t>(Phase::kDecode)];
  for (int i = 0; i < 3; ++i) {
    decode += prefill;
  }
  v1::AttentionReport wire;
  SetReport(ending, &wire);
  EXPECT_EQ(wire.applied().mode(), v1::ATTENTION_MODE_ALCCA);
  EXPECT_EQ(wire.index_bytes(), 77);
  EXPECT_TRUE(wire.fell_back());
  EXPECT_EQ(wire.index_build_seconds(), 0.5);
  for (const auto& [phase, times] : {std::pair{&wire.prefill(), 1}, std::pair{&wire.decode(), 3}}) {
    EXPECT_EQ(phase->qk_exact(), 1 * times);
    EXPECT_EQ(phase->qk_centroid(), 2 * times);
    EXPECT_EQ(phase->com_test(), 4 * times);
    EXPECT_EQ(phase->index_build(), 8 * times);
    EXPECT_EQ(phase->pv_exact(), 16 * times);
    EXPECT_EQ(phase->pv_centroid(), 32 * times);
    EXPECT_EQ(phase->running_sums(), 64 * times);
    EXPECT_EQ(phase->queries(), 128 * times);
    EXPECT_EQ(phase->near_queries(), 256 * times);
    EXPECT_EQ(phase->dense_equivalent_qk(), 512 * times);
    EXPECT_EQ(phase->dense_equivalent_pv(), 1024 * times);
    EXPECT_EQ(phase->kv_bytes_read(), 2048 * times);
  }
  EXPECT_DOUBLE_EQ(wire.near_share(), 2.0);
  EXPECT_DOUBLE_EQ(wire.performed_over_dense_causal(), 127.0 / 1536.0);
  EXPECT_DOUBLE_EQ(wire.qk_performed_over_dense_causal(), 15.0 / 512.0);
}

TEST(Wire, AReportOfNothingHasNoNan) {
  v1::AttentionReport wire;
  SetReport(Ending{}, &wire);
  EXPECT_EQ(wire.near_share(), 0);
  EXPECT_EQ(wire.performed_over_dense_causal(), 0);
  EXPECT_EQ(wire.qk_performed_over_dense_causal(), 0);
}

}  // namespace
}  // namespace alcca
