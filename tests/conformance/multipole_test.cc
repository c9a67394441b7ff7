// Multipole attention of every backend against the reference, against dense where both must agree,
// and its counters against closed formulas.

#include "kernels/key_clusters.h"
#include "tests/conformance/attention_rig.h"

namespace alcca {
namespace {

AttentionParams Multipole(float mass, int32_t max_keys, int32_t sinks = 16, int32_t recent = 64) {
  AttentionParams params{{.mode = AttentionMode::kMultipole}};
  params.mass = mass;
  params.max_keys = max_keys;
  params.sinks = sinks;
  params.recent = recent;
  params.dense_below = 0;
  params.error_sample = 0;
  return params;
}

// Queries long enough that softmax has favourites, off any grid.
Tokens PeakyTokens(const Geometry& geometry, int32_t count, uint64_t seed) {
  Tokens tokens = RandomTokens(geometry, count, seed);
  const int32_t queries = geometry.shape.heads * geometry.shape.head_dim;
  for (Host& layer : tokens) {
    const Host noise = RandomHost(layer.rows, layer.cols, seed + 1000, 0.1f);
    for (int32_t t = 0; t < count; ++t) {
      for (int32_t c = 0; c < layer.cols; ++c) {
        layer.at(t, c) = (layer.at(t, c) + noise.at(t, c)) * (c < queries ? 2.5f : 1.0f);
      }
    }
  }
  return tokens;
}

std::string What(const AttentionParams& p) {
  return "mass " + std::to_string(p.mass) + " max_keys " + std::to_string(p.max_keys) + " sinks " +
         std::to_string(p.sinks) + " recent " + std::to_string(p.recent);
}

class MultipoleConformance : public AttentionConformance {
 protected:
  // The last `checked` of `count` tokens, prefilled in chunks of 100 and one decoded. A stored mean
  // that lies on the edge of two int8 may round either way, which a comparison with another order
  // of additions must forgive: of two sets of tokens one must agree to rounding, and both must but
  // for a step of one number.
  void CompareEnd(const Geometry& geometry, int32_t count, uint64_t seed,
                  const AttentionParams& params, int32_t checked) {
    double gap = 0;
    for (const uint64_t s : {seed, seed + 100}) {
      gap = GapToReference(geometry, PeakyTokens(geometry, count, s), params, checked);
      EXPECT_LT(gap, 1e-3) << What(params) << " seed " << s;
      if (gap < 2e-6) {
        return;
      }
    }
    ADD_FAILURE() << What(params) << ": off by " << gap << " of the largest value";
  }

