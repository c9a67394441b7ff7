// `alcca explain` on the embedded model: its data agrees with itself and with a run of the engine,
// and its page keeps whatever the tokens are as text.

#include "tools/lab/explain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/testing/model_runner.h"
#include "tools/lab/attention_probe.h"

namespace alcca::lab {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kText[] = "Once upon a time, there was a little bear. One day, the bear found a map";

LabModel Load(int32_t tokens) {
  auto lab = LoadLabModel({.dir = ALCCA_MODEL_DIR, .threads = 1},
                          {.batch_tokens = 64, .logit_rows = 1, .kv_tokens = tokens});
  EXPECT_TRUE(lab.ok()) << lab.status();
  return *std::move(lab);
}

std::vector<AttentionParams> Modes() {
  AttentionParams tree = {{.mode = AttentionMode::kAlcca, .k = 4, .epsilon = 0.05f}};
  tree.search = KeySearch::kTree;
  tree.tree_distances = 6;
  tree.tree_recent = 2;
  return {{{.mode = AttentionMode::kDense}},
          {{.mode = AttentionMode::kAlcca, .theta = 4.6f, .k = 8, .epsilon = 0.05f}},
          tree,
          {{.mode = AttentionMode::kWindow, .window = 5}},
          {{.mode = AttentionMode::kTopK, .sparsity = 0.2f}}};
}

// The text inside the page's data element, as a browser hands it to the script.
std::string DataOf(const std::string& html) {
  const std::string open = "<script type=\"application/json\" id=\"data\">";
  const size_t begin = html.find(open) + open.size();
  return html.substr(begin, html.find("</script", begin) - begin);
}

class ExplainTest : public ::testing::Test {
 protected:
  void SetUp() override {
    lab_ = Load(128);
    prompt_ = lab_.tokenizer->Encode(kText, {.bos = true}).value();
  }
  Explanation Make(const AttentionParams& params, const ExplainOptions& options = {}) {
    auto e = Explain(&lab_, prompt_, params, options);
    EXPECT_TRUE(e.ok()) << e.status();
    return *std::move(e);
  }
  LabModel lab_;
  std::vector<int32_t> prompt_;
};

TEST_F(ExplainTest, EveryRowSumsToOneAndNearRowsAreUniform) {
  int32_t near = 0, far = 0;
  for (const AttentionParams& params : Modes()) {
    const Explanation e = Make(params, {.min_weight = 0.01f});
    ASSERT_EQ(e.layers.size(), 6u);
    for (const ExplainedLayer& layer : e.layers) {
      ASSERT_EQ(layer.heads.size(), 8u);
      for (const ExplainedHead& head : layer.heads) {
        ASSERT_EQ(head.rows.size(), prompt_.size());
        for (size_t i = 0; i < head.rows.size(); ++i) {
          const WeightRow& row = head.rows[i];
          double sum = row.rest;
          for (const auto& entry : row.entries) {
            ASSERT_LE(entry.token, static_cast<int32_t>(i));
            sum += entry.weight;
            if (row.gate == Gate::kNear) {
              EXPECT_EQ(entry.weight, static_cast<float>(1.0 / double(i + 1)));
            }
          }
          ASSERT_NEAR(sum, 1, 1e-5) << DescribeAttention(params);
          (row.gate == Gate::kNear ? near : far) += 1;
          if (params.mode == AttentionMode::kDense) {
            ASSERT_EQ(row.gate, Gate::kAll);
          }
        }
      }
    }
  }
  EXPECT_GT(near, 50);
  EXPECT_GT(far, 50);
}

TEST_F(ExplainTest, CountersAreThoseOfAnyOtherRunOfTheEngine) {
  const auto model = testing::LoadModel(ALCCA_MODEL_DIR, WeightDType::kBF16);
  for (const AttentionParams& params : Modes()) {
    const Explanation e = Make(params);
    testing::ModelRunner runner(*model, params);
    runner.Feed(prompt_, 5);
    EXPECT_EQ(e.counters, runner.counters()) << DescribeAttention(params);
    // And the probe's, layer by layer and head by head, add up to them.
    double by_head = 0, by_position = 0, near = 0;
    int64_t bytes = 0;
    for (const ExplainedLayer& layer : e.layers) {
      bytes += layer.kv_bytes_read;
      for (const ExplainedHead& head : layer.heads) {
        by_head += head.interactions;
        near += head.near_share * double(prompt_.size());
      }
    }
    for (const double x : e.interactions) {
      by_position += x;
    }
    EXPECT_TRUE(e.cost_is_own);
    EXPECT_NEAR(by_head, double(e.counters[0].performed()), 1e-6);
    EXPECT_EQ(by_position, double(e.counters[0].performed()));
    EXPECT_NEAR(near, double(e.counters[0].near_queries), 1e-6);
    EXPECT_EQ(bytes, e.counters[0].kv_bytes_read);
  }
}

TEST_F(ExplainTest, GeneratedTokensAreGreedyAndCountedAsDecoding) {
  const AttentionParams params = Modes()[1];
  const auto model = testing::LoadModel(ALCCA_MODEL_DIR, WeightDType::kBF16);
  const auto expected = testing::Greedy(*model, params, prompt_, 5, 512);
  const Explanation e = Make(params, {.new_tokens = 4});
  ASSERT_EQ(e.tokens.size(), prompt_.size() + 4);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(e.tokens[prompt_.size() + i].id, expected[i]);
    EXPECT_TRUE(e.tokens[prompt_.size() + i].generated);
  }
  EXPECT_EQ(e.next.id, expected[4]);
  EXPECT_EQ(e.counters[static_cast<int>(Phase::kDecode)].queries, 4 * 6 * 8);
}

