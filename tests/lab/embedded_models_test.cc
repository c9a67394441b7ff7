// The models of this repository in the engine and in PyTorch, which trained them: the same loss
// (tools/golden/make_embedded_golden.py).

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tools/lab/lab_model.h"
#include "tools/lab/log_softmax.h"

namespace alcca::lab {
namespace {

namespace fs = std::filesystem;

const fs::path kModels = fs::path(ALCCA_MODEL_DIR).parent_path();
const fs::path kGolden = fs::path(ALCCA_TEST_DATA_DIR) / "embedded";

std::vector<std::string> Names(const fs::path& dir) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(dir)) {
    names.push_back(entry.path().stem());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// Mean loss of predicting every token of `ids` but the first, fed in uneven steps.
double Loss(LabModel* lab, const AttentionParams& params, const std::vector<int32_t>& ids) {
  auto sequence = LabSequence::Make(lab, params, 0, static_cast<int32_t>(ids.size()));
  EXPECT_TRUE(sequence.ok()) << sequence.status();
  double sum = 0;
  const size_t count = ids.size() - 1;
  for (size_t at = 0, step = 1; at < count; step = 3 * step + 10) {
    const size_t rows = std::min({step, count - at, size_t{256}});
    const auto logits = sequence->Feed(std::span(ids).subspan(at, rows), static_cast<int32_t>(rows),
                                       rows == 1 ? Phase::kDecode : Phase::kPrefill);
    AddLoss(logits, std::span(ids).subspan(at + 1, rows), &sum);
    at += rows;
  }
  return sum / static_cast<double>(count);
}

class EmbeddedModels : public ::testing::TestWithParam<std::string> {};

TEST_P(EmbeddedModels, LossIsPyTorchs) {
  std::ifstream file(kGolden / (GetParam() + ".json"));
  const auto golden = nlohmann::json::parse(file);
  auto lab = LoadLabModel({.dir = kModels / GetParam(), .threads = 1}, {.kv_tokens = 1024});
  ASSERT_TRUE(lab.ok()) << lab.status();
  const AttentionParams dense = {{.mode = AttentionMode::kDense}};
  const AttentionParams alcca = {
      {.mode = AttentionMode::kAlcca, .k = golden["k"], .epsilon = golden["epsilon"]}};
  ASSERT_FALSE(golden["rows"].empty());
  for (const auto& row : golden["rows"]) {
    const std::vector<int32_t> ids = row["tokens"];
    EXPECT_NEAR(Loss(&*lab, dense, ids), row["dense"], 1e-3);
    EXPECT_NEAR(Loss(&*lab, alcca, ids), row["alcca"], 1e-3);
  }
}

INSTANTIATE_TEST_SUITE_P(All, EmbeddedModels, ::testing::ValuesIn(Names(kModels)),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace_if(
                               name.begin(), name.end(), [](char c) { return !std::isalnum(c); },
                               '_');
                           return name;
                         });

TEST(EmbeddedModelsGolden, EveryModelHasOne) {
  EXPECT_EQ(Names(kModels), Names(kGolden));
}

}  // namespace
}  // namespace alcca::lab
