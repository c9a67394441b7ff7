#include "tests/testing/golden_logprobs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <span>

#include "absl/strings/escaping.h"
#include "tests/testing/model_runner.h"

namespace alcca::testing {

std::vector<std::string> GoldenCases(const std::string& dir) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    if (entry.is_directory()) {
      names.push_back(entry.path().filename());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

float LogProbDifference(const std::string& model_path, const std::string& golden_path,
                        const std::string& isa, size_t count) {
  const auto golden = nlohmann::json::parse(std::ifstream(golden_path));
  std::string expected;  // f32 [every so many tokens, vocab]
  EXPECT_TRUE(absl::Base64Unescape(golden["logprobs"].get<std::string>(), &expected));
  const auto tokens = golden["tokens"].get<std::vector<int32_t>>();
  const auto model = LoadModel(model_path, WeightDType::kF32, isa);
  const size_t vocab = static_cast<size_t>(model->vocab_size()), every = golden["every"];
  const std::vector<float> got = LogSoftmax(
      ModelRunner(*model, {}).Feed(std::span(tokens).first(count), 32), model->vocab_size());
  float worst = 0;
  for (size_t token = 0; token < count; token += every) {
    for (size_t i = 0; i < vocab; ++i) {
      float value;
      std::memcpy(&value, expected.data() + (token / every * vocab + i) * sizeof(value),
                  sizeof(value));
      const float difference = std::abs(value - got[token * vocab + i]);
      worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
    }
  }
  return worst;
}

}  // namespace alcca::testing
