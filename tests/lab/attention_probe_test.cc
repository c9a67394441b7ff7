// Weights read off attention's output by linearity, against weights computed here.

#include "tools/lab/attention_probe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/make_backend.h"

namespace alcca::lab {
namespace {

constexpr int32_t kTokens = 45;  // no multiple of head_dim nor of a page
constexpr int32_t kDim = 8;

class AttentionProbeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto made = MakeCpuBackend({.threads = 1, .isa = "auto", .limits = {.batch_tokens = 64}});
    ASSERT_TRUE(made.ok()) << made.status();
    backend_ = *std::move(made);
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    qkv_.resize(size_t(kTokens) * shape_.qkv_cols());
    for (float& x : qkv_) {
      x = normal(random);
    }
  }

  ProbeInput Input() const {
    return {.shape = shape_, .layer = 1, .layers = 3, .tokens = kTokens, .qkv = qkv_};
  }
  static std::vector<int32_t> All() {
    std::vector<int32_t> out(kTokens);
    std::iota(out.begin(), out.end(), 0);
    return out;
  }
  // [heads, n, n]
  std::vector<float> Weights(const AttentionParams& params) {
    auto weights = AttentionProbe(backend_.get()).Weights(Input(), params, All());
    EXPECT_TRUE(weights.ok()) << weights.status();
    return *std::move(weights);
  }
  ProbeRun Run(const AttentionParams& params, bool per_query = true) {
    auto run = AttentionProbe(backend_.get()).Run(Input(), params, per_query);
    EXPECT_TRUE(run.ok()) << run.status();
    return *std::move(run);
  }

  const float* Row(int32_t t) const { return qkv_.data() + size_t(t) * shape_.qkv_cols(); }
  const float* Query(int32_t t, int32_t h) const { return Row(t) + h * kDim; }
  const float* Key(int32_t t, int32_t h) const { return Row(t) + (shape_.heads + h / 2) * kDim; }
  const float* Value(int32_t t, int32_t h) const { return Key(t, h) + shape_.kv_heads * kDim; }
  double Dot(int32_t i, int32_t h, int32_t j) const {
    return std::inner_product(Query(i, h), Query(i, h) + kDim, Key(j, h), 0.0);
  }
  double Distance(int32_t i, int32_t h, int32_t j) const {
    double sum = 0;
    for (int32_t c = 0; c < kDim; ++c) {
      const double gap = double{Query(i, h)[c]} - Key(j, h)[c];
      sum += gap * gap;
    }
    return std::sqrt(sum);
  }
  double DistanceToCentre(int32_t i, int32_t h) const {
    double sum = 0;
    for (int32_t c = 0; c < kDim; ++c) {
      double mean = 0;
      for (int32_t j = 0; j <= i; ++j) {
        mean += Key(j, h)[c];
      }
      mean /= i + 1;
      sum += (Query(i, h)[c] - mean) * (Query(i, h)[c] - mean);
    }
    return std::sqrt(sum);
  }
  // Softmax over `keys` as a row of n weights.
  std::vector<double> Softmax(int32_t i, int32_t h, const std::vector<int32_t>& keys) const {
    std::vector<double> out(kTokens);
    double sum = 0;
    for (const int32_t j : keys) {
      sum += out[j] = std::exp(Dot(i, h, j) / std::sqrt(double{kDim}));
    }
    for (double& w : out) {
      w /= sum;
    }
    return out;
  }
  std::vector<double> Inverse(int32_t i, int32_t h, const AttentionParams& params) const {
    std::vector<int32_t> keys(i + 1);
    std::iota(keys.begin(), keys.end(), 0);
    std::vector<double> out(kTokens);
    if (DistanceToCentre(i, h) < params.theta) {
      std::fill_n(out.begin(), i + 1, 1.0 / (i + 1));
      return out;
    }
    std::sort(keys.begin(), keys.end(),
              [&](int32_t a, int32_t b) { return Distance(i, h, a) < Distance(i, h, b); });
    keys.resize(std::min(params.k, i + 1));
    double sum = 0;
    for (const int32_t j : keys) {
      sum += out[j] = 1.0 / (Distance(i, h, j) + params.epsilon);
    }
    for (double& w : out) {
      w /= sum;
    }
    return out;
  }

  void ExpectRow(const std::vector<float>& weights, int32_t h, int32_t i,
                 const std::vector<double>& expected) {
    for (int32_t j = 0; j < kTokens; ++j) {
      ASSERT_NEAR(weights[(size_t(h) * kTokens + i) * kTokens + j], expected[j], 2e-6)
          << "head " << h << ", query " << i << ", token " << j;
    }
  }

