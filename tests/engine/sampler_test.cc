#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <vector>

namespace alcca {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> RandomLogits(std::mt19937& random, int32_t vocab) {
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(vocab);
  std::generate(logits.begin(), logits.end(), [&] { return normal(random); });
  return logits;
}

int32_t Draw(Sampler& sampler, std::span<const float> logits, const SamplingRow& row) {
  TokenLogprob choice;
  EXPECT_TRUE(sampler.SampleRow(logits, row, &choice));
  return choice.token;
}

// The probabilities after every filter, in double and by full sorts. `margin` is how far the
// nearest top_p or min_p decision was from going the other way.
std::vector<double> Naive(const std::vector<float>& logits, const SamplingRow& row,
                          const std::vector<int32_t>& eos, double* margin) {
  const SamplingParams& p = *row.params;
  std::vector<double> x(logits.begin(), logits.end());
  for (const auto& [token, bias] : p.logit_bias)
    x[token] += bias;
  std::map<int32_t, int> output;
  for (const int32_t token : row.output)
    ++output[token];
  std::map<int32_t, int> all = output;
  for (const int32_t token : row.prompt)
    ++all[token];
  for (const auto& [token, count] : all) {
    x[token] = x[token] > 0 ? x[token] / p.repetition_penalty : x[token] * p.repetition_penalty;
  }
  for (const auto& [token, count] : output) {
    x[token] -= p.frequency_penalty * count + p.presence_penalty;
  }
  if (static_cast<int32_t>(row.output.size()) < p.min_tokens) {
    for (const int32_t token : eos)
      x[token] = -kInf;
    for (const int32_t token : p.stop_token_ids)
      x[token] = -kInf;
  }
  for (double& value : x)
    value /= p.temperature;
  std::vector<size_t> order(x.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return x[a] > x[b]; });
  if (p.top_k > 0 && p.top_k < static_cast<int32_t>(x.size())) {
    const double kth = x[order[p.top_k - 1]];
    for (double& value : x)
      value = value < kth ? -kInf : value;
  }
  std::vector<double> prob(x.size());
  const double max = x[order[0]];
  double total = 0;
  for (size_t i = 0; i < x.size(); ++i)
    total += prob[i] = std::exp(x[i] - max);
  *margin = 1;
  if (p.top_p < 1) {
    double before = 0;
    for (const size_t i : order) {
      *margin = std::min(*margin, std::abs(before / total - p.top_p));
      const double mass = prob[i];
      if (before / total >= p.top_p)
        prob[i] = 0;
      before += mass;
    }
  }
  for (double& value : prob) {
    *margin = std::min(*margin, p.min_p > 0 ? std::abs(value - p.min_p) : 1);
    value = value < p.min_p ? 0 : value;
  }
  total = std::accumulate(prob.begin(), prob.end(), 0.0);
  for (double& value : prob)
    value /= total;
  return prob;
}

SamplingParams RandomParams(std::mt19937& random, int32_t vocab) {
  const auto pick = [&](std::initializer_list<float> values) {
    return values.begin()[random() % values.size()];
  };
  SamplingParams p;
  p.temperature = pick({0.1f, 0.7f, 1.0f, 1.0f, 2.5f});
  p.top_k = static_cast<int32_t>(pick({0, 0, 1, 2, 40, 1000000}));
  p.top_p = pick({1.0f, 1.0f, 0.95f, 0.9f, 0.5f, 0.01f});
  p.min_p = pick({0.0f, 0.0f, 0.05f, 0.3f, 1.0f});
  p.repetition_penalty = pick({1.0f, 1.0f, 1.2f, 0.8f});
  p.presence_penalty = pick({0.0f, 0.0f, 1.5f, -2.0f});
  p.frequency_penalty = pick({0.0f, 0.0f, 0.3f, -0.5f});
  p.min_tokens = static_cast<int32_t>(random() % 8);
  if (random() % 2 == 0)
    p.stop_token_ids = {static_cast<int32_t>(random() % vocab)};
  if (random() % 2 == 0) {
    p.logit_bias = {{static_cast<int32_t>(random() % vocab), 5.0f},
                    {static_cast<int32_t>(random() % vocab), -100.0f}};
  }
  return p;
}

