// Attention of every backend against the reference, the independence from chunks and neighbours
// that batching relies on, and the counters against closed formulas.
//
// Queries and keys lie on a grid of 1/8, so that a squared distance is exact in f32 and the order
// of the nearest keys, ties included, is the same in every arithmetic. Only then does a difference
// of outputs mean a wrong key and not a rounding.

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "tests/conformance/attention_rig.h"

namespace alcca {
namespace {

std::string Name(const Geometry& g, int32_t count, const AttentionParams& params) {
  return std::string(AttentionModeName(params.mode)) + " heads " + std::to_string(g.shape.heads) +
         "/" + std::to_string(g.shape.kv_heads) + " d " + std::to_string(g.shape.head_dim) +
         " page " + std::to_string(g.page_tokens) + " tokens " + std::to_string(count) + " k " +
         std::to_string(params.k) + " theta " + std::to_string(params.theta) + " search " +
         std::to_string(static_cast<int>(params.search)) + " window " +
         std::to_string(params.window) + " sparsity " + std::to_string(params.sparsity);
}

// Properties of exact search that must hold for every implementation of it (our kernels and FAISS).
// Sequences in other modes appear in these batches only as neighbours.
class AlccaAttention : public AttentionConformance {};
class AlccaAttentionCounting : public AttentionCounting {};

TEST_P(AttentionConformance, MatchesReference) {
  for (const int32_t head_dim : Some<int32_t>(3, {20, 160, 64, 2, 16, 32, 48, 128})) {
    for (const int32_t group : Some<int32_t>(2, {3, 1, 2, 4})) {
      Geometry geometry = MakeGeometry(2 * group, 2, head_dim);
      geometry.layers = 2;
      const int32_t page = geometry.page_tokens;
      for (const int32_t count : Some<int32_t>(4, {1, page, page + 1, 3 * page + 5, 2, page - 1})) {
        const Tokens tokens = RandomTokens(geometry, count, static_cast<uint64_t>(count));
        for (const AttentionParams& params :
             {Dense(), Alcca(8), Tree(8, 12, 4), Window(page), TopK(0.3f)}) {
          Compare(geometry, tokens, params, Name(geometry, count, params));
        }
      }
    }
  }
}

TEST_P(AttentionConformance, LongContextsAndPageSizes) {
  for (const int32_t page : Some<int32_t>(2, {1, 17, 16, 256})) {
    Geometry geometry = MakeGeometry(4, 2, 64);
    geometry.page_tokens = page;
    const int32_t count = 323, checked = 3;
    const int32_t pages = page == 1 ? 401 : 97;
    const Tokens tokens = RandomTokens(geometry, count, 3);
    for (const AttentionParams& params :
         Some<AttentionParams>(5, {Dense(), Alcca(100), Tree(8, 12, 4), Window(100), TopK(0.1f),
                                   Tree(20, 60, 1), Alcca(8)})) {
      Rig tuned(*backend_, geometry, pages), plain(*reference_, geometry, pages);
      tuned.RunAll(tuned.Add(tokens, params), 100, count - 1);
      plain.Store(plain.Add(tokens, params), count - checked);
      plain.Step({{0, checked}});
      const Tokens actual = {tuned.outputs(0)[0].RowRange(count - checked, checked)};
      const Tokens expected = {plain.outputs(0)[0].RowRange(count - checked, checked)};
      ExpectClose(actual, expected, geometry, tokens, Name(geometry, count, params));
    }
  }
}

TEST_P(AttentionConformance, SlidingWindowIsForSoftmaxAlone) {
  Geometry geometry = MakeGeometry(4, 2, 32);
  const int32_t page = geometry.page_tokens, count = 3 * page + 3;
  const Tokens tokens = RandomTokens(geometry, count, 4);
  const Tokens open = Actual(geometry, tokens, Dense(), count, count);
  const Tokens alcca = Actual(geometry, tokens, Alcca(8), count, count);
  for (const int32_t window : {1, 3, page - 1, page, page + 1, count - 1, count, 1000}) {
    geometry.shape.sliding_window = window;
    const std::string what = "window " + std::to_string(window);
    for (const AttentionParams& params : {Dense(), Window(5), TopK(0.4f)}) {
      Compare(geometry, tokens, params, what);
    }
    ExpectSameBits(Actual(geometry, tokens, Alcca(8), count, count), alcca, what);
    const Tokens windowed = Actual(geometry, tokens, Dense(), count, count);
    EXPECT_EQ(windowed[0].values == open[0].values, window >= count) << what;
    if (window == 1) {  // each query sees its own key: its value comes back
      for (int32_t t = 0; t < count; ++t) {
        EXPECT_FLOAT_EQ(windowed[0].at(t, 5), tokens[0].at(t, ValueColumn(geometry.shape, 0) + 5));
      }
    }
  }
}

TEST_P(AttentionConformance, WindowIsDenseWithASlidingWindow) {
  const Geometry open = MakeGeometry(4, 2, 32);
  const int32_t count = 3 * open.page_tokens + 3;
  const Tokens tokens = RandomTokens(open, count, 15);
  for (const int32_t window : {1, 3, open.page_tokens, count - 1, count, kWindowMax}) {
    Geometry slid = open;
    slid.shape.sliding_window = window;
    ExpectSameBits(Actual(open, tokens, Window(window), 10, count - 2),
                   Actual(slid, tokens, Dense(), 10, count - 2),
                   "window " + std::to_string(window));
  }
}

TEST_P(AttentionConformance, EveryShareOfTopKeys) {
  const Geometry geometry = MakeGeometry(4, 2, 16);
  const int32_t count = 27;
  const Tokens tokens = RandomTokens(geometry, count, 16);
  for (const float sparsity : {1e-6f, 0.05f, 0.1f, 0.25f, 0.5f, 0.9f, 1.0f}) {
    Compare(geometry, tokens, TopK(sparsity), "sparsity " + std::to_string(sparsity));
  }
  ExpectClose(Actual(geometry, tokens, TopK(1.0f), count, count),
              Actual(geometry, tokens, Dense(), count, count), geometry, tokens, "all keys");
}

TEST_P(AttentionConformance, TopKTiesGoToTheLowerPosition) {
  const Geometry geometry = MakeGeometry(1, 1, 32);
  const int32_t count = 20;
  Tokens tokens = {Host(count, geometry.shape.qkv_cols())};
  for (int32_t t = 0; t < count; ++t) {
    tokens[0].at(t, 0) = 1.0f;
    tokens[0].at(t, 32) = t % 4 == 3 ? 1.0f : 0.0f;  // the best: 3, 7, 11, 15, 19
    tokens[0].at(t, 64 + t) = 1.0f;                  // one-hot: output j is the weight of key j
  }
  const std::vector<std::pair<float, std::vector<int32_t>>> cases = {{0.1f, {3, 7}},
                                                                     {0.3f, {0, 3, 7, 11, 15, 19}}};
  for (const auto& [sparsity, chosen] : cases) {
    const Tokens out = Actual(geometry, tokens, TopK(sparsity), 6, count - 1);
    std::vector<int32_t> found;
    for (int32_t j = 0; j < count; ++j) {
      if (out[0].at(count - 1, j) > 0) {
        found.push_back(j);
      }
    }
    EXPECT_EQ(found, chosen) << "sparsity " << sparsity;
  }
}

TEST_P(AlccaAttention, EveryNumberOfNearestKeys) {
  const Geometry geometry = MakeGeometry(4, 2, 16);
  const int32_t count = 27;
  const Tokens tokens = RandomTokens(geometry, count, 5);
  for (int32_t k = 1; k <= count + 2; ++k) {
    Compare(geometry, tokens, Alcca(k), "k " + std::to_string(k));
  }
  Compare(geometry, tokens, Alcca(kKeysMax), "largest k");
  // Whatever a request may ask for must run: a search's memory grows with both.
  Compare(geometry, tokens, Tree(kKeysMax, kKeysMax, kKeysMax), "largest tree search");
  Compare(geometry, tokens, Tree(8, 700, 66), "a tree search just below 48 KiB of branches");
}

TEST_P(AlccaAttention, NearGateOffHalfAndAlways) {
  for (const int32_t group : {1, 4}) {
    Geometry geometry = MakeGeometry(2 * group, 2, 32);
    geometry.layers = 2;
    const int32_t count = 41;
    const Tokens tokens = RandomTokens(geometry, count, 6);
    const float mid = MidTheta(tokens, geometry.shape);
    for (const float theta : {0.0f, mid, 1e30f}) {
      Compare(geometry, tokens, Alcca(4, theta), Name(geometry, count, Alcca(4, theta)));
    }
  }
}

// A theta and a k for each layer and query head.
AttentionParams PerHead(const Geometry& geometry, float mid) {
  std::vector<float> theta;
  std::vector<int32_t> k;
  for (int32_t i = 0; i < geometry.layers * geometry.shape.heads; ++i) {
    theta.push_back(i % 3 == 0 ? 0.0f : i % 3 == 1 ? mid : 1e30f);
    k.push_back(1 + i * 5 % 9);
  }
  AttentionParams params = Alcca(4, 1e30f);  // the tables count, not these
  params.head_theta = std::make_shared<const std::vector<float>>(std::move(theta));
  params.head_k = std::make_shared<const std::vector<int32_t>>(std::move(k));
  return params;
}

AttentionParams NearShare(float share) {
  AttentionParams params = Alcca(4, 1e30f);  // no constant theta
  params.near_share = share;
  return params;
}

TEST_P(AlccaAttention, EachHeadHasItsThetaAndItsK) {
  for (const int32_t group : {1, 4}) {
    Geometry geometry = MakeGeometry(2 * group, 2, 32);
    geometry.layers = 2;
    const Tokens tokens = RandomTokens(geometry, 41, 7);
    AttentionParams params = PerHead(geometry, MidTheta(tokens, geometry.shape));
    Compare(geometry, tokens, params, "tables, group of " + std::to_string(group));
    params.search = KeySearch::kTree;
    params.tree_distances = 1000;  // all keys: no approximation to allow for
    Compare(geometry, tokens, params, "tables, tree, group of " + std::to_string(group));
  }
}

TEST_P(AttentionConformance, ThetaFollowsTheQuantileOfItsHead) {
  Geometry geometry = MakeGeometry(4, 2, 32);
  geometry.layers = 2;
  const int32_t count = 200;
  const Tokens tokens = RandomTokens(geometry, count, 8);
  for (const float share : Some<float>(2, {0.5f, 1.0f, 0.1f, 0.9f})) {
    const std::string what = "near share " + std::to_string(share);
    Compare(geometry, tokens, NearShare(share), what);
    Rig rig(*backend_, geometry);
    rig.RunAll(rig.Add(tokens, NearShare(share)), 64, count);
    const AttentionCounters& counters = rig.counters(0, Phase::kPrefill);
    EXPECT_NEAR(static_cast<double>(counters.near_queries) / counters.queries, share, 0.1) << what;
  }
}

TEST_P(AlccaAttention, NearGateIsExclusive) {
  // One token whose key is 3-4-5 away from its query: the distance is 5 in any arithmetic.
  const Geometry geometry = MakeGeometry(1, 1, 16);
  Tokens tokens = {Host(2, geometry.shape.qkv_cols())};
  for (int32_t t = 0; t < 2; ++t) {
    tokens[0].at(t, 16) = t == 0 ? 0.0f : 6.0f;  // centre 3 at the second token
    tokens[0].at(t, 0) = t == 0 ? 3.0f : 6.0f;
    tokens[0].at(t, 1) = 4.0f;
    tokens[0].at(t, 32) = t == 0 ? 10.0f : 30.0f;  // mean 20
  }
  // Exactly at theta the query is far, and the nearest key of the second is its own.
  EXPECT_EQ(Actual(geometry, tokens, Alcca(1, 5.0f), 2, 2)[0].at(1, 0), 30.0f);
  const float above = std::nextafter(5.0f, 6.0f);
  EXPECT_EQ(Actual(geometry, tokens, Alcca(1, above), 2, 2)[0].at(1, 0), 20.0f);
}

TEST_P(AlccaAttention, TiesGoToTheLowerPosition) {
  // One-hot values: element j of the output is the weight of key j.
  const Geometry geometry = MakeGeometry(1, 1, 32);
  const int32_t count = 21;
  Tokens tokens = {Host(count, geometry.shape.qkv_cols())};
  for (int32_t t = 0; t < count; ++t) {
    tokens[0].at(t, 32) = t % 3 == 2 ? 1.0f : 4.0f;   // the query is 0: 2, 5, 8, ... are nearest
    tokens[0].at(t, 33) = t % 2 == 0 ? 0.5f : -0.5f;  // other keys, the same distance
    tokens[0].at(t, 64 + t) = 1.0f;
  }
  // Seven near ones, on three pages: k = 4 takes the first four of them, k = 9 all seven and the
  // first two of the rest.
  const std::vector<std::pair<int32_t, std::vector<int32_t>>> cases = {
      {1, {2}}, {4, {2, 5, 8, 11}}, {9, {0, 1, 2, 5, 8, 11, 14, 17, 20}}};
  for (const auto& [k, chosen] : cases) {
    const Tokens out = Actual(geometry, tokens, Alcca(k), 5, count - 1);
    std::vector<int32_t> found;
    for (int32_t j = 0; j < count; ++j) {
      if (out[0].at(count - 1, j) > 0) {
        found.push_back(j);
      }
    }
    EXPECT_EQ(found, chosen) << "k " << k;
    if (k == 4) {
      EXPECT_FLOAT_EQ(out[0].at(count - 1, 2), 0.25f);
    }
  }
}

TEST_P(AttentionConformance, TreeOfEveryBudget) {
  const Geometry geometry = MakeGeometry(4, 2, 16);
  const int32_t count = 61;
  const Tokens tokens = RandomTokens(geometry, count, 17);
  for (const int32_t distances : Some<int32_t>(4, {1, 8, 61, 1000, 2, 3, 20, 60})) {
    for (const int32_t recent : {0, 1, distances / 2, distances}) {
      const AttentionParams params = Tree(8, distances, recent);
      Compare(geometry, tokens, params,
              "distances " + std::to_string(distances) + " recent " + std::to_string(recent));
    }
  }
}

TEST_P(AttentionConformance, TreeThatComparesEveryKeyIsExactSearch) {
  const Geometry geometry = MakeGeometry(4, 2, 32);
  const int32_t count = 70;
  Tokens tokens = RandomTokens(geometry, count, 18);
  for (float& x : tokens[0].values) {
    x *= 1.1f;  // off the grid
  }
  for (const int32_t recent : {0, 5, count}) {
    ExpectSameBits(Actual(geometry, tokens, Tree(8, count, recent), 20, count - 5),
                   Actual(geometry, tokens, Alcca(8), 20, count - 5),
                   "recent " + std::to_string(recent));
  }
}

TEST_P(AttentionConformance, TreeOnlyOfRecentKeysIsExactSearchInAWindow) {
  const Geometry geometry = MakeGeometry(2, 1, 16);
  const int32_t count = 30, recent = 6;
  const Tokens tokens = RandomTokens(geometry, count, 19);
  const Tokens tree = Actual(geometry, tokens, Tree(4, recent, recent), count, count);
  for (int32_t t = recent - 1; t < count; ++t) {  // the last `recent` tokens as a sequence alone
    const Tokens window = {tokens[0].RowRange(t - recent + 1, recent)};
    const Tokens alone = Actual(geometry, window, Alcca(4), recent, recent);
    ExpectSameBits(tree[0].RowRange(t, 1), alone[0].RowRange(recent - 1, 1),
                   "position " + std::to_string(t));
  }
}

TEST_P(AttentionConformance, RecallChecksCountWhatTheTreeMissed) {
  const Geometry geometry = MakeGeometry(4, 2, 16);
  const int32_t count = 80;
  const Tokens tokens = RandomTokens(geometry, count, 21);
  const auto recall = [&](AttentionParams params, float sample) {
    params.recall_sample = sample;
    Rig rig(*backend_, geometry);
    rig.RunAll(rig.Add(tokens, params), count, count);
    return rig.counters(0, Phase::kPrefill);
  };
  const AttentionCounters whole = recall(Tree(8, count, 4), 1.0f);
  EXPECT_EQ(whole.recall_wanted, 4 * (8 * 9 / 2 + (count - 8) * 8));
  EXPECT_EQ(whole.recall_found, whole.recall_wanted);
  AttentionCounters checked = recall(Tree(8, 12, 4), 1.0f);
  EXPECT_EQ(checked.recall_wanted, whole.recall_wanted);
  EXPECT_LT(checked.recall_found, checked.recall_wanted);
  EXPECT_GT(checked.recall_found, checked.recall_wanted / 10);
  const AttentionCounters some = recall(Tree(8, 12, 4), 0.3f);
  EXPECT_GT(some.recall_wanted, checked.recall_wanted / 5);
  EXPECT_LT(some.recall_wanted, checked.recall_wanted / 2);
  // Checking changes nothing else, and exact search has nothing to check.
  checked.recall_wanted = checked.recall_found = 0;
  EXPECT_TRUE(checked == recall(Tree(8, 12, 4), 0.0f));
  EXPECT_EQ(recall(Alcca(8), 1.0f).recall_wanted, 0);
}

TEST_P(AlccaAttention, RepeatedKeysMatchReference) {
  const Geometry geometry = MakeGeometry(4, 2, 16);
  const int32_t count = 43;
  Tokens tokens = RandomTokens(geometry, count, 7);
  for (int32_t t = 0; t < count; ++t) {  // five different keys in all
    for (int32_t c = KeyColumn(geometry.shape, 0); c < ValueColumn(geometry.shape, 0); ++c) {
      tokens[0].at(t, c) = tokens[0].at(t * 7 % 5, c);
    }
  }
  for (const int32_t k : {1, 3, 8, 20}) {
    Compare(geometry, tokens, Alcca(k), "k " + std::to_string(k));
    Compare(geometry, tokens, Tree(k, 12, 2), "tree, k " + std::to_string(k));
  }
}

TEST_P(AlccaAttention, QueryEqualToKeysLeavesEpsilonAlone) {
  const Geometry geometry = MakeGeometry(1, 1, 16);
  const int32_t count = 19;
  Tokens tokens = {RandomTokens(geometry, count, 8)[0]};
  // The last query is key 4, which occurs again at 11; key 6 is 2 away, all others farther.
  for (int32_t c = 0; c < 16; ++c) {
    tokens[0].at(11, 16 + c) = tokens[0].at(4, 16 + c);
    tokens[0].at(6, 16 + c) = tokens[0].at(4, 16 + c) + (c == 3 ? 2.0f : 0.0f);
    tokens[0].at(count - 1, c) = tokens[0].at(4, 16 + c);
  }
  for (const float epsilon : {1e-30f, 1e-8f, 0.5f, 1e9f}) {
    const AttentionParams params = Alcca(3, 0.0f, epsilon);
    const Tokens out = Actual(geometry, tokens, params, count, count);
    ExpectClose(out, Expected(geometry, tokens, params), geometry, tokens,
                "epsilon " + std::to_string(epsilon));
    const double at = 1.0 / double{epsilon}, beside = 1.0 / (2.0 + double{epsilon});
    for (int32_t c = 0; c < 16; ++c) {
      const double expected = (at * tokens[0].at(4, 32 + c) + at * tokens[0].at(11, 32 + c) +
                               beside * tokens[0].at(6, 32 + c)) /
                              (2 * at + beside);
      EXPECT_NEAR(out[0].at(count - 1, c), expected, 2e-6) << "epsilon " << epsilon;
    }
  }
}

TEST_P(AttentionConformance, LargeMagnitudes) {
  // d = 64: 1 / sqrt(d) is a power of two, so that the scores too, up to a million, are exact.
  const Geometry geometry = MakeGeometry(4, 2, 64);
  const int32_t count = 30;
  Tokens tokens = RandomTokens(geometry, count, 9);
  for (int32_t t = 0; t < count; ++t) {
    for (int32_t c = 0; c < geometry.shape.qkv_cols(); ++c) {
      tokens[0].at(t, c) *= c < ValueColumn(geometry.shape, 0) ? 256.0f : 1e6f;
    }
  }
  for (const AttentionParams& params :
       {Dense(), Alcca(8), Alcca(8, 1e30f), Tree(8, 10, 2), Window(7), TopK(0.2f)}) {
    Compare(geometry, tokens, params, Name(geometry, count, params));
  }
}

TEST_P(AttentionConformance, ScoresFarApartAndRisingTowardsTheEnd) {
  // The running maximum moves on with every page: earlier pages are scaled down to nothing.
  const Geometry geometry = MakeGeometry(1, 1, 16);
  const int32_t count = 40;
  Tokens tokens = {Host(count, geometry.shape.qkv_cols())};
  for (const float slope : {0.25f, 4.0f, 100.0f, -100.0f}) {
    for (int32_t t = 0; t < count; ++t) {
      tokens[0].at(t, 0) = 4.0f;  // the score is slope * t
      tokens[0].at(t, 16) = slope * static_cast<float>(t);
      tokens[0].at(t, 32) = static_cast<float>(t % 7) - 3.0f;
    }
    Compare(geometry, tokens, Dense(), "slope " + std::to_string(slope));
  }
}

TEST_P(AlccaAttention, NonFiniteQueriesStayInTheirHeadAndRow) {
  const Geometry geometry = MakeGeometry(4, 2, 32);
  const int32_t count = 20;
  const Tokens clean = RandomTokens(geometry, count, 10);
  Tokens tokens = clean;
  tokens[0].at(9, 32 + 3) = std::numeric_limits<float>::quiet_NaN();  // head 1
  for (const AttentionParams& params :
       {Dense(), Alcca(4), Alcca(4, 6.0f), Tree(4, 6, 2), Window(6), TopK(0.5f)}) {
    const Tokens out = Actual(geometry, tokens, params, count, count);
    Tokens expected = Actual(geometry, clean, params, count, count);
    for (int32_t c = 32; c < 64; ++c) {
      EXPECT_TRUE(std::isnan(out[0].at(9, c))) << Name(geometry, count, params);
      expected[0].at(9, c) = out[0].at(9, c);
    }
    ExpectSameBits(out, expected, Name(geometry, count, params));
  }
}

// A score of NaN is the best of all: dropped, it would leave an answer that looks sound.
TEST_P(AlccaAttention, TopKShowsAKeyThatIsNoNumber) {
  const Geometry geometry = MakeGeometry(4, 2, 32);
  const int32_t count = 20, bad = 9;
  const Tokens clean = RandomTokens(geometry, count, 12);
  Tokens tokens = clean;
  tokens[0].at(bad, KeyColumn(geometry.shape, 0)) = std::numeric_limits<float>::quiet_NaN();
  const Tokens out = Actual(geometry, tokens, TopK(0.3f), count, count);
  Tokens expected = Actual(geometry, clean, TopK(0.3f), count, count);
  for (int32_t t = bad; t < count; ++t) {
    for (int32_t c = 0; c < 64; ++c) {  // the heads of KV head 0
      EXPECT_TRUE(std::isnan(out[0].at(t, c))) << t;
      expected[0].at(t, c) = out[0].at(t, c);
    }
  }
  ExpectSameBits(out, expected, "topk");
}

TEST_P(AttentionConformance, LaterTokensChangeNothing) {
  const Geometry geometry = MakeGeometry(4, 2, 32);
  const int32_t count = 30, from = 13;
  const Tokens tokens = RandomTokens(geometry, count, 11);
  Tokens other = RandomTokens(geometry, count, 12);
  std::copy_n(tokens[0].values.begin(), from * tokens[0].cols, other[0].values.begin());
  for (const AttentionParams& params :
       {Dense(), Alcca(4), Alcca(4, 1e30f), Tree(4, 6, 2), Window(6), TopK(0.5f)}) {
    const Tokens a = Actual(geometry, tokens, params, count, count);
    const Tokens b = Actual(geometry, other, params, count, count);
    ExpectSameBits(a[0].RowRange(0, from), b[0].RowRange(0, from), Name(geometry, count, params));
    EXPECT_NE(a[0].at(from, 0), b[0].at(from, 0));
  }
}

// The modes whose bits are compared below.
std::vector<AttentionParams> AllParams(const Tokens& tokens, const Geometry& geometry) {
  return {Dense(),
          Alcca(8),
          Alcca(5, MidTheta(tokens, geometry.shape)),
          Alcca(3, 1e30f),
          Tree(8, 12, 4),
          Tree(5, 20, 0, MidTheta(tokens, geometry.shape)),
          Window(13),
          TopK(0.3f),
          NearShare(0.4f),
          PerHead(geometry, MidTheta(tokens, geometry.shape))};
}

TEST_P(AttentionConformance, ChunksDoNotMatter) {
  for (const int32_t window : Some<int32_t>(1, {21, 0})) {
    Geometry geometry = MakeGeometry(4, 2, 64);
    geometry.layers = 2;
    geometry.shape.sliding_window = window;
    const int32_t count = 150;
    Tokens tokens = RandomTokens(geometry, count, 13);
    for (Host& layer : tokens) {  // off the grid: bits must agree where sums do round
      for (float& x : layer.values) {
        x *= 1.1f;
      }
    }
    for (const AttentionParams& params : AllParams(tokens, geometry)) {
      Rig whole(*backend_, geometry);
      whole.RunAll(whole.Add(tokens, params), count, count);
      for (const int32_t chunk : Some<int32_t>(1, {7, 1, 64})) {
        const std::string what = Name(geometry, count, params) + " chunk " + std::to_string(chunk);
        Rig rig(*backend_, geometry);
        rig.RunAll(rig.Add(tokens, params), chunk, count);
        ExpectSameBits(rig.outputs(0), whole.outputs(0), what);
        EXPECT_TRUE(rig.counters(0, Phase::kPrefill) == whole.counters(0, Phase::kPrefill)) << what;
      }
    }
  }
}

TEST_P(AttentionConformance, ThreadsDoNotMatter) {
  Geometry geometry = MakeGeometry(6, 3, 48);
  const int32_t count = 70;
  const Tokens tokens = RandomTokens(geometry, count, 14);
  for (const AttentionParams& params : AllParams(tokens, geometry)) {
    Rig mine(*backend_, geometry);
    mine.RunAll(mine.Add(tokens, params), 40, count - 2);
    for (const int32_t threads : Some<int32_t>(1, {1, 2, 3, 5})) {
      const auto other = MakeBackend({GetParam().isa, threads}).value();
      Rig rig(*other, geometry);
      rig.RunAll(rig.Add(tokens, params), 40, count - 2);
      const std::string what =
          Name(geometry, count, params) + " threads " + std::to_string(threads);
      ExpectSameBits(rig.outputs(0), mine.outputs(0), what);
      for (const Phase phase : {Phase::kPrefill, Phase::kDecode}) {
        EXPECT_TRUE(rig.counters(0, phase) == mine.counters(0, phase)) << what;
      }
    }
  }
}

TEST_P(AlccaAttention, NeighboursInTheBatchDoNotMatter) {
  // Nine sequences of different modes and lengths; prefill chunks and decode rows share steps.
  Geometry geometry = MakeGeometry(4, 2, 64);
  geometry.layers = 2;
  const std::vector<int32_t> counts = {37, 20, 55, 9, 44, 31, 26, 33, 40};
  std::vector<Tokens> tokens;
  for (size_t i = 0; i < counts.size(); ++i) {
    tokens.push_back(RandomTokens(geometry, counts[i], 20 + i));
  }
  std::vector<AttentionParams> params = {Dense()};
  for (size_t i = 1; i < counts.size(); ++i) {
    const std::vector<AttentionParams> all = AllParams(tokens[i], geometry);
    params.push_back(all[i % all.size()]);
  }
  Rig mixed(*backend_, geometry);
  for (size_t i = 0; i < counts.size(); ++i) {
    mixed.Add(tokens[i], params[i]);
  }
  std::vector<int32_t> left = counts;
  for (int32_t step = 0; std::any_of(left.begin(), left.end(), [](int32_t n) { return n > 0; });
       ++step) {
    std::vector<Rig::Piece> pieces;
    for (int32_t i = 0; i < static_cast<int32_t>(counts.size()); ++i) {
      const int32_t sequence = (i + step) % static_cast<int32_t>(counts.size());
      const int32_t chunk = std::min(left[sequence], (step + i) % 3 == 0 ? 17 : 1);
      if (chunk > 0) {
        pieces.push_back({sequence, chunk});
        left[sequence] -= chunk;
      }
    }
    mixed.Step(pieces);
  }
  for (size_t i = 0; i < counts.size(); ++i) {
    const int32_t id = static_cast<int32_t>(i);
    const std::string what = "sequence " + std::to_string(i);
    Rig alone(*backend_, geometry);
    alone.RunAll(alone.Add(tokens[i], params[i]), counts[i], counts[i]);
    ExpectSameBits(mixed.outputs(id), alone.outputs(0), what);
    EXPECT_TRUE(mixed.counters(id, Phase::kPrefill) == alone.counters(0, Phase::kPrefill)) << what;
    ExpectClose(mixed.outputs(id), Expected(geometry, tokens[i], params[i]), geometry, tokens[i],
                what);
  }
}

// --- Counters ----------------------------------------------------------------------------------

// Sum over positions [begin, end) of min(position + 1, limit): keys seen by one head of one layer.
int64_t Seen(int64_t begin, int64_t end, int64_t limit) {
  const auto triangle = [&](int64_t n) {  // positions [0, n)
    const int64_t m = std::min(n, limit);
    return m * (m + 1) / 2 + (n - m) * limit;
  };
  return triangle(end) - triangle(begin);
}
constexpr int64_t kNoLimit = int64_t{1} << 40;

struct CountingCase {
  int32_t heads, kv_heads, layers, n, m, window;
};
constexpr CountingCase kCountingCases[] = {
    {1, 1, 1, 1, 0, 0},  {1, 1, 1, 1, 1, 0},  {4, 2, 1, 8, 9, 0},   {4, 1, 2, 23, 6, 0},
    {6, 6, 3, 17, 2, 0}, {4, 2, 2, 30, 5, 7}, {2, 1, 1, 40, 3, 100}};
constexpr int32_t kCountingDim = 32;

Geometry CountingGeometry(const CountingCase& c) {
  Geometry geometry = MakeGeometry(c.heads, c.kv_heads, kCountingDim);
  geometry.layers = c.layers;
  geometry.shape.sliding_window = c.window;
  return geometry;
}

// The values a group reads together are known where its query heads agree.
Tokens WithEqualHeads(Tokens tokens, int32_t heads) {
  for (Host& layer : tokens) {
    for (int32_t t = 0; t < layer.rows; ++t) {
      for (int32_t x = 0; x < heads * kCountingDim; ++x) {
        layer.at(t, x) = layer.at(t, x % kCountingDim);
      }
    }
  }
  return tokens;
}

TEST_P(AttentionCounting, Dense) {
  for (const CountingCase& c : kCountingCases) {
    const Geometry geometry = CountingGeometry(c);
    const int64_t limit = c.window > 0 ? c.window : kNoLimit, row_bytes = kCountingDim * 4;
    const auto expect = [&](int64_t begin, int64_t end) {
      const int64_t pairs = int64_t{c.layers} * c.heads * Seen(begin, end, limit);
      AttentionCounters counters;
      counters.qk_exact = counters.pv_exact = pairs;
      counters.dense_equivalent_qk = counters.dense_equivalent_pv = pairs;
      counters.queries = int64_t{c.layers} * c.heads * (end - begin);
      counters.kv_bytes_read =
          2 * int64_t{c.layers} * c.kv_heads * Seen(begin, end, limit) * row_bytes;
      return counters;
    };
    Check(geometry, RandomTokens(geometry, c.n + c.m, 30), c.n, alcca::Dense(), expect,
          "n " + std::to_string(c.n) + " m " + std::to_string(c.m));
  }
}

TEST_P(AttentionCounting, Window) {
  for (const CountingCase& c : kCountingCases) {
    const Geometry geometry = CountingGeometry(c);
    const int64_t limit = c.window > 0 ? c.window : kNoLimit, row_bytes = kCountingDim * 4;
    for (const int32_t window : {1, 6, 100}) {
      const auto expect = [&](int64_t begin, int64_t end) {
        const int64_t seen = Seen(begin, end, std::min<int64_t>(limit, window));
        AttentionCounters counters;
        counters.qk_exact = counters.pv_exact = int64_t{c.layers} * c.heads * seen;
        counters.dense_equivalent_qk = counters.dense_equivalent_pv =
            int64_t{c.layers} * c.heads * Seen(begin, end, limit);
        counters.queries = int64_t{c.layers} * c.heads * (end - begin);
        counters.kv_bytes_read = 2 * int64_t{c.layers} * c.kv_heads * seen * row_bytes;
        return counters;
      };
      Check(geometry, RandomTokens(geometry, c.n + c.m, 34), c.n, alcca::Window(window), expect,
            "n " + std::to_string(c.n) + " window " + std::to_string(window));
    }
  }
}

TEST_P(AttentionCounting, TopK) {
  for (const CountingCase& c : kCountingCases) {
    const Geometry geometry = CountingGeometry(c);
    const int64_t limit = c.window > 0 ? c.window : kNoLimit, row_bytes = kCountingDim * 4;
    const Tokens tokens = WithEqualHeads(RandomTokens(geometry, c.n + c.m, 35), c.heads);
    for (const int32_t percent : {1, 30, 100}) {
      const auto expect = [&](int64_t begin, int64_t end) {
        int64_t kept = 0;
        for (int64_t t = begin; t < end; ++t) {  // halves are rounded up
          const int64_t visible = std::min(t + 1, limit);
          kept += std::max<int64_t>(1, (visible * percent + 50) / 100);
        }
        AttentionCounters counters;
        counters.qk_exact = int64_t{c.layers} * c.heads * Seen(begin, end, limit);
        counters.pv_exact = int64_t{c.layers} * c.heads * kept;
        counters.dense_equivalent_qk = counters.dense_equivalent_pv = counters.qk_exact;
        counters.queries = int64_t{c.layers} * c.heads * (end - begin);
        counters.kv_bytes_read =
            int64_t{c.layers} * c.kv_heads * (Seen(begin, end, limit) + kept) * row_bytes;
        return counters;
      };
      Check(geometry, tokens, c.n, alcca::TopK(static_cast<float>(percent) / 100), expect,
            "n " + std::to_string(c.n) + " percent " + std::to_string(percent));
    }
  }
}

TEST_P(AlccaAttentionCounting, AlccaFar) {
  for (const CountingCase& c : kCountingCases) {
    const Geometry geometry = CountingGeometry(c);
    const int64_t limit = c.window > 0 ? c.window : kNoLimit, row_bytes = kCountingDim * 4;
    const int64_t all_heads = int64_t{c.layers} * c.heads;
    const int64_t all_kv_heads = int64_t{c.layers} * c.kv_heads;
    const Tokens tokens = WithEqualHeads(RandomTokens(geometry, c.n + c.m, 31), c.heads);
    for (const int32_t k : {1, 8, 1000}) {
      const auto expect = [&](int64_t begin, int64_t end) {
        AttentionCounters counters;
        counters.qk_exact = all_heads * Seen(begin, end, kNoLimit);
        counters.com_test = counters.queries = all_heads * (end - begin);
        counters.pv_exact = all_heads * Seen(begin, end, k);
        counters.running_sums = 2 * all_kv_heads * (end - begin);
        counters.dense_equivalent_qk = counters.dense_equivalent_pv =
            all_heads * Seen(begin, end, limit);
        counters.kv_bytes_read =
            all_kv_heads * (Seen(begin, end, kNoLimit) + Seen(begin, end, k)) * row_bytes;
        return counters;
      };
      Check(geometry, tokens, c.n, Alcca(k), expect,
            "n " + std::to_string(c.n) + " m " + std::to_string(c.m) + " k " + std::to_string(k));
    }
  }
}

TEST_P(AttentionCounting, AlccaTree) {
  for (const CountingCase& c : kCountingCases) {
    const Geometry geometry = CountingGeometry(c);
    const int64_t limit = c.window > 0 ? c.window : kNoLimit, row_bytes = kCountingDim * 4;
    const int64_t all_heads = int64_t{c.layers} * c.heads;
    const int64_t all_kv_heads = int64_t{c.layers} * c.kv_heads;
    // Equal heads compare the same keys. Coordinate 0 alone differs between keys, so that the tree
    // is a search tree over one number, whose cuts a test can count.
    Tokens tokens = WithEqualHeads(RandomTokens(geometry, c.n + c.m, 36), c.heads);
    for (Host& layer : tokens) {
      for (int32_t t = 0; t < layer.rows; ++t) {
        for (int32_t x = KeyColumn(geometry.shape, 0); x < ValueColumn(geometry.shape, 0); ++x) {
          layer.at(t, x) = x % kCountingDim == 0 ? static_cast<float>(t) : 0.0f;
        }
        for (int32_t x = 0; x < c.heads * kCountingDim; ++x) {
          layer.at(t, x) = x % kCountingDim == 0 ? static_cast<float>(t) : 0.0f;
        }
      }
    }
    // Rising keys: each splits the newest leaf, so the tree is a chain with one cut a key, and the
    // newest leaf is at its end: a query at the newest key, all of whose first descent is cuts,
    // opens older leaves one pop each without another cut.
    for (const auto& [distances, recent] : {std::pair{1, 0}, {4, 0}, {4, 2}, {4, 4}, {1000, 4}}) {
      const auto expect = [&, distances = distances, recent = recent](int64_t begin, int64_t end) {
        AttentionCounters counters;
        counters.qk_exact = all_heads * Seen(begin, end, distances);
        counters.com_test = counters.queries = all_heads * (end - begin);
        counters.pv_exact = all_heads * Seen(begin, end, std::min(distances, 3));
        counters.running_sums = 2 * all_kv_heads * (end - begin);
        // Two moments a key, and the difference at the split that every key but the first makes.
        counters.index_build = all_kv_heads * (3 * (end - begin) - (begin == 0 && end > 0 ? 1 : 0));
        for (int64_t t = begin; t < end; ++t) {
          const bool opens = distances > std::min<int64_t>(recent, t + 1);
          counters.scalar_comparisons += opens ? all_heads * t : 0;
        }
        counters.dense_equivalent_qk = counters.dense_equivalent_pv =
            all_heads * Seen(begin, end, limit);
        counters.kv_bytes_read =
            all_kv_heads *
            (Seen(begin, end, distances) + Seen(begin, end, std::min(distances, 3))) * row_bytes;
        return counters;
      };
      Check(geometry, tokens, c.n, Tree(3, distances, recent), expect,
            "n " + std::to_string(c.n) + " m " + std::to_string(c.m) + " distances " +
                std::to_string(distances) + " recent " + std::to_string(recent));
    }
  }
}

TEST_P(AlccaAttentionCounting, AlccaNear) {
  for (const CountingCase& c : kCountingCases) {
    const Geometry geometry = CountingGeometry(c);
    const int64_t limit = c.window > 0 ? c.window : kNoLimit;
    const int64_t all_heads = int64_t{c.layers} * c.heads;
    const auto expect = [&](int64_t begin, int64_t end) {
      AttentionCounters counters;
      counters.com_test = counters.queries = all_heads * (end - begin);
      counters.near_queries = counters.pv_centroid = counters.queries;
      counters.running_sums = 2 * int64_t{c.layers} * c.kv_heads * (end - begin);
      counters.dense_equivalent_qk = counters.dense_equivalent_pv =
          all_heads * Seen(begin, end, limit);
      return counters;
    };
    Check(geometry, RandomTokens(geometry, c.n + c.m, 32), c.n, Alcca(8, 1e30f), expect,
          "n " + std::to_string(c.n) + " m " + std::to_string(c.m));
  }
}

TEST_P(AlccaAttentionCounting, AlccaMixed) {
  // Which queries are near is worked out from the data; one query head a group, for the bytes.
  Geometry geometry = MakeGeometry(3, 3, kCountingDim);
  geometry.layers = 2;
  const int32_t n = 40, m = 11, k = 6;
  const Tokens tokens = RandomTokens(geometry, n + m, 33);
  const float theta = MidTheta(tokens, geometry.shape);
  const auto expect = [&](int32_t begin, int32_t end) {
    AttentionCounters counters;
    for (const Host& layer : tokens) {
      const auto gates = GateDistances(layer, geometry.shape);
      for (int32_t t = begin; t < end; ++t) {
        for (const double gate : gates[static_cast<size_t>(t)]) {
          const bool near = gate < theta;
          counters.queries += 1;
          counters.near_queries += near ? 1 : 0;
          counters.qk_exact += near ? 0 : t + 1;
          counters.pv_exact += near ? 0 : std::min(k, t + 1);
          counters.dense_equivalent_qk += t + 1;
          counters.dense_equivalent_pv += t + 1;
        }
      }
    }
    counters.com_test = counters.queries;
    counters.pv_centroid = counters.near_queries;
    counters.running_sums = 2 * 2 * 3 * (end - begin);
    counters.kv_bytes_read = (counters.qk_exact + counters.pv_exact) * kCountingDim * 4;
    EXPECT_GT(counters.near_queries, 0);
    EXPECT_LT(counters.near_queries, counters.queries);
    return counters;
  };
  Check(geometry, tokens, n, Alcca(k, theta), expect, "mixed");
}

TEST_P(AlccaAttentionCounting, BytesAreAUnionOverTheGroup) {
  // Two heads of one group, the keys read once: k = 1 finds two different values, k = 2 shares one
  // of three, from k = 3 on both find the same.
  const Geometry geometry = MakeGeometry(2, 1, 16);
  Tokens tokens = {Host(5, geometry.shape.qkv_cols())};
  for (int32_t t = 0; t < 5; ++t) {
    tokens[0].at(t, 32) = static_cast<float>(t * t);  // keys 0 1 4 9 16
    tokens[0].at(t, 0) = 0.0f;                        // nearest keys: 0 1 4 9 16
    tokens[0].at(t, 16) = 3.0f;                       // nearest keys: 4 1 0 9 16
  }
  for (const auto& [k, values] : {std::pair<int32_t, int64_t>{1, 2}, {2, 3}, {3, 3}, {5, 5}}) {
    Rig rig(*backend_, geometry);
    rig.RunAll(rig.Add(tokens, Alcca(k)), 4, 4);
    EXPECT_EQ(rig.counters(0, Phase::kDecode).kv_bytes_read, (5 + values) * 16 * 4) << "k " << k;
    EXPECT_EQ(rig.counters(0, Phase::kDecode).pv_exact, 2 * k);
  }
}

ALCCA_CONFORMANCE_OVER(AttentionConformance, ExactCases);
ALCCA_CONFORMANCE_OVER(AttentionCounting, ExactCases);
ALCCA_CONFORMANCE_OVER(AlccaAttention, ExactSearchCases);
ALCCA_CONFORMANCE_OVER(AlccaAttentionCounting, ExactSearchCases);

}  // namespace
}  // namespace alcca