 private:
  // Largest difference, of the largest value.
  double GapToReference(const Geometry& geometry, const Tokens& tokens,
                        const AttentionParams& params, int32_t checked) {
    const int32_t count = tokens[0].rows, pages = count / geometry.page_tokens + 2;
    Rig tuned(*backend_, geometry, pages | 1), plain(*reference_, geometry, pages | 1);
    tuned.RunAll(tuned.Add(tokens, params), 100, count - 1);
    plain.Store(plain.Add(tokens, params), count - checked);
    plain.Step({{0, checked}});
    double gap = 0;
    float largest = 0;
    for (int32_t layer = 0; layer < geometry.layers; ++layer) {
      largest = std::max(largest, LargestValue(tokens[layer], geometry.shape));
      const Host &actual = tuned.outputs(0)[layer], &expected = plain.outputs(0)[layer];
      for (int32_t t = count - checked; t < count; ++t) {
        for (int32_t c = 0; c < actual.cols; ++c) {
          const double now = std::fabs(double{actual.at(t, c)} - expected.at(t, c));
          gap = now <= gap ? gap : now;  // NaN is no agreement
        }
      }
    }
    return gap / largest;
  }
};

TEST_P(MultipoleConformance, MatchesReference) {
  for (const auto& [heads, kv_heads, dim] :
       Some<std::tuple<int, int, int>>(1, {{3, 1, 20}, {2, 1, 16}, {4, 2, 32}})) {
    Geometry geometry = MakeGeometry(heads, kv_heads, dim);
    geometry.page_tokens = 16;
    for (const float mass : Some<float>(3, {0.6f, 0.0f, 1.0f, 0.95f})) {
      for (const int32_t max_keys : Some<int32_t>(2, {0, 160, 40})) {
        CompareEnd(geometry, 700, 3, Multipole(mass, max_keys), 3);
      }
    }
  }
}

TEST_P(MultipoleConformance, WhateverTheSinksTheWindowAndThePages) {
  for (const int32_t page : Some<int32_t>(1, {7, 16, 300})) {
    Geometry geometry = MakeGeometry(2, 1, 16);
    geometry.page_tokens = page;
    for (const int32_t sinks : Some<int32_t>(2, {0, 50, 1, 16})) {
      for (const int32_t recent : Some<int32_t>(2, {1, 300, 64, 1000})) {
        CompareEnd(geometry, 620, 4, Multipole(0.8f, 96, sinks, recent), 2);
      }
    }
  }
}

TEST_P(MultipoleConformance, MergedSegments) {
  Geometry geometry = MakeGeometry(2, 1, 16);
  geometry.page_tokens = 64;
  // 4 blocks merged, 5; 16 merged, 17.
  for (const int32_t blocks : Some<int32_t>(2, {5, 17, 4, 16})) {
    const int32_t count = 16 + 64 + blocks * kBlockTokens + 2;
    CompareEnd(geometry, count, 5, Multipole(0.9f, 320), 2);
  }
}

TEST_P(MultipoleConformance, FirstClusteredBeyondDenseBelow) {
  Geometry geometry = MakeGeometry(2, 1, 16);
  geometry.page_tokens = 16;
  const int32_t count = 1500;
  AttentionParams params = Multipole(0.9f, 160);
  params.dense_below = count - 2;  // five blocks close at once, four of them as one segment
  CompareEnd(geometry, count, 6, params, 3);
  const Tokens tokens = PeakyTokens(geometry, count, 6);
  params.dense_below = count;
  Rig rig(*backend_, geometry), dense(*backend_, geometry);
  rig.RunAll(rig.Add(tokens, params), 200, count - 1);
  dense.RunAll(dense.Add(tokens, Dense()), 200, count - 1);
  ExpectSameBits(rig.outputs(0), dense.outputs(0), "below dense_below");
}

TEST_P(MultipoleConformance, AllOfTheMassIsDense) {
  Geometry geometry = GetParam().is_emulated() ? MakeGeometry(2, 1, 32) : MakeGeometry(4, 2, 32);
  geometry.page_tokens = 16;
  geometry.layers = 2;
  const Tokens tokens = PeakyTokens(geometry, 1400, 7);
  ExpectClose(Actual(geometry, tokens, Multipole(1.0f, 0), 128, 1390),
              Actual(geometry, tokens, Dense(), 128, 1390), geometry, tokens, "mass 1");
}

TEST_P(MultipoleConformance, MoreMassIsCloserToDense) {
  Geometry geometry = MakeGeometry(2, 1, 32);
  geometry.page_tokens = 16;
  const Tokens tokens = PeakyTokens(geometry, 1400, 8);
  const Tokens dense = Actual(geometry, tokens, Dense(), 200, 1400);
  double last = 1e9;
  for (const float mass : Some<float>(2, {0.0f, 0.5f, 0.8f, 0.95f, 0.99f})) {
    const Tokens actual = Actual(geometry, tokens, Multipole(mass, 0), 200, 1400);
    double error = 0;
    for (size_t i = 0; i < dense[0].values.size(); ++i) {
      error += std::pow(actual[0].values[i] - dense[0].values[i], 2);
    }
    EXPECT_LT(error, last) << mass;
    last = error;
  }
}

TEST_P(MultipoleConformance, ErrorChecksSayHowFarFromDense) {
  Geometry geometry = MakeGeometry(4, 2, 20);
  geometry.page_tokens = 16;
  geometry.layers = Some<int32_t>(1, {1, 2}).back();
  const int32_t count = 700, dense_below = Some<int32_t>(1, {660, 500}).back();
  const Tokens tokens = PeakyTokens(geometry, count, 9);
  AttentionParams params = Multipole(0.6f, 0);
  params.dense_below = dense_below;
  const auto counters = [&](const AttentionParams& p, Tokens* outputs) {
    Rig rig(*backend_, geometry, count / geometry.page_tokens + 2);
    const int32_t id = rig.Add(tokens, p);
    rig.RunAll(id, 100, count - 1);
    *outputs = rig.outputs(id);
    AttentionCounters sum = rig.counters(id, Phase::kPrefill);
    return sum += rig.counters(id, Phase::kDecode);
  };
  Tokens dense, plain, outputs;
  counters(Dense(), &dense);
  const AttentionCounters unchecked = counters(params, &plain);
  EXPECT_EQ(unchecked.error_checked, 0);
  for (const float share : Some<float>(1, {0.5f, 1.0f})) {
    params.error_sample = share;
    AttentionCounters checked = counters(params, &outputs);
    int64_t sampled = 0;
    double millionths = 0;
    for (int32_t layer = 0; layer < geometry.layers; ++layer) {
      ExpectSameBits(outputs[layer], plain[layer], "checking changes no output");
      for (int32_t t = dense_below; t < count; ++t) {
        for (int32_t h = 0; h < geometry.shape.heads; ++h) {
          if (!IsSampled(layer, h, t, share)) {
            continue;
          }
          double gap = 0, norm = 0;
          for (int32_t i = 0; i < geometry.shape.head_dim; ++i) {
            const int32_t c = h * geometry.shape.head_dim + i;
            const double o = dense[layer].at(t, c);
            gap += std::pow(plain[layer].at(t, c) - o, 2);
            norm += o * o;
          }
          ++sampled;
          millionths += 1e6 * std::sqrt(gap / norm);
        }
      }
    }
    EXPECT_EQ(checked.error_checked, sampled);
    EXPECT_NEAR(checked.error_millionths, millionths, 1e-3 * millionths + double(sampled));
    EXPECT_GT(millionths, 1e4 * double(sampled))
        << "nothing to see: mass 0.6 is too close to dense";
    checked.error_checked = checked.error_millionths = 0;
    EXPECT_TRUE(checked == unchecked) << "checking changes no other counter";
  }
  params.mass = 1.0f;
  const AttentionCounters exact = counters(params, &outputs);
  EXPECT_LT(exact.error_millionths, 100 * exact.error_checked);
}

TEST_P(MultipoleConformance, ASlidingWindowIsAnsweredByDense) {
  Geometry geometry = MakeGeometry(4, 2, 32);
  geometry.page_tokens = 16;
  geometry.shape.sliding_window = 100;
  const Tokens tokens = PeakyTokens(geometry, 500, 9);
  ExpectSameBits(Actual(geometry, tokens, Multipole(0.5f, 0), 64, 490),
                 Actual(geometry, tokens, Dense(), 64, 490), "sliding window");
}

TEST_P(MultipoleConformance, ChunksThreadsAndNeighboursDoNotMatter) {
  Geometry geometry = GetParam().is_emulated() ? MakeGeometry(2, 1, 32) : MakeGeometry(4, 2, 32);
  geometry.page_tokens = 16;
  geometry.layers = GetParam().is_emulated() ? 1 : 2;
  const int32_t count = 900;
  const Tokens tokens = PeakyTokens(geometry, count, 10), other = PeakyTokens(geometry, 640, 11);
  for (const AttentionParams& params : {Multipole(0.9f, 0), Multipole(0.95f, 128)}) {
    Rig whole(*backend_, geometry);
    whole.RunAll(whole.Add(tokens, params), 512, count);
    for (const int32_t chunk : Some<int32_t>(1, {37, 1, 256})) {
      Rig rig(*backend_, geometry);
      rig.RunAll(rig.Add(tokens, params), chunk, count);
      ExpectSameBits(rig.outputs(0), whole.outputs(0), "chunk " + std::to_string(chunk));
      EXPECT_TRUE(rig.counters(0, Phase::kPrefill) == whole.counters(0, Phase::kPrefill)) << chunk;
    }
    // Two sequences whose blocks close at different rows of a step.
    Rig mixed(*backend_, geometry, 997);
    mixed.Add(tokens, params);
    mixed.Add(other, params);
    mixed.Step({{0, 200}});
    mixed.Step({{1, 300}, {0, 210}});
    mixed.Step({{0, 400}, {1, 100}});
    mixed.Step({{1, 240}, {0, 90}});
    ExpectSameBits(mixed.outputs(0), whole.outputs(0), "beside another");
    ExpectSameBits(mixed.outputs(1), Actual(geometry, other, params, 512, 640), "the other");
  }
}

TEST_P(MultipoleConformance, RefusedMemoryIsAnsweredByDenseAndSaysSo) {
  Geometry geometry = GetParam().is_emulated() ? MakeGeometry(2, 1, 32) : MakeGeometry(4, 2, 32);
  geometry.page_tokens = 64;
  const int32_t count = 5000;
  const auto kv_heads = static_cast<size_t>(geometry.shape.kv_heads);
  const Tokens tokens = PeakyTokens(geometry, count, 12);
  AttentionParams params = Multipole(0.5f, 256);
  params.index_bytes_max =
      static_cast<int64_t>(kv_heads * ClusterBytes(15, 32));  // of 3,840 tokens
  Rig rig(*backend_, geometry), dense(*backend_, geometry);
  rig.Add(tokens, params);
  dense.RunAll(dense.Add(tokens, Dense()), 500, count);
  rig.Step({{0, 500}});
  EXPECT_GT(rig.state(0).bytes(), kv_heads * ClusterBytes(1, 32));
  for (int32_t done = 500; done < 4000; done += 500) {
    rig.Step({{0, 500}});
  }
  EXPECT_FALSE(rig.state(0).fell_back());
  rig.Step({{0, 500}});
  EXPECT_TRUE(rig.state(0).fell_back());
  EXPECT_LT(rig.state(0).bytes(), ClusterBytes(1, 32));
  rig.Step({{0, 500}});
  // The keys lie in another order by then, so the sums round differently.
  ExpectClose({rig.outputs(0)[0].RowRange(4500, 500)}, {dense.outputs(0)[0].RowRange(4500, 500)},
              geometry, tokens, "after the fall");
}

TEST_P(MultipoleConformance, NonFiniteKeysHarmTheirReadersAlone) {
  Geometry geometry = MakeGeometry(2, 1, 16);
  geometry.page_tokens = 16;
  Tokens tokens = PeakyTokens(geometry, 400, 13);
  tokens[0].at(20, KeyColumn(geometry.shape, 0)) = std::numeric_limits<float>::quiet_NaN();
  Rig rig(*backend_, geometry);
  rig.RunAll(rig.Add(tokens, Multipole(0.9f, 64)), 50, 390);  // ends: no order is broken by NaN
  EXPECT_TRUE(std::isfinite(rig.outputs(0)[0].at(10, 0)));
}

class MultipoleCounting : public AttentionCounting {};

// Every query of n + m tokens sees `blocks` closed clusters of 256, which is a function of
// position.
TEST_P(MultipoleCounting, NothingAndEverythingOpened) {
  Geometry geometry = MakeGeometry(4, 2, 32);
  geometry.page_tokens = 16;
  geometry.layers = 2;
  const int32_t n = 1300, m = 5;
  const Tokens tokens = PeakyTokens(geometry, n + m, 14);
  for (const float mass : {0.0f, 1.0f}) {
    const AttentionParams params = Multipole(mass, 0);
    const auto expect = [&](int64_t begin, int64_t end) {
      AttentionCounters c;
      const int64_t kv = 2 * 2, heads = 2 * 4, row_bytes = 32 * 4;  // layers x heads
      for (int64_t position = begin; position < end; ++position) {
        const int64_t visible = position + 1;
        const int64_t blocks = std::max<int64_t>(0, (visible - 16 - 64) / 256);
        const int64_t real = mass == 0 ? visible - 256 * blocks : visible;
        const int64_t points = blocks > 0 ? 1 : 0;
        const int64_t centres = (mass == 0 ? blocks : blocks * (1 + 8 + 64));
        const int64_t closed = mass == 0 ? blocks : 0;
        c.qk_exact += heads * real;
        c.pv_exact += heads * real;
        c.qk_centroid += heads * (points + centres);
        c.pv_centroid += heads * closed;
        // A mean key in int8 comes with three floats, a mean value with one.
        c.kv_bytes_read +=
            kv * ((2 * real + points) * row_bytes + centres * (32 + 3 * 4) + closed * (32 + 4));
        c.queries += heads;
        c.dense_equivalent_qk += heads * visible;
        c.dense_equivalent_pv += heads * visible;
        if (visible >= 336 && (visible - 80) % 256 == 0) {
          // Blocks 1 to 3 alone: 6 levels of splits at 11 interactions a key, then 4 + 3 / 4 + 3
          // / 32. The fourth merges 1,024 keys: 8 levels.
          c.index_build += blocks == 4 ? kv * (1024 * 8 * 11 + 4 * 1024 + 3 * 256 + 3 * 32)
                                       : kv * (256 * 6 * 11 + 4 * 256 + 3 * 64 + 3 * 8);
        }
        c.index_build += heads;  // the query, for expansion points
      }
      return c;
    };
    Check(geometry, tokens, n, params, expect, "mass " + std::to_string(mass));
  }
}

TEST_P(MultipoleCounting, MaxKeysBoundsTheRowsOpened) {
  Geometry geometry = MakeGeometry(2, 1, 32);
  geometry.page_tokens = 16;
  const int32_t count = 16 + 64 + 3 * 256;
  const Tokens tokens = PeakyTokens(geometry, count, 15);
  for (const int32_t max_keys : {7, 8, 15, 16, 20, 100, 320}) {
    Rig rig(*backend_, geometry);
    rig.RunAll(rig.Add(tokens, Multipole(1.0f, max_keys)), 100, count - 1);
    const AttentionCounters& c = rig.counters(0, Phase::kDecode);  // of the last token alone
    // Real keys and closed clusters are a partition of all tokens: each opening of a coarse or a
    // middle one turns 1 into 8, each of a fine one takes 1 away.
    const int64_t fine_openings = (c.qk_exact / 2 - (16 + 64)) / 4;
    const int64_t other_openings = (c.qk_centroid / 2 - 1 - 3) / 8;
    const int64_t rows = 4 * fine_openings + 8 * other_openings;
    EXPECT_LE(rows, max_keys);
    EXPECT_GT(rows, max_keys - 8) << "the next cluster would have fitted";
    if (max_keys >= 8) {
      EXPECT_GT(other_openings, 0);
    }
    if (max_keys >= 100) {
      EXPECT_GT(fine_openings, 0);
    }
    EXPECT_EQ(c.qk_exact / 2, 16 + 64 + 4 * fine_openings);
    EXPECT_EQ(c.qk_centroid / 2, 1 + 3 + 8 * other_openings);
    EXPECT_EQ(c.pv_exact, c.qk_exact);
    EXPECT_EQ(c.pv_centroid / 2, 3 + 7 * other_openings - fine_openings);
  }
}

ALCCA_CONFORMANCE_OVER(MultipoleConformance, ExactCases);
ALCCA_CONFORMANCE_OVER(MultipoleCounting, ExactCases);

}  // namespace
}  // namespace alcca
