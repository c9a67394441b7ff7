// Thetas found on a text, against the model that then runs with them.

#include "tools/lab/calibrate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "base/files.h"
#include "engine/model/attention_file.h"
#include "tests/testing/model_runner.h"
#include "tools/lab/log_softmax.h"

namespace alcca::lab {
namespace {

using ::testing::HasSubstr;

constexpr CalibrationOptions kOptions = {.length = 96, .windows = 6, .rounds = 9};
const AttentionParams kBase = {
    {.mode = AttentionMode::kAlcca, .k = 8, .epsilon = 0.05f}};  // exact search

TEST(CalibrationTarget, Parses) {
  const auto near = ParseCalibrationTarget("near=0.5");
  ASSERT_TRUE(near.ok());
  EXPECT_EQ(near->kind, CalibrationTarget::Kind::kNear);
  EXPECT_EQ(near->value, 0.5);
  EXPECT_EQ(ParseCalibrationTarget("saving=0.98")->kind, CalibrationTarget::Kind::kSaving);
  const auto loss = ParseCalibrationTarget("loss=+0.02");
  ASSERT_TRUE(loss.ok());
  EXPECT_EQ(loss->kind, CalibrationTarget::Kind::kLoss);
  EXPECT_EQ(loss->value, 0.02);
}

TEST(CalibrationTarget, WrongOnesAreNamed) {
  for (const char* text : {"", "near", "near=", "near=1.5", "near=-0.1", "near=nan", "loss=x"}) {
    EXPECT_EQ(ParseCalibrationTarget(text).status().code(), absl::StatusCode::kInvalidArgument)
        << text;
  }
  EXPECT_THAT(std::string(ParseCalibrationTarget("far=1").status().message()),
              HasSubstr("'far=1'"));
}

class CalibrateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto lab = LoadLabModel({.dir = ALCCA_MODEL_DIR, .threads = 1}, CalibrationLimits(kOptions));
    ASSERT_TRUE(lab.ok()) << lab.status();
    lab_ = *std::move(lab);
    const auto held_out = ReadTextFile(ALCCA_MODEL_DIR "/heldout.txt", 1 << 24);
    ASSERT_TRUE(held_out.ok());
    const auto text = CutText(*lab_.tokenizer, held_out->substr(0, 9000), "<|endoftext|>",
                              kOptions.length, kOptions.windows);
    ASSERT_TRUE(text.ok()) << text.status();
    text_ = *text;
    ASSERT_EQ(text_.windows.size(), 6u);
  }
  absl::StatusOr<Calibration> Run(const char* target, AttentionParams base = kBase) {
    return Calibrate(&lab_, text_, base, *ParseCalibrationTarget(target), kOptions);
  }
  LabModel lab_;
  TextWindows text_;
};

TEST_F(CalibrateTest, NearShareIsMetWithAThetaForEachHead) {
  const auto result = Run("near=0.4");
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_NEAR(result->after.near_share, 0.4, 0.03);
  EXPECT_EQ(result->before.near_share, 0);
  EXPECT_GT(result->after.saving, result->before.saving);
  EXPECT_EQ(result->fitted_tokens, 3 * 96);
  EXPECT_EQ(result->measured_tokens, 3 * 96);
  ASSERT_EQ(result->params.head_theta->size(), 48u);
  EXPECT_EQ(result->params.head_k, nullptr);
  const std::set<float> thetas(result->params.head_theta->begin(),
                               result->params.head_theta->end());
  EXPECT_GT(thetas.size(), 8u);
}

// The least damage for a near share, not just any: one theta for all heads does worse.
TEST_F(CalibrateTest, HeadsOfTheirOwnLoseLessThanOneThetaForAll) {
  const auto result = Run("near=0.5");
  ASSERT_TRUE(result.ok()) << result.status();
  double nats = 0, near_share = 0;
  int64_t bytes = 0;
  const auto measure = [&](float theta) {
    AttentionParams uniform = kBase;
    uniform.theta = theta;
    AttentionCounters counters;
    nats = 0;
    bytes = 0;
    for (size_t w = 0; w < text_.windows.size(); w += 2) {
      auto sequence = LabSequence::Make(&lab_, uniform, 0, 96);
      ASSERT_TRUE(sequence.ok());
      const auto logits =
          sequence->Feed(std::span(text_.windows[w]).first(96), 96, Phase::kPrefill);
      AddLoss(logits, std::span(text_.windows[w]).subspan(1, 96), &nats);
      bytes += text_.bytes[w];
      counters += sequence->counters()[static_cast<int>(Phase::kPrefill)];
    }
    near_share = double(counters.near_queries) / double(counters.queries);
  };
  float low = 0, high = 64;
  for (int round = 0; round < 16; ++round) {
    const float theta = (low + high) / 2;
    measure(theta);
    (near_share < result->after.near_share ? low : high) = theta;
  }
  EXPECT_NEAR(near_share, result->after.near_share, 0.02);  // a fair comparison
  EXPECT_LT(result->after.nats_per_byte, nats / double(bytes));
}

TEST_F(CalibrateTest, SavingIsReachedAndMayCostNeighbours) {
  const auto before = Run("near=0");
  ASSERT_TRUE(before.ok()) << before.status();
  const double wanted = before->before.saving + 0.5 * (1 - before->before.saving);
  const auto result = Run(("saving=" + std::to_string(wanted)).c_str());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_GE(result->after.saving, wanted);
  EXPECT_LT(result->after.saving, wanted + 0.05);
}

TEST_F(CalibrateTest, LossIsNotExceeded) {
  const auto result = Run("loss=+0.03");
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_LE(result->after.nats_per_byte, result->before.nats_per_byte + 0.03);
  EXPECT_GT(result->after.saving, result->before.saving);
}

TEST_F(CalibrateTest, WhatCannotBeHadSaysHowNearItCame) {
  const auto result = Run("saving=0.9999");
  ASSERT_EQ(result.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("with every query near it is"));
}

TEST_F(CalibrateTest, TooLittleTextIsNamed) {
  text_.windows.resize(1);
  const auto result = Run("near=0.5");
  ASSERT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("one window of 96 tokens"));
}

TEST_F(CalibrateTest, TheFileLoadsAgainAndKeepsWhatItSaidBesides) {
  AttentionParams tree = kBase;
  tree.search = KeySearch::kTree;
  tree.tree_distances = 11;
  tree.tree_recent = 5;
  Calibration result;
  result.params = tree;
  std::vector<float> thetas(48, 1.5f);
  thetas[47] = 0;
  std::vector<int32_t> ks(48, 8);
  ks[8] = 2;
  result.params.head_theta = std::make_shared<const std::vector<float>>(thetas);
  result.params.head_k = std::make_shared<const std::vector<int32_t>>(ks);
  result.after = {.near_share = 0.5, .saving = 0.9, .nats_per_byte = 0.8};
  const auto json = CalibratedAlccaJson(R"({"_source": "here", "theta": 3, "near_share": 0.2})",
                                        "near=0.5", "text.txt", lab_, result);
  ASSERT_TRUE(json.ok()) << json.status();
  const auto parsed = nlohmann::json::parse(*json);
  EXPECT_EQ(parsed["_source"], "here");
  EXPECT_EQ(parsed["_calibrated"]["achieved"]["near_share"], 0.5);
  EXPECT_THAT(*json, HasSubstr("\n    [2,8,8,8,8,8,8,8]"));
  const auto config = ParseAttentionFile(*json, "alcca.json", lab_.config);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_FALSE(CalibratedAlccaJson("[]", "near=0.5", "t", lab_, result).ok());
}

}  // namespace
}  // namespace alcca::lab
