// A model whose steps replay CUDA graphs, on the emulated device, beside one whose do not.

#include <vector>

#include "gtest/gtest.h"
#include "tests/testing/model_runner.h"

namespace alcca::testing {
namespace {

// Steps of changing sizes at a growing context: embedding, positions, pages and lengths differ in
// each, the recordings' arguments do not.
TEST(CudaGraphModel, SaysWhatTheUnrecordedSays) {
  for (const WeightDType dtype : {WeightDType::kBF16, WeightDType::kInt8}) {
    const auto recorded = LoadModel(ALCCA_MODEL_DIR, dtype, "cuda_emulated_exact");
    const auto plain = LoadModel(ALCCA_MODEL_DIR, dtype, "cuda_emulated_exact_unrecorded");
    for (const AttentionMode mode : {AttentionMode::kDense, AttentionMode::kAlcca}) {
      const AttentionParams attention = {{.mode = mode, .k = 2}};
      ModelRunner a(*recorded, attention), b(*plain, attention);
      int32_t token = 5;
      for (const int32_t rows : {9, 1, 2, 1, 3, 1, 2, 1, 2}) {
        std::vector<int32_t> tokens;
        for (int32_t r = 0; r < rows; ++r) {
          tokens.push_back(token = (token * 17 + 11) % 300);
        }
        ASSERT_EQ(a.Feed(tokens, rows), b.Feed(tokens, rows)) << rows << " rows";
      }
    }
  }
}

}  // namespace
}  // namespace alcca::testing