TEST_F(ExplainTest, JsonHasTheDocumentedShape) {
  const Explanation e = Make(Modes()[1]);
  const auto json = nlohmann::json::parse(ExplanationJson(e));
  EXPECT_EQ(json["schema"], "alcca.explain");
  EXPECT_EQ(json["version"], 1);
  EXPECT_EQ(json["model"]["name"], "afia-5m");
  EXPECT_EQ(json["attention"]["mode"], "alcca");
  EXPECT_EQ(json["counters"]["prefill"]["com_test"], 6 * 8 * prompt_.size());
  ASSERT_EQ(json["tokens"].size(), prompt_.size());
  EXPECT_EQ(json["tokens"][1]["text"], " Once");
  for (const auto& layer : json["layers"]) {
    for (const auto& head : layer["heads"]) {
      const std::string gates = head["gates"];
      ASSERT_EQ(gates.size(), prompt_.size());
      for (size_t i = 0; i < gates.size(); ++i) {
        double sum = head["rest"][i];
        for (size_t j = 1; j < head["rows"][i].size(); j += 2) {
          sum += head["rows"][i][j].get<double>();
        }
        EXPECT_NEAR(sum, gates[i] == 'n' ? 0 : 1, 1e-3);
      }
    }
  }
}

TEST_F(ExplainTest, ThePageHoldsItsDataWhateverTheTokensAre) {
  Explanation e = Make(Modes()[0]);
  const std::vector<std::string> hostile = {"</script><script>alert(1)</script>",
                                            "<!--<script>",
                                            "]]>",
                                            "\"'`${1}\\",
                                            "\xE2\x80\xA8\xE2\x80\xAE",
                                            "&lt;&amp;",
                                            "\x01\n\t",
                                            "{\"explanation\":\"goes here\"}"};
  for (size_t i = 0; i < hostile.size(); ++i) {
    e.tokens[i].text = hostile[i];
  }
  e.tokens[hostile.size()].text = "\xFF\xC0 no UTF-8";
  const std::string html = ExplanationHtml(ExplanationJson(e));
  const std::string data = DataOf(html);
  EXPECT_THAT(data, Not(HasSubstr("<")));
  const auto json = nlohmann::json::parse(data);
  for (size_t i = 0; i < hostile.size(); ++i) {
    EXPECT_EQ(json["tokens"][i]["text"], hostile[i]);
  }
  EXPECT_EQ(json["tokens"][hostile.size()]["text"], "\xEF\xBF\xBD\xEF\xBF\xBD no UTF-8");
  // Self-contained: nothing is fetched, and no text is ever parsed as HTML.
  const std::string page =
      html.substr(0, html.find(data)) + html.substr(html.find(data) + data.size());
  for (const char* never : {"src=", "href=", "@import", "url(", "innerHTML", "document.write",
                            "insertAdjacentHTML", "fetch(", "eval("}) {
    EXPECT_THAT(page, Not(HasSubstr(never)));
  }
}

