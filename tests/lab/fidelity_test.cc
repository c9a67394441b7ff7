// The fidelity harness on the embedded model.

#include "tools/lab/fidelity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "base/files.h"
#include "tests/testing/model_runner.h"
#include "tools/lab/attention_probe.h"

namespace alcca::lab {
namespace {

using ::testing::HasSubstr;

constexpr FidelityOptions kFidelity = {.length = 70, .windows = 2, .samples = 20, .buckets = 3};

class FidelityTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto lab = LoadLabModel({.dir = ALCCA_MODEL_DIR, .threads = 1}, FidelityLimits(kFidelity));
    ASSERT_TRUE(lab.ok()) << lab.status();
    lab_ = *std::move(lab);
    const auto held_out = ReadTextFile(ALCCA_MODEL_DIR "/heldout.txt", 1 << 24);
    ASSERT_TRUE(held_out.ok());
    const auto text = CutText(*lab_.tokenizer, held_out->substr(0, 2000), "<|endoftext|>",
                              kFidelity.length, kFidelity.windows);
    ASSERT_TRUE(text.ok()) << text.status();
    text_ = *text;
  }
  Fidelity Measure(const std::vector<FidelityMode>& modes, FidelityOptions options = kFidelity) {
    auto fidelity = MeasureFidelity(&lab_, text_, modes, options);
    EXPECT_TRUE(fidelity.ok()) << fidelity.status();
    return *std::move(fidelity);
  }
  LabModel lab_;
  TextWindows text_;
};

TEST_F(FidelityTest, DenseAndAWindowOfEverythingAreExactlyDense) {
  const Fidelity f = Measure({{"dense", {{.mode = AttentionMode::kDense}}},
                              {"window", {{.mode = AttentionMode::kWindow, .window = 70}}}});
  ASSERT_EQ(f.windows, 2);
  for (const ModeFidelity& m : f.modes) {
    EXPECT_EQ(m.kl, 0);
    EXPECT_EQ(m.top1_agreement, 1);
    EXPECT_EQ(m.loss.nats_per_token, f.dense.nats_per_token);
    EXPECT_EQ(m.loss.nats_per_byte, f.dense.nats_per_byte);
    EXPECT_EQ(m.counters.kv_bytes_read, f.dense_counters.kv_bytes_read);
    ASSERT_EQ(m.heads.size(), 6u);
    for (const auto& layer : m.heads) {
      ASSERT_EQ(layer.size(), 8u);
      for (const HeadFidelity& head : layer) {
        EXPECT_EQ(head.overlap, 1);
        EXPECT_EQ(head.output_error, 0);
        EXPECT_EQ(head.kv_bytes_share, 1);
      }
    }
  }
}

// One window, all positions: the harness' figures against weights and outputs taken here.
TEST_F(FidelityTest, OverlapIsDensesMassOnTheKeptKeys) {
  text_.windows.resize(1);
  text_.bytes.resize(1);
  FidelityOptions options = kFidelity;
  options.samples = 1000;
  const AttentionParams window = {{.mode = AttentionMode::kWindow, .window = 9}};
  const AttentionParams topk = {{.mode = AttentionMode::kTopK, .sparsity = 0.2f}};
  const Fidelity f = Measure({{"window", window}, {"topk", topk}}, options);
  ASSERT_EQ(f.positions.size(), 70u);

  QkvRecorder recorder(lab_.backend);
  auto sequence = LabSequence::Make(&lab_, {{.mode = AttentionMode::kDense}}, 0, 70);
  ASSERT_TRUE(sequence.ok());
  lab_.backend->set_observer(&recorder);
  sequence->Feed(std::span(text_.windows[0]).first(70), 0, Phase::kPrefill);
  lab_.backend->set_observer(nullptr);
  AttentionProbe probe(&lab_.backend->inner());
  const ProbeInput input = {
      .shape = recorder.shape(), .layer = 4, .layers = 6, .tokens = 70, .qkv = recorder.qkv(4)};
  std::vector<int32_t> all(70);
  std::iota(all.begin(), all.end(), 0);
  const auto dense = *probe.Weights(input, {{.mode = AttentionMode::kDense}}, all);
  const auto kept = *probe.Weights(input, topk, all);
  for (int32_t h = 0; h < 8; ++h) {
    double in_window = 0, in_topk = 0;
    for (int32_t i = 0; i < 70; ++i) {
      for (int32_t j = 0; j <= i; ++j) {
        const size_t at = (size_t(h) * 70 + i) * 70 + j;
        in_window += j > i - 9 ? dense[at] / 70 : 0;
        in_topk += kept[at] > 0 ? dense[at] / 70 : 0;
      }
    }
    EXPECT_NEAR(f.modes[0].heads[4][h].overlap, in_window, 1e-6);
    EXPECT_NEAR(f.modes[1].heads[4][h].overlap, in_topk, 1e-6);
  }
}

