// What a plan asks of its logits. How a row is answered: tests/conformance/sampling_test.cc.

#include "engine/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <vector>

#include "kernels/backend.h"
#include "kernels/make_backend.h"
#include "tests/testing/scheduler_harness.h"

namespace alcca {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::MakeRequest;
using testing::SchedulerHarness;

// Known answers of the Random123 distribution: philox4x32-10 of counter 0, key 0.
TEST(Sampler, UniformIsPhilox) {
  const uint64_t bits = (uint64_t{0xe169c58d} << 32 | 0x6627e8d5) >> 11;
  EXPECT_EQ(UniformDraw(0, 0, 0), static_cast<double>(bits) * 0x1p-53);
  EXPECT_NE(UniformDraw(0, 0, 1), UniformDraw(0, 0, 0));
  EXPECT_NE(UniformDraw(0, 1, 0), UniformDraw(0, 0, 0));
  EXPECT_NE(UniformDraw(uint64_t{1} << 40, 0, 0), UniformDraw(0, 0, 0));
}

// Pearson's chi-square over what seeds, indices and positions draw: below its 99.9th percentile for
// 3 degrees of freedom.
TEST(Sampler, DrawsFollowTheDistribution) {
  constexpr int32_t kRows = 512, kCalls = 40;
  constexpr std::array<double, 4> kShares = {0.1, 0.2, 0.3, 0.4};
  const auto backend = MakeCpuBackend({.threads = 1, .isa = "auto", .limits = {}}).value();
  const auto logits = backend->Allocate(kRows, 4).value();
  for (int32_t i = 0; i < 4 * kRows; ++i) {
    logits->view().f32()[i] = static_cast<float>(std::log(kShares[static_cast<size_t>(i % 4)]));
  }
  for (const int varies : {0, 1, 2}) {
    std::array<double, 4> counts{};
    for (uint32_t call = 0; call < kCalls; ++call) {
      std::vector<SamplingRow> rows;
      for (uint32_t i = call * kRows; i < (call + 1) * kRows; ++i) {
        const double uniform = UniformDraw(varies == 0 ? i : 7, varies == 1 ? i : 0,  //
                                           varies == 2 ? i : 3);
        rows.push_back({.temperature = 1, .uniform = uniform});
      }
      std::vector<SampledRow> results(kRows);
      backend->Sample(results, logits->view(), rows);
      for (const SampledRow& result : results) {
        ++counts[static_cast<size_t>(result.choice.token)];
      }
    }
    double chi_square = 0;
    for (size_t token = 0; token < 4; ++token) {
      const double expected = kShares[token] * kRows * kCalls;
      chi_square += (counts[token] - expected) * (counts[token] - expected) / expected;
    }
    EXPECT_LT(chi_square, 16.27) << varies;
  }
}

TEST(Sampler, RowsSayWhatTheRequestsAsk) {
  SchedulerHarness harness({.max_context = 64, .eos_token_ids = {2, 40}}, {});
  Request request = MakeRequest(1, 5, 3);
  SamplingParams& p = request.sampling;
  p.temperature = 0.7f;
  p.top_k = 30;
  p.top_p = 0.9f;
  p.min_p = 0.05f;
  p.repetition_penalty = 1.2f;
  p.presence_penalty = 0.5f;
  p.frequency_penalty = -0.25f;
  p.seed = 99;
  p.min_tokens = 1;
  p.stop_token_ids = {7, 3};
  p.ignore_eos = true;
  p.logit_bias = {{4, 1.5f}};
  p.logprobs = 2;
  p.prompt_logprobs = 3;
  harness.Submit(request);
  harness.Submit(MakeRequest(2, 4, 3));
  Sampler sampler({2, 40});
  harness.Step([&](const Plan& plan) {
    const auto rows = sampler.Rows(plan);
    ASSERT_EQ(rows.size(), 6u);  // four prompt tokens follow another; two draws
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(rows[i].scored, request.prompt[i + 1]);
      EXPECT_EQ(rows[i].top_logprobs, 3);
    }
    const SamplingRow& row = rows[4];
    EXPECT_EQ(row.scored, -1);
    EXPECT_EQ(row.temperature, 0.7f);
    EXPECT_EQ(row.top_k, 30);
    EXPECT_EQ(row.top_p, 0.9f);
    EXPECT_EQ(row.min_p, 0.05f);
    EXPECT_EQ(row.repetition_penalty, 1.2f);
    EXPECT_EQ(row.presence_penalty, 0.5f);
    EXPECT_EQ(row.frequency_penalty, -0.25f);
    EXPECT_THAT(row.prompt, ::testing::ElementsAreArray(request.prompt));
    EXPECT_THAT(row.output, IsEmpty());
    EXPECT_THAT(row.masked, ElementsAre(2, 40, 7, 3));  // before min_tokens
    EXPECT_THAT(row.bias, ElementsAre(::testing::Pair(4, 1.5f)));
    EXPECT_EQ(row.uniform, UniformDraw(99, 0, 5));
    EXPECT_EQ(row.top_logprobs, 2);
    EXPECT_TRUE(rows[5].greedy());
    EXPECT_FALSE(rows[5].adjusts());
    EXPECT_FALSE(rows[5].wants_logprobs());
  });
  harness.Step([&](const Plan& plan) {
    const auto rows = sampler.Rows(plan);
    ASSERT_EQ(rows.size(), 2u);
    EXPECT_EQ(rows[0].output.size(), 1u);
    EXPECT_THAT(rows[0].masked, IsEmpty());
    EXPECT_EQ(rows[0].uniform, UniformDraw(99, 0, 6));
  });
  harness.Finish();
  const auto& done = harness.completions().at(1);
  ASSERT_EQ(done.prompt_logprobs.size(), 5u);
  EXPECT_EQ(done.prompt_logprobs[4].token, request.prompt[4]);
  EXPECT_EQ(done.prompt_logprobs[4].top.size(), 3u);
  EXPECT_EQ(done.logprobs.size(), done.tokens.size());
}

}  // namespace
}  // namespace alcca
