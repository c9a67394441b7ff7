// CudaOptions::faiss_search on the emulated device: the bits and the counters of the fused search,
// which attention_test.cc holds to the reference. Off the grid of 1/8: sums do round here, so that
// another order of operations would show.

#include "tests/conformance/attention_rig.h"

namespace alcca {
namespace {

constexpr int32_t kTokens = 150;

struct Asked {
  AttentionParams params;
  int32_t tokens = kTokens;
};

class FaissChoice : public ::testing::TestWithParam<DType> {
 protected:
  // Each sequence of `asked` in chunks beside the others, the last two tokens decoded.
  void Compare(const Geometry& geometry, const std::vector<Asked>& asked, int32_t chunk,
               int32_t pages = 97) {
    std::vector<Tokens> outputs[2];
    std::vector<AttentionCounters> counters[2];
    for (const bool faiss : {false, true}) {
      CudaOptions options = {.memory_bytes = size_t{1} << 30,
                             .kv_dtype = GetParam(),
                             .row_independent = true,
                             .faiss_search = faiss,
                             .limits = {.batch_tokens = 512}};
      auto backend = MakeEmulatedCudaBackend(options, 1);
      ASSERT_TRUE(backend.ok()) << backend.status();
      Rig rig(**backend, geometry, pages);
      std::vector<int32_t> left;
      for (size_t i = 0; i < asked.size(); ++i) {
        Tokens tokens = RandomTokens(geometry, asked[i].tokens, 40 + i);
        for (Host& layer : tokens) {
          for (float& x : layer.values) {
            x *= 1.1f;
          }
        }
        rig.Add(std::move(tokens), asked[i].params);
        left.push_back(asked[i].tokens);
      }
      for (bool any = true; any;) {
        std::vector<Rig::Piece> step;
        for (size_t i = 0; i < asked.size(); ++i) {
          const int32_t count = left[i] > 2 ? std::min(chunk, left[i] - 2) : std::min(left[i], 1);
          if (count > 0) {
            step.push_back({static_cast<int32_t>(i), count});
            left[i] -= count;
          }
        }
        any = !step.empty();
        if (any) {
          rig.Step(step);
        }
      }
      for (size_t i = 0; i < asked.size(); ++i) {
        outputs[faiss].push_back(rig.outputs(static_cast<int32_t>(i)));
        AttentionCounters sum = rig.counters(static_cast<int32_t>(i), Phase::kPrefill);
        sum += rig.counters(static_cast<int32_t>(i), Phase::kDecode);
        counters[faiss].push_back(sum);
      }
    }
    for (size_t i = 0; i < asked.size(); ++i) {
      const std::string what = "sequence " + std::to_string(i);
      for (int32_t layer = 0; layer < geometry.layers; ++layer) {
        ExpectSameBits(outputs[true][i][layer], outputs[false][i][layer], what);
      }
      ExpectCounters(counters[true][i], counters[false][i], what);
      EXPECT_GT(counters[true][i].qk_exact, 0) << what;
    }
  }
};

TEST_P(FaissChoice, IsTheFusedSearchBitForBit) {
  Geometry geometry = MakeGeometry(6, 2, 20);
  geometry.page_tokens = 16;
  geometry.layers = 2;
  AttentionParams tables = Alcca(40, 0.0f, 0.05f);
  std::vector<float> thetas;
  std::vector<int32_t> ks;
  for (int32_t i = 0; i < geometry.layers * geometry.shape.heads; ++i) {
    thetas.push_back(0.5f * static_cast<float>(i % 5) * std::sqrt(20.0f));
    ks.push_back(1 + 7 * (i % 6));
  }
  tables.head_theta = std::make_shared<const std::vector<float>>(thetas);
  tables.head_k = std::make_shared<const std::vector<int32_t>>(ks);
  // Beside modes whose searches stay ours, in one step and one wave.
  Compare(geometry, {{Alcca(8)}, {TopK(0.1f)}, {tables, 90}, {Tree(4, 8, 3), 40}}, 60);
}

TEST_P(FaissChoice, OneQueryHeadAndMoreKeysThanFaissIsAskedFor) {
  Geometry geometry = MakeGeometry(1, 1, 16);
  geometry.page_tokens = 7;
  Compare(geometry, {{Alcca(100)}, {Alcca(1)}}, 31);
}

TEST_P(FaissChoice, TheLargestKOfManyHeadsFitsInASmallCache) {
  Geometry geometry = MakeGeometry(128, 8, 16);
  geometry.page_tokens = 16;
  Compare(geometry, {{Alcca(kKeysMax), 12}}, 8, /*pages=*/7);
}

INSTANTIATE_TEST_SUITE_P(Caches, FaissChoice, ::testing::Values(DType::kF32, DType::kBF16),
                         [](const auto& info) {
                           return info.param == DType::kF32 ? "f32" : "bf16";
                         });

}  // namespace
}  // namespace alcca