TEST_F(FidelityTest, LossIsThatOfTheModelAndRepeatsExactly) {
  const AttentionParams params = {{.mode = AttentionMode::kAlcca, .k = 8, .epsilon = 0.05f}};
  const Fidelity f = Measure({{"alcca", params}});
  const auto model = testing::LoadModel(ALCCA_MODEL_DIR, WeightDType::kBF16);
  double nats = 0, bytes = 0;
  AttentionCounters counters;
  for (size_t w = 0; w < text_.windows.size(); ++w) {
    const std::vector<int32_t>& ids = text_.windows[w];
    testing::ModelRunner runner(*model, params);
    const auto logits = runner.Feed(std::span(ids).first(70), 33);
    const auto log_p = testing::LogSoftmax(logits, model->vocab_size());
    for (size_t i = 0; i < 70; ++i) {
      nats -= log_p[i * model->vocab_size() + ids[i + 1]];
    }
    bytes += double(text_.bytes[w]);
    counters += runner.counters()[0];
  }
  EXPECT_NEAR(f.modes[0].loss.nats_per_token, nats / 140, 1e-6);
  EXPECT_NEAR(f.modes[0].loss.nats_per_byte, nats / bytes, 1e-6);
  EXPECT_EQ(f.modes[0].counters, counters);
  EXPECT_GT(f.modes[0].kl, 0);
  double weighted = 0;
  for (const PositionLoss& part : f.modes[0].loss.by_position) {
    weighted += part.nats_per_token * (part.end - part.begin) / 70;
  }
  EXPECT_NEAR(weighted, f.modes[0].loss.nats_per_token, 1e-9);
  EXPECT_EQ(FidelityJson(lab_, "t", f), FidelityJson(lab_, "t", Measure({{"alcca", params}})));
}

TEST_F(FidelityTest, KvBytesFollowTheFormula) {
  const Fidelity f = Measure({{"window", {{.mode = AttentionMode::kWindow, .window = 10}}}});
  double read = 0, all = 0;
  for (int i = 1; i <= 70; ++i) {
    read += std::min(10, i);
    all += i;
  }
  for (const auto& layer : f.modes[0].heads) {
    for (const HeadFidelity& head : layer) {
      EXPECT_NEAR(head.kv_bytes_share, read / all, 1e-12);
    }
  }
  // Beyond its width a window costs the same at any position; dense, a key more a position.
  EXPECT_EQ(f.modes[0].loss.by_position[2].interactions, 20);
  EXPECT_EQ(f.dense.by_position[2].interactions, 46 + 71);
}

TEST_F(FidelityTest, BytesOfTheWindowsAreThoseOfTheirText) {
  for (size_t w = 0; w < text_.windows.size(); ++w) {
    // Decode drops the first space of a text; the first id is not predicted.
    const std::vector<int32_t>& ids = text_.windows[w];
    int64_t bytes = 0;
    for (size_t i = 1; i < ids.size(); ++i) {
      const std::vector<int32_t> pair = {ids[1], ids[i]};
      const size_t first = lab_.tokenizer->Decode(std::span(pair).first(1)).size();
      bytes += int64_t(lab_.tokenizer->Decode(pair).size() - first);
    }
    EXPECT_EQ(text_.bytes[w], bytes);
  }
}

TEST_F(FidelityTest, JsonHasEveryHead) {
  const Fidelity f = Measure({{"topk", {{.mode = AttentionMode::kTopK, .sparsity = 0.2f}}}});
  const auto json = nlohmann::json::parse(FidelityJson(lab_, "heldout.txt", f));
  EXPECT_EQ(json["schema"], "alcca.fidelity");
  EXPECT_EQ(json["sampled_positions"], 20);
  EXPECT_EQ(json["modes"][0]["layers"][5]["heads"][7]["head"], 7);
  EXPECT_EQ(json["modes"][0]["loss"]["by_position"].size(), 3u);
}

TEST_F(FidelityTest, RefusesTextsThatAreTooShortAndWindowsThatAreTooLong) {
  FidelityOptions options = kFidelity;
  options.length = 1025;
  EXPECT_THAT(std::string(MeasureFidelity(&lab_, text_, {}, options).status().message()),
              HasSubstr("1024 positions"));
  EXPECT_THAT(std::string(CutText(*lab_.tokenizer, "short", "|", 70, 2).status().message()),
              HasSubstr("one window needs 71"));
  EXPECT_FALSE(CutText(*lab_.tokenizer, "\xFF", "|", 70, 2).ok());
}

}  // namespace
}  // namespace alcca::lab