TEST(Sampler, DistributionEqualsANaiveOneInDouble) {
  std::mt19937 random(3);
  int compared = 0;
  for (const int32_t vocab : {5, 61, 1000, 4096}) {
    Sampler sampler(vocab, {2});
    for (int i = 0; i < 400; ++i) {
      const std::vector<float> logits = RandomLogits(random, vocab);
      const SamplingParams params = RandomParams(random, vocab);
      std::vector<int32_t> prompt(random() % 20), output(random() % 12);
      for (int32_t& token : prompt)
        token = static_cast<int32_t>(random() % vocab);
      for (int32_t& token : output)
        token = static_cast<int32_t>(random() % vocab);
      const SamplingRow row{&params, prompt, output, 0};
      double margin = 0;
      const std::vector<double> expected = Naive(logits, row, {2}, &margin);
      if (margin < 1e-5) {
        continue;  // float may round the other way
      }
      ++compared;
      std::vector<double> actual(vocab, 0.0);
      double total = 0;
      for (const Sampler::Candidate& c : sampler.Distribution(logits, row))
        total += c.weight;
      for (const Sampler::Candidate& c : sampler.Distribution(logits, row)) {
        actual[c.token] = c.weight / total;
      }
      for (int32_t token = 0; token < vocab; ++token) {
        ASSERT_NEAR(actual[token], expected[token], 2e-6) << "vocab " << vocab << " case " << i;
      }
      ASSERT_GT(expected[Draw(sampler, logits, row)], 0);
    }
  }
  EXPECT_GT(compared, 1200);
}

TEST(Sampler, DrawInvertsTheCumulativeDistribution) {
  Sampler sampler(4, {});
  const std::vector<float> logits = {std::log(0.1f), std::log(0.2f), std::log(0.3f),
                                     std::log(0.4f)};
  const std::vector<int32_t> prompt = {0, 1, 2};
  std::vector<int32_t> output;
  SamplingParams params;
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    params.seed = seed;
    const double u = UniformDraw(seed, 1, 3);
    const int32_t expected = u < 0.1 ? 0 : u < 0.3 ? 1 : u < 0.6 ? 2 : 3;
    if (std::abs(u - 0.1) > 1e-6 && std::abs(u - 0.3) > 1e-6 && std::abs(u - 0.6) > 1e-6) {
      ASSERT_EQ(Draw(sampler, logits, {&params, prompt, output, 1}), expected);
    }
  }
}

// Known answers of the Random123 distribution: philox4x32-10 of counter 0, key 0.
TEST(Sampler, UniformIsPhilox) {
  const uint64_t bits = (uint64_t{0xe169c58d} << 32 | 0x6627e8d5) >> 11;
  EXPECT_EQ(UniformDraw(0, 0, 0), static_cast<double>(bits) * 0x1p-53);
  EXPECT_NE(UniformDraw(0, 0, 1), UniformDraw(0, 0, 0));
  EXPECT_NE(UniformDraw(0, 1, 0), UniformDraw(0, 0, 0));
  EXPECT_NE(UniformDraw(uint64_t{1} << 40, 0, 0), UniformDraw(0, 0, 0));
}

TEST(Sampler, GreedyTakesTheLowestOfEquals) {
  Sampler sampler(5, {});
  SamplingParams params;
  const SamplingRow row{.params = &params, .prompt = {}, .output = {}, .index = 0};
  for (const float temperature : {0.0f, 0.9e-5f}) {
    params.temperature = temperature;
    EXPECT_EQ(Draw(sampler, std::vector<float>{0, 3, -1, 3, 3}, row), 1);
    EXPECT_EQ(Draw(sampler, std::vector<float>{-kInf, -kInf, -7, -kInf, -9}, row), 2);
  }
}

TEST(Sampler, TemperatureIsAtLeastAHundredth) {
  Sampler sampler(2, {});
  SamplingParams params;
  params.temperature = 1e-4f;
  const auto candidates =
      sampler.Distribution(std::vector<float>{0.0f, 0.01f}, {&params, {}, {}, 0});
  EXPECT_NEAR(candidates[0].weight, std::exp(-1.0), 1e-5);
}

