// Attention over a bf16 cache (CUDA as it serves) against the reference, which is given the same
// rounded keys and values; and what only a device that splits and tiles gets wrong: ragged tails,
// contexts around a multiple of a split, one token, page boundaries, heads that do not fill a tile.

#include "kernels/half.h"
#include "tests/conformance/attention_rig.h"

namespace alcca {
namespace {

std::vector<BackendCase> ServingCases() {
  std::vector<BackendCase> cases;
  for (const BackendCase& c : BackendCases()) {
    if (c.is_cuda() && !c.is_exact()) {
      cases.push_back(c);
    }
  }
  return cases;
}

Tokens RoundedTokens(const Geometry& geometry, int32_t count, uint64_t seed) {
  Tokens tokens = RandomTokens(geometry, count, seed);
  for (Host& layer : tokens) {
    for (float& x : layer.values) {
      x = BFloat16ToFloat(FloatToBFloat16(x));
    }
  }
  return tokens;
}

class AttentionBf16 : public AttentionConformance {
 protected:
  // The last three tokens, prefilled in chunks and decoded. Weights of a softmax are rounded to
  // bf16 on tensor cores: 2^-9 of the largest value, and the same again for the queries.
  void CompareEnd(const Geometry& geometry, const Tokens& tokens, const AttentionParams& params,
                  double relative, const std::string& what) {
    const int32_t count = tokens[0].rows, checked = std::min(3, count);
    const int32_t pages = (count / geometry.page_tokens + 2) | 1;
    for (const int32_t decoded : {0, 2}) {
      if (decoded >= count) {
        continue;
      }
      Rig tuned(*backend_, geometry, pages), plain(*reference_, geometry, pages);
      tuned.RunAll(tuned.Add(tokens, params), 300, count - decoded);
      plain.Add(tokens, params);
      if (count > checked) {
        plain.Store(0, count - checked);
      }
      plain.Step({{0, checked}});
      const Host actual = tuned.outputs(0)[0].RowRange(count - checked, checked);
      const Host expected = plain.outputs(0)[0].RowRange(count - checked, checked);
      const Host magnitude(expected.rows, expected.cols, 3.5f);  // of RandomTokens' values
      ExpectNear(actual, expected, magnitude, relative, 0.0, what);
    }
  }
};

TEST_P(AttentionBf16, SoftmaxAroundTilesSplitsAndPages) {
  for (const auto& [heads, kv_heads, dim, page] : Some<std::tuple<int, int, int, int>>(
           3, {{3, 1, 64, 7}, {2, 1, 128, 16}, {20, 1, 64, 64}, {8, 2, 128, 64}, {2, 2, 32, 8}})) {
    Geometry geometry = MakeGeometry(heads, kv_heads, dim);
    geometry.page_tokens = page;
    for (const int32_t count : Some<int32_t>(5, {1, 33, 64, 257, 300, 255, 256, 513, 1030})) {
      const Tokens tokens = RoundedTokens(geometry, count, 50 + count);
      CompareEnd(geometry, tokens, Dense(), 4e-3,
                 "d " + std::to_string(dim) + " tokens " + std::to_string(count));
      if (count > 200) {
        CompareEnd(geometry, tokens, Window(90), 4e-3,
                   "window, d " + std::to_string(dim) + " tokens " + std::to_string(count));
      }
    }
  }
}

TEST_P(AttentionBf16, SearchesFindTheSameKeys) {
  // Keys on the grid are exact in bf16, so the keys that are found are those of the reference.
  Geometry geometry = MakeGeometry(3, 1, 64);
  geometry.page_tokens = 64;
  const Tokens tokens = RoundedTokens(geometry, 530, 60);  // two blocks of 512 search them
  // 400 candidates of each are more than one warp chooses from.
  for (const AttentionParams& params : {Alcca(8), Alcca(400), Tree(8, 12, 4), TopK(0.9f)}) {
    CompareEnd(geometry, tokens, params, 2e-6, AttentionModeName(params.mode));
  }
}

TEST_P(AttentionBf16, MultipoleOpensTheSameClusters) {
  Geometry geometry = MakeGeometry(4, 2, 64);
  geometry.page_tokens = 64;
  AttentionParams params{{.mode = AttentionMode::kMultipole}};
  params.dense_below = 0;
  params.max_keys = 96;
  params.mass = 0.9f;
  CompareEnd(geometry, RoundedTokens(geometry, 700, 61), params, 2e-6, "multipole");
}

TEST_P(AttentionBf16, TheSameBitsHoweverAPromptIsCut) {
  for (const auto& [heads, kv_heads, dim] :
       Some<std::tuple<int, int, int>>(2, {{3, 1, 64}, {2, 1, 128}, {4, 1, 64}})) {
    Geometry geometry = MakeGeometry(heads, kv_heads, dim);
    geometry.page_tokens = 64;
    const int32_t count = GetParam().is_emulated() ? 400 : 600;
    const Tokens tokens = RandomTokens(geometry, count, 70);
    for (const int32_t window : {0, 270}) {
      geometry.shape.sliding_window = window;
      Rig whole(*backend_, geometry);
      whole.RunAll(whole.Add(tokens, Dense()), 500, count);
      for (const int32_t chunk : Some<int32_t>(1, {97, 8})) {
        Rig rig(*backend_, geometry);
        rig.RunAll(rig.Add(tokens, Dense()), chunk, count - 20);  // then one by one
        ExpectSameBits(rig.outputs(0), whole.outputs(0),
                       "d " + std::to_string(dim) + " chunk " + std::to_string(chunk));
      }
    }
  }
}

ALCCA_CONFORMANCE_OVER(AttentionBf16, ServingCases);

}  // namespace
}  // namespace alcca