  const AttentionShape shape_ = {.heads = 4, .kv_heads = 2, .head_dim = kDim};
  std::unique_ptr<Backend> backend_;
  std::vector<float> qkv_;
};

TEST_F(AttentionProbeTest, DenseWeightsAreTheSoftmax) {
  const auto weights = Weights({{.mode = AttentionMode::kDense}});
  for (int32_t h = 0; h < shape_.heads; ++h) {
    for (int32_t i = 0; i < kTokens; ++i) {
      std::vector<int32_t> keys(i + 1);
      std::iota(keys.begin(), keys.end(), 0);
      ExpectRow(weights, h, i, Softmax(i, h, keys));
    }
  }
}

TEST_F(AttentionProbeTest, WindowWeightsAreASoftmaxOverTheLastKeys) {
  const auto weights = Weights({{.mode = AttentionMode::kWindow, .window = 5}});
  for (int32_t h = 0; h < shape_.heads; ++h) {
    for (int32_t i = 0; i < kTokens; ++i) {
      std::vector<int32_t> keys;
      for (int32_t j = std::max(0, i - 4); j <= i; ++j) {
        keys.push_back(j);
      }
      ExpectRow(weights, h, i, Softmax(i, h, keys));
    }
  }
}

TEST_F(AttentionProbeTest, TopKWeightsAreASoftmaxOverTheBestKeys) {
  const auto weights = Weights({{.mode = AttentionMode::kTopK, .sparsity = 0.25f}});
  for (int32_t h = 0; h < shape_.heads; ++h) {
    for (int32_t i = 0; i < kTokens; ++i) {
      std::vector<int32_t> keys(i + 1);
      std::iota(keys.begin(), keys.end(), 0);
      std::sort(keys.begin(), keys.end(),
                [&](int32_t a, int32_t b) { return Dot(i, h, a) > Dot(i, h, b); });
      keys.resize(TopKCount(0.25f, i + 1));
      ExpectRow(weights, h, i, Softmax(i, h, keys));
    }
  }
}

TEST_F(AttentionProbeTest, AlccaWeightsAreUniformNearAndInverseDistancesFar) {
  const AttentionParams params = {
      {.mode = AttentionMode::kAlcca, .theta = 2.7f, .k = 4, .epsilon = 0.05f}};
  const auto weights = Weights(params);
  int32_t near = 0;
  for (int32_t h = 0; h < shape_.heads; ++h) {
    for (int32_t i = 0; i < kTokens; ++i) {
      near += DistanceToCentre(i, h) < params.theta;
      ExpectRow(weights, h, i, Inverse(i, h, params));
    }
  }
  // Both branches were really taken.
  EXPECT_GT(near, 20);
  EXPECT_LT(near, shape_.heads * kTokens - 20);
  int64_t counted = 0;
  for (const AttentionCounters& c : Run(params).counters) {
    counted += c.near_queries;
  }
  EXPECT_EQ(counted, near);
}

// The definition of the weights, for every mode: they reproduce the output.
TEST_F(AttentionProbeTest, WeightsTimesValuesAreTheOutput) {
  AttentionParams tree = {{.mode = AttentionMode::kAlcca, .theta = 2.0f, .k = 3, .epsilon = 0.05f}};
  tree.search = KeySearch::kTree;
  tree.recall_sample = 0;
  for (const AttentionParams& params :
       {AttentionParams{{.mode = AttentionMode::kDense}}, tree,
        AttentionParams{{.mode = AttentionMode::kWindow, .window = 7}},
        AttentionParams{{.mode = AttentionMode::kTopK, .sparsity = 0.3f}}}) {
    const auto weights = Weights(params);
    const auto output = Run(params).output;
    for (int32_t h = 0; h < shape_.heads; ++h) {
      for (int32_t i = 0; i < kTokens; ++i) {
        double sum = 0;
        for (int32_t j = 0; j < kTokens; ++j) {
          sum += weights[(size_t(h) * kTokens + i) * kTokens + j];
        }
        EXPECT_NEAR(sum, 1, 1e-5);
        for (int32_t c = 0; c < kDim; ++c) {
          double expected = 0;
          for (int32_t j = 0; j <= i; ++j) {
            expected += double{weights[(size_t(h) * kTokens + i) * kTokens + j]} * Value(j, h)[c];
          }
          EXPECT_NEAR(output[(size_t(i) * shape_.heads + h) * kDim + c], expected, 1e-5);
        }
      }
    }
  }
}