TEST(Sampler, TopKKeepsTiesWithTheKth) {
  Sampler sampler(5, {});
  SamplingParams params;
  params.top_k = 2;
  const auto candidates =
      sampler.Distribution(std::vector<float>{1, 4, 1, 2, 2}, {&params, {}, {}, 0});
  ASSERT_EQ(candidates.size(), 3u);
  EXPECT_EQ(candidates[0].token, 1);
  EXPECT_EQ(candidates[1].token, 3);
  EXPECT_EQ(candidates[2].token, 4);
}

TEST(Sampler, MinTokensMasksEveryEnd) {
  Sampler sampler(4, {0, 1});
  SamplingParams params;
  params.temperature = 0;
  params.min_tokens = 2;
  params.stop_token_ids = {2};
  const std::vector<float> logits = {9, 8, 7, 1};
  const std::vector<int32_t> output = {3, 3};
  EXPECT_EQ(Draw(sampler, logits, {&params, {}, std::span(output).first(1), 0}), 3);
  EXPECT_EQ(Draw(sampler, logits, {&params, {}, output, 0}), 0);
}

TEST(Sampler, LogitsThatCannotBeDrawnFromFail) {
  Sampler sampler(3, {0});
  for (const float temperature : {0.0f, 1.0f}) {
    SamplingParams params;
    params.temperature = temperature;
    TokenLogprob choice;
    const SamplingRow row{&params, {}, {}, 0};
    EXPECT_FALSE(sampler.SampleRow(std::vector<float>{1, kNan, 2}, row, &choice));
    EXPECT_FALSE(sampler.SampleRow(std::vector<float>{1, kInf, 2}, row, &choice));
    EXPECT_FALSE(sampler.SampleRow(std::vector<float>{-kInf, -kInf, -kInf}, row, &choice));
    EXPECT_FALSE(Sampler::Logprobs(std::vector<float>{1, kNan, 2}, 0, 1, &choice));
    params.min_tokens = 1;
    EXPECT_FALSE(sampler.SampleRow(std::vector<float>{1, -kInf, -kInf}, row, &choice));
    params.logit_bias = {{1, kInf}};
    EXPECT_FALSE(sampler.SampleRow(std::vector<float>{1, 2, 3}, row, &choice));
  }
}

TEST(Sampler, LogprobsAreOfTheRawLogits) {
  std::mt19937 random(5);
  for (const int32_t vocab : {1, 7, 300}) {
    Sampler sampler(vocab, {});
    for (int i = 0; i < 50; ++i) {
      std::vector<float> logits = RandomLogits(random, vocab);
      logits[random() % vocab] = logits[random() % vocab];  // a tie
      SamplingParams params = RandomParams(random, vocab);
      params.logprobs = static_cast<int32_t>(random() % 9);
      params.min_tokens = 0;
      TokenLogprob choice;
      ASSERT_TRUE(sampler.SampleRow(logits, {&params, {}, {}, 0}, &choice));
      double sum = 0;
      for (const float logit : logits)
        sum += std::exp(double{logit});
      EXPECT_NEAR(choice.logprob, logits[choice.token] - std::log(sum), 2e-5);
      std::vector<int32_t> order(vocab);
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(),
                       [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
      ASSERT_EQ(static_cast<int32_t>(choice.top.size()), std::min(vocab, params.logprobs));
      for (size_t j = 0; j < choice.top.size(); ++j) {
        EXPECT_EQ(choice.top[j].first, order[j]);
        EXPECT_NEAR(choice.top[j].second, logits[order[j]] - std::log(sum), 2e-5);
      }
    }
  }
}

TEST(Sampler, ARowDoesNotDependOnTheRowsBefore) {
  std::mt19937 random(11);
  const int32_t vocab = 200;
  Sampler used(vocab, {2});
  for (int i = 0; i < 500; ++i) {
    const std::vector<float> logits = RandomLogits(random, vocab);
    SamplingParams params = RandomParams(random, vocab);
    params.seed = random();
    std::vector<int32_t> output(random() % 30);
    for (int32_t& token : output)
      token = static_cast<int32_t>(random() % vocab);
    const SamplingRow row{&params, output, output, static_cast<int32_t>(random() % 4)};
    Sampler fresh(vocab, {2});
    ASSERT_EQ(Draw(used, logits, row), Draw(fresh, logits, row));
  }
}

}  // namespace
}  // namespace alcca
