#include "kernels/reference/sampling_reference.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "base/check.h"

namespace alcca {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Steps 1 to 3 of the contract, in f32.
std::vector<float> Adjusted(std::span<const float> logits, const SamplingRow& row) {
  std::vector<float> x(logits.begin(), logits.end());
  for (const auto& [token, bias] : row.bias) {
    x[static_cast<size_t>(token)] += bias;
  }
  if (row.penalizes()) {
    std::map<int32_t, int32_t> counts;  // of the output, 0 where only the prompt has the token
    for (const int32_t token : row.prompt) {
      counts[token] += 0;
    }
    for (const int32_t token : row.output) {
      ++counts[token];
    }
    for (const auto& [token, count] : counts) {
      float& logit = x[static_cast<size_t>(token)];
      logit = logit > 0 ? logit / row.repetition_penalty : logit * row.repetition_penalty;
      logit -= row.frequency_penalty * static_cast<float>(count);
      logit -= count > 0 ? row.presence_penalty : 0.0f;
    }
  }
  for (const int32_t token : row.masked) {
    x[static_cast<size_t>(token)] = -kInfinity;
  }
  for (size_t token = 0; token < x.size() && !row.allowed.empty(); ++token) {
    if ((row.allowed[token / 32] >> (token % 32) & 1) == 0) {
      x[token] = -kInfinity;
    }
  }
  return x;
}

// Whether the greatest logit is a number, and none is NaN.
bool Usable(std::span<const float> x) {
  return std::none_of(x.begin(), x.end(), [](float value) { return std::isnan(value); }) &&
         std::isfinite(*std::max_element(x.begin(), x.end()));
}

// Ids by logit, equals by id.
std::vector<size_t> Ranked(std::span<const float> x) {
  std::vector<size_t> order(x.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [x](size_t a, size_t b) { return x[a] > x[b]; });
  return order;
}

bool Logprobs(std::span<const float> logits, const SamplingRow& row, TokenLogprob* choice) {
  if (!Usable(logits)) {
    return false;
  }
  const std::vector<size_t> order = Ranked(logits);
  const double greatest = logits[order[0]];
  double sum = 0;
  for (const float logit : logits) {
    sum += std::exp(double{logit} - greatest);
  }
  const auto logprob = [&](size_t token) {
    return static_cast<float>(double{logits[token]} - greatest - std::log(sum));
  };
  choice->logprob = logprob(static_cast<size_t>(choice->token));
  const int32_t alternatives = row.alternatives(static_cast<int32_t>(logits.size()));
  for (int32_t i = 0; i < alternatives; ++i) {
    const size_t token = order[static_cast<size_t>(i)];
    choice->top.emplace_back(static_cast<int32_t>(token), logprob(token));
  }
  return true;
}

bool Choose(std::span<const float> logits, const SamplingRow& row, int32_t* token) {
  const std::vector<double> share = DistributionReference(logits, row);
  if (share.empty()) {
    return false;
  }
  double upto = 0;
  for (size_t id = 0; id < share.size() && upto <= row.uniform; ++id) {
    upto += share[id];
    if (share[id] > 0) {  // also where rounding leaves the sum of all below `uniform`
      *token = static_cast<int32_t>(id);
    }
  }
  return true;
}

}  // namespace

std::vector<double> DistributionReference(std::span<const float> logits, const SamplingRow& row) {
  const std::vector<float> x = Adjusted(logits, row);
  if (!Usable(x)) {
    return {};
  }
  const std::vector<size_t> order = Ranked(x);
  const double greatest = x[order[0]];
  std::vector<double> share(x.size(), 0.0);
  if (row.greedy()) {
    share[order[0]] = 1;
    return share;
  }
  size_t kept = x.size();  // of the ranked, the first so many
  if (row.top_k > 0 && static_cast<size_t>(row.top_k) < kept) {
    const float kth = x[order[static_cast<size_t>(row.top_k) - 1]];
    while (x[order[kept - 1]] < kth) {
      --kept;
    }
  }
  double total = 0;
  for (size_t i = 0; i < kept; ++i) {
    total += share[order[i]] = std::exp((x[order[i]] - greatest) / row.divisor());
  }
  if (row.top_p < 1) {
    size_t fewest = 0;
    for (double mass = 0; fewest < kept && mass < row.top_p * total; ++fewest) {
      mass += share[order[fewest]];
    }
    kept = std::max<size_t>(fewest, 1);
  }
  while (x[order[kept - 1]] < greatest + row.min_p_gap()) {
    --kept;
  }
  for (size_t i = kept; i < x.size(); ++i) {
    share[order[i]] = 0;
  }
  total = std::accumulate(share.begin(), share.end(), 0.0);
  for (double& value : share) {
    value /= total;
  }
  return share;
}

void SampleReference(std::span<SampledRow> results, TensorView logits,
                     std::span<const SamplingRow> rows) {
  ALCCA_CHECK(static_cast<size_t>(logits.rows) == rows.size() && results.size() == rows.size());
  const size_t vocab = static_cast<size_t>(logits.cols);
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::span<const float> raw(logits.f32() + i * vocab, vocab);
    const SamplingRow& row = rows[i];
    ALCCA_CHECK(row.allowed.empty() || row.allowed.size() == MaskWords(logits.cols));
    SampledRow& result = results[i];
    result = {};
    result.choice.token = std::max(row.scored, 0);
    result.failed = (row.scored < 0 && !Choose(raw, row, &result.choice.token)) ||
                    (row.wants_logprobs() && !Logprobs(raw, row, &result.choice));
  }
}

}  // namespace alcca