// multipole moves keys and values to other places of their pages; weights are told by token.
TEST_F(AttentionProbeTest, WeightsFindTheTokensThatClustersMoved) {
  const AttentionShape shape = {.heads = 2, .kv_heads = 1, .head_dim = kDim};
  const int32_t n = 380, last = n - 1;
  std::mt19937 random(8);
  std::normal_distribution<float> normal;
  std::vector<float> qkv(size_t(n) * shape.qkv_cols());
  std::generate(qkv.begin(), qkv.end(), [&] { return normal(random); });
  const ProbeInput input = {.shape = shape, .layer = 0, .layers = 1, .tokens = n, .qkv = qkv};
  AttentionParams params = {{.mode = AttentionMode::kMultipole, .mass = 0.5f, .max_keys = 64}};
  params.recent = 64;
  params.dense_below = 0;
  AttentionProbe probe(backend_.get());
  const std::vector<int32_t> at = {last};
  const auto weights = probe.Weights(input, params, at);
  const auto run = probe.Run(input, params, false);
  ASSERT_TRUE(weights.ok() && run.ok());
  EXPECT_GT(run->total.pv_centroid, 0);
  for (int32_t h = 0; h < shape.heads; ++h) {
    for (int32_t c = 0; c < kDim; ++c) {
      double expected = 0;
      for (int32_t j = 0; j < n; ++j) {
        const float* value = qkv.data() + size_t(j) * shape.qkv_cols() + 3 * kDim;
        expected += double{(*weights)[size_t(h) * n + j]} * value[c];
      }
      // Mean values are kept in int8, those that the weights are read from as well.
      EXPECT_NEAR(run->output[(size_t(last) * shape.heads + h) * kDim + c], expected, 1e-3);
    }
  }
}

TEST_F(AttentionProbeTest, SampledPositionsHaveTheWeightsOfAFullRun) {
  for (const AttentionParams& params :
       {AttentionParams{{.mode = AttentionMode::kDense}},
        AttentionParams{{.mode = AttentionMode::kAlcca, .theta = 2.0f, .k = 3}}}) {
    const auto all = Weights(params);
    const std::vector<int32_t> positions = {0, 3, 4, 5, 20, 41};
    const auto sampled = AttentionProbe(backend_.get()).Weights(Input(), params, positions);
    ASSERT_TRUE(sampled.ok());
    for (int32_t h = 0; h < shape_.heads; ++h) {
      for (size_t p = 0; p < positions.size(); ++p) {
        for (int32_t j = 0; j < kTokens; ++j) {
          ASSERT_EQ((*sampled)[(h * positions.size() + p) * kTokens + j],
                    all[(size_t(h) * kTokens + positions[p]) * kTokens + j]);
        }
      }
    }
  }
}

TEST_F(AttentionProbeTest, RowsAreTheSameOneByOneAndTogether) {
  const AttentionParams params = {{.mode = AttentionMode::kAlcca, .theta = 2.0f, .k = 3}};
  EXPECT_EQ(Run(params, true).output, Run(params, false).output);
}

TEST_F(AttentionProbeTest, CountersFollowTheFormulas) {
  const ProbeRun run = Run({{.mode = AttentionMode::kAlcca, .theta = 0, .k = 4}});
  for (int32_t i = 0; i < kTokens; ++i) {
    const AttentionCounters& c = run.counters[i];
    EXPECT_EQ(c.qk_exact, shape_.heads * (i + 1));
    EXPECT_EQ(c.pv_exact, shape_.heads * std::min(4, i + 1));
    EXPECT_EQ(c.com_test, shape_.heads);
    EXPECT_EQ(c.dense_equivalent(), 2 * shape_.heads * (i + 1));
  }
}

TEST_F(AttentionProbeTest, AHeadAloneAnswersAsInItsLayer) {
  const AttentionParams params = {{.mode = AttentionMode::kAlcca, .theta = 2.0f, .k = 3}};
  const auto output = Run(params).output;
  for (int32_t h = 0; h < shape_.heads; ++h) {
    const std::vector<float> rows = SliceHeads(Input(), h, 1);
    ProbeInput one = {.shape = {.heads = 1, .kv_heads = 1, .head_dim = kDim},
                      .layer = 1,
                      .layers = 3,
                      .tokens = kTokens,
                      .qkv = rows};
    const auto alone = AttentionProbe(backend_.get()).Run(one, params, true);
    ASSERT_TRUE(alone.ok());
    for (int32_t i = 0; i < kTokens; ++i) {
      for (int32_t c = 0; c < kDim; ++c) {
        EXPECT_EQ(alone->output[size_t(i) * kDim + c],
                  output[(size_t(i) * shape_.heads + h) * kDim + c]);
      }
    }
  }
}

}  // namespace
}  // namespace alcca::lab