TEST_F(ExplainTest, RefusesWhatIsTooLong) {
  const auto status = Explain(&lab_, prompt_, Modes()[0], {.max_tokens = 10}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("explain takes 10 together"));
  EXPECT_FALSE(Explain(&lab_, prompt_, Modes()[0], {.max_tokens = 20, .new_tokens = 10}).ok());
  EXPECT_FALSE(Explain(&lab_, {}, Modes()[0], {}).ok());
}

TEST_F(ExplainTest, WhatIsAskedGoesBeforeTheModelsFile) {
  ASSERT_TRUE(Add("alcca:theta=1.5:k=4", &(lab_.attention = {})).ok());
  AttentionSettings asked;
  auto params = ResolveAttention(lab_, asked);
  ASSERT_TRUE(params.ok());
  EXPECT_EQ(params->mode, AttentionMode::kAlcca);
  EXPECT_EQ(params->theta, 1.5f);
  EXPECT_EQ(params->k, 4);
  ASSERT_TRUE(Add("window:k=6", &asked).ok());
  params = ResolveAttention(lab_, asked);
  ASSERT_TRUE(params.ok());
  EXPECT_EQ(params->mode, AttentionMode::kWindow);
  EXPECT_EQ(params->k, 6);
}

TEST_F(ExplainTest, NewestKeysDoNotExceedDistances) {
  AttentionSettings asked;
  ASSERT_TRUE(Add("tree:tree_distances=3:tree_recent=4", &asked).ok());
  EXPECT_THAT(std::string(ResolveAttention(lab_, asked).status().message()),
              HasSubstr("tree_recent: must be from 0 to 3"));
}

TEST_F(ExplainTest, ASlidingWindowRefusesMultipoleInTheWordsOfARequest) {
  lab_.config.sliding_window = 4096;
  for (const bool by_the_file : {false, true}) {
    AttentionSettings asked;
    lab_.attention = {};
    ASSERT_TRUE(Add("multipole", by_the_file ? &lab_.attention : &asked).ok());
    const absl::Status status = ResolveAttention(lab_, asked).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(status.message(), CheckSlidingWindow(AttentionMode::kMultipole, 4096).message());
  }
}

TEST(SliceHeadParams, TakesTheColumnsOfTables) {
  AttentionParams params = {{.mode = AttentionMode::kAlcca}};
  params.head_theta =
      std::make_shared<const std::vector<float>>(std::vector<float>{1, 2, 3, 4, 5, 6});
  params.head_k =
      std::make_shared<const std::vector<int32_t>>(std::vector<int32_t>{1, 2, 3, 4, 5, 6});
  const AttentionParams part = SliceHeadParams(params, 2, 3, 1, 2);
  EXPECT_EQ(*part.head_theta, (std::vector<float>{2, 3, 5, 6}));
  EXPECT_EQ(*part.head_k, (std::vector<int32_t>{2, 3, 5, 6}));
  EXPECT_EQ(SliceHeadParams({}, 2, 3, 1, 2).head_k, nullptr);
}

}  // namespace
}  // namespace alcca::lab
