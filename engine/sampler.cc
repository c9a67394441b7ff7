#include "engine/sampler.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <functional>
#include <iterator>
#include <limits>

#include "engine/sequence.h"
#include "kernels/check.h"

namespace alcca {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kGreedyBelow = 1e-5f;
constexpr float kTemperatureMin = 0.01f;

bool Greedy(const SamplingParams& params) {
  return params.temperature < kGreedyBelow;
}

// The greatest value; NaN if any value is NaN.
float MaxOrNan(std::span<const float> values) {
  float max = -kInfinity;
  bool nan = false;
  for (const float value : values) {
    nan |= value != value;
    max = value > max ? value : max;
  }
  return nan ? std::numeric_limits<float>::quiet_NaN() : max;
}

// e^x for x <= 0 to 2 ulp, -inf included (Cephes expf). No branch and no comparison of floats, so
// that its loops vectorise where those of std::exp do not.
float ExpNegative(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  constexpr int32_t kZero = std::bit_cast<int32_t>(110.0f);  // e^-110 is 0 as a float
  const int32_t magnitude = std::bit_cast<int32_t>(x) & 0x7FFFFFFF;
  const float bounded = -std::bit_cast<float>(magnitude < kZero ? magnitude : kZero);
  const float rounded = bounded * 1.44269504f + kRound;
  const float n = rounded - kRound;
  const float r = (bounded - n * 0.693359375f) + n * 2.12194440e-4f;
  float e = 1.9875691500e-4f;
  e = e * r + 1.3981999507e-3f;
  e = e * r + 8.3334519073e-3f;
  e = e * r + 4.1665795894e-2f;
  e = e * r + 1.6666665459e-1f;
  e = e * r + 5.0000001201e-1f;
  e = e * r * r + r + 1.0f;
  // 2^n as two factors, since n may be below the smallest exponent.
  const int32_t exponent = std::bit_cast<int32_t>(rounded) - std::bit_cast<int32_t>(kRound);
  const int32_t half = exponent >> 1;
  return e * std::bit_cast<float>((half + 127) << 23) *
         std::bit_cast<float>((exponent - half + 127) << 23);
}

void ExpInPlace(std::span<float> x, float max, float scale) {
  for (float& value : x) {
    value = ExpNegative((value - max) * scale);
  }
}

double SumOf(std::span<const float> values) {
  std::array<double, 4> sums{};
  size_t i = 0;
  for (; i + 4 <= values.size(); i += 4) {
    for (size_t j = 0; j < 4; ++j) {
      sums[j] += values[i + j];
    }
  }
  for (; i < values.size(); ++i) {
    sums[0] += values[i];
  }
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

bool Better(const Sampler::Candidate& a, const Sampler::Candidate& b) {
  return a.weight != b.weight ? a.weight > b.weight : a.token < b.token;
}

bool BetterTop(const std::pair<int32_t, float>& a, const std::pair<int32_t, float>& b) {
  return a.second != b.second ? a.second > b.second : a.first < b.first;
}

}  // namespace

double UniformDraw(uint64_t seed, uint32_t index, uint32_t position) {
  std::array<uint32_t, 4> c = {position, index, 0, 0};
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * c[0], b = uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<uint32_t>(b >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(b),
         static_cast<uint32_t>(a >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(a)};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  const uint64_t bits = (uint64_t{c[1]} << 32 | c[0]) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

Sampler::Sampler(int32_t vocab_size, std::vector<int32_t> eos_token_ids)
    : vocab_size_(vocab_size),
      eos_token_ids_(std::move(eos_token_ids)),
      adjusted_(vocab_size),
      scratch_(vocab_size),
      counts_(vocab_size, 0),
      seen_(vocab_size, false) {
  touched_.reserve(vocab_size);
  candidates_.reserve(vocab_size);
  order_.reserve(vocab_size);
}

void Sampler::Sample(std::span<const float> logits, Plan& plan) {
  ALCCA_CHECK(logits.size() == plan.batch.logit_rows.size() * vocab_size_);
  for (PlannedSequence& planned : plan.sequences) {
    const Sequence& sequence = *planned.sequence;
    const SamplingParams& params = sequence.request().sampling;
    const float* row =
        logits.data() + size_t{static_cast<uint32_t>(planned.logit_start)} * vocab_size_;
    const int32_t next = static_cast<int32_t>(sequence.prompt_logprobs_done());
    for (int32_t i = 0; i < planned.prompt_logits; ++i, row += vocab_size_) {
      planned.failed |= !Logprobs({row, size_t(vocab_size_)}, sequence.prompt()[next + i],
                                  params.prompt_logprobs, &planned.prompt_logprobs.emplace_back());
    }
    if (planned.samples) {
      planned.failed |= !SampleRow({row, size_t(vocab_size_)},
                                   {.params = &params,
                                    .prompt = sequence.prompt(),
                                    .output = sequence.output(),
                                    .index = sequence.index()},
                                   &planned.choice);
    }
  }
}

bool Sampler::SampleRow(std::span<const float> logits, const SamplingRow& row,
                        TokenLogprob* choice) {
  const SamplingParams& params = *row.params;
  if (Greedy(params)) {
    Adjust(logits, row);
    const float max = MaxOrNan(adjusted_);
    if (!std::isfinite(max)) {
      return false;
    }
    const auto best = std::find(adjusted_.begin(), adjusted_.end(), max);
    choice->token = static_cast<int32_t>(best - adjusted_.begin());
  } else {
    const std::span<const Candidate> candidates = Distribution(logits, row);
    if (candidates.empty()) {
      return false;
    }
    double total = 0;
    for (const Candidate& candidate : candidates) {
      total += candidate.weight;
    }
    const auto position = static_cast<uint32_t>(row.prompt.size() + row.output.size());
    double left = total * UniformDraw(params.seed, static_cast<uint32_t>(row.index), position);
    choice->token = candidates.front().token;
    for (const Candidate& candidate : candidates) {
      if (candidate.weight > 0) {  // so that rounding at the end never draws the impossible
        choice->token = candidate.token;
      }
      left -= candidate.weight;
      if (left < 0) {
        break;
      }
    }
  }
  return params.logprobs < 0 || Logprobs(logits, choice->token, params.logprobs, choice);
}

std::span<const Sampler::Candidate> Sampler::Distribution(std::span<const float> logits,
                                                          const SamplingRow& row) {
  const SamplingParams& params = *row.params;
  Adjust(logits, row);
  candidates_.clear();
  const float max = MaxOrNan(adjusted_);
  if (!std::isfinite(max)) {
    return {};
  }
  KeepTopK(params.top_k);
  if (Greedy(params)) {
    std::erase_if(candidates_, [max](const Candidate& c) { return c.weight != max; });
    candidates_.resize(1);
  }
  const std::span<float> weights(scratch_.data(), candidates_.size());
  std::transform(candidates_.begin(), candidates_.end(), weights.begin(),
                 [](const Candidate& c) { return c.weight; });
  ExpInPlace(weights, max, 1.0f / std::max(params.temperature, kTemperatureMin));
  for (size_t i = 0; i < weights.size(); ++i) {
    candidates_[i].weight = weights[i];
  }
  if (params.top_p < 1.0f) {
    KeepTopP(params.top_p);
  }
  if (params.min_p > 0.0f) {
    std::erase_if(candidates_, [&](const Candidate& c) { return c.weight < params.min_p; });
  }
  return candidates_;
}

// candidates_ = the k best ids with their adjusted logits, in order of id; k <= 0: all.
void Sampler::KeepTopK(int32_t k) {
  float least = -kInfinity;
  if (k > 0 && k < vocab_size_) {
    std::copy(adjusted_.begin(), adjusted_.end(), scratch_.begin());
    std::nth_element(scratch_.begin(), scratch_.begin() + (k - 1), scratch_.end(),
                     std::greater<>());
    least = scratch_[k - 1];
  }
  for (int32_t token = 0; token < vocab_size_; ++token) {
    if (adjusted_[token] >= least) {
      candidates_.push_back({token, adjusted_[token]});
    }
  }
}

// Finds the last token to keep by halving, in O(vocab): no sort.
void Sampler::KeepTopP(float p) {
  double total = 0;
  for (const Candidate& candidate : candidates_) {
    total += candidate.weight;
  }
  const double wanted = total * p;
  // All the tokens below `least` together are less than the share that may go.
  const double least = (total - wanted) / static_cast<double>(candidates_.size());
  order_.clear();
  std::copy_if(candidates_.begin(), candidates_.end(), std::back_inserter(order_),
               [least](const Candidate& c) { return c.weight >= least; });
  size_t low = 0, high = order_.size();  // the last one lies in [low, high), best first
  for (double before = 0; high - low > 1;) {
    const size_t middle = low + (high - low) / 2;
    std::nth_element(order_.begin() + low, order_.begin() + middle, order_.begin() + high, Better);
    double mass = before;
    for (size_t i = low; i < middle; ++i) {
      mass += order_[i].weight;
    }
    if (mass >= wanted) {
      high = middle;
    } else {
      before = mass;
      low = middle;
    }
  }
  const Candidate last = order_[low];
  std::erase_if(candidates_, [last](const Candidate& c) { return Better(last, c); });
}

void Sampler::Adjust(std::span<const float> logits, const SamplingRow& row) {
  ALCCA_CHECK(static_cast<int32_t>(logits.size()) == vocab_size_);
  const SamplingParams& params = *row.params;
  std::copy(logits.begin(), logits.end(), adjusted_.begin());
  for (const auto& [token, bias] : params.logit_bias) {
    adjusted_[token] += bias;
  }
  if (params.repetition_penalty != 1.0f || params.presence_penalty != 0.0f ||
      params.frequency_penalty != 0.0f) {
    Penalize(row);
  }
  if (static_cast<int32_t>(row.output.size()) < params.min_tokens) {
    MaskEnds(params);
  }
}

void Sampler::Penalize(const SamplingRow& row) {
  const SamplingParams& params = *row.params;
  const auto touch = [this](int32_t token) {
    if (!seen_[token]) {
      seen_[token] = true;
      touched_.push_back(token);
    }
  };
  std::for_each(row.prompt.begin(), row.prompt.end(), touch);
  for (const int32_t token : row.output) {
    touch(token);
    ++counts_[token];
  }
  for (const int32_t token : touched_) {
    float& logit = adjusted_[token];
    logit = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
    logit -= params.frequency_penalty * static_cast<float>(counts_[token]);
    logit -= counts_[token] > 0 ? params.presence_penalty : 0.0f;
    counts_[token] = 0;
    seen_[token] = false;
  }
  touched_.clear();
}

void Sampler::MaskEnds(const SamplingParams& params) {
  for (const int32_t token : eos_token_ids_) {
    adjusted_[token] = -kInfinity;
  }
  for (const int32_t token : params.stop_token_ids) {
    adjusted_[token] = -kInfinity;
  }
}

bool Sampler::Logprobs(std::span<const float> logits, int32_t token, int32_t top,
                       TokenLogprob* out) {
  out->token = token;
  const float max = MaxOrNan(logits);
  if (!std::isfinite(max)) {
    return false;
  }
  double sum = 0;
  std::array<float, 256> block;
  for (size_t i = 0; i < logits.size(); i += block.size()) {
    const auto part = logits.subspan(i, std::min(block.size(), logits.size() - i));
    std::copy(part.begin(), part.end(), block.begin());
    ExpInPlace({block.data(), part.size()}, max, 1.0f);
    sum += SumOf({block.data(), part.size()});
  }
  const auto log_sum = static_cast<float>(std::log(sum));
  out->logprob = logits[token] - max - log_sum;

  auto& best = out->top;  // a heap whose front is the worst of the best
  best.clear();
  const size_t wanted = std::min(logits.size(), static_cast<size_t>(std::max(top, 0)));
  best.reserve(wanted);
  for (size_t i = 0; i < logits.size() && wanted > 0; ++i) {
    if (best.size() == wanted) {
      if (!(logits[i] > best.front().second)) {
        continue;
      }
      std::pop_heap(best.begin(), best.end(), BetterTop);
      best.pop_back();
    }
    best.emplace_back(static_cast<int32_t>(i), logits[i]);
    std::push_heap(best.begin(), best.end(), BetterTop);
  }
  std::sort_heap(best.begin(), best.end(), BetterTop);
  for (auto& [id, value] : best) {
    value = value - max - log_sum;
  }
  return true;
}

}  // namespace alcca
