// Sampling on the host in a few passes over a row, none of which sorts it. The row is cut into
// blocks of 64 tokens: where the greatest logit of a block is too low, none of it is looked at
// again. Loops over a block compare integers, since a comparison of floats may trap, which keeps
// compilers from vectorising.

#include "kernels/cpu/sampling.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

#include "base/check.h"
#include "kernels/cpu/exp.h"
#include "kernels/cpu/float_order.h"

namespace alcca {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int32_t kIdMax = std::numeric_limits<int32_t>::max();
constexpr size_t kBlock = 64;
constexpr int32_t kRowsPerWorker = 8;

// The highest bits of a logit's order, of floats that are equal the same.
constexpr int32_t kDigitBits = 11;
constexpr size_t kBins = size_t{1} << kDigitBits;
size_t DigitOf(float x) {
  return OrderOf(x) >> (32 - kDigitBits);
}

// e^x for x <= 0, -inf included.
float ExpNegative(float x) {
  constexpr int32_t kZero = std::bit_cast<int32_t>(110.0f);  // e^-110 is 0 as a float
  const int32_t magnitude = std::bit_cast<int32_t>(x) & 0x7FFFFFFF;
  const ExpParts e = Exp(-std::bit_cast<float>(magnitude < kZero ? magnitude : kZero));
  // 2^n as two factors, since n may be below the smallest exponent.
  const int32_t half = e.exponent >> 1;
  return e.mantissa * std::bit_cast<float>((half + 127) << 23) *
         std::bit_cast<float>((e.exponent - half + 127) << 23);
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

// weights = e^((x - greatest) * scale); their sum.
double Exponentials(std::span<const float> x, float greatest, float scale, float* weights) {
  for (size_t i = 0; i < x.size(); ++i) {
    weights[i] = ExpNegative((x[i] - greatest) * scale);
  }
  return SumOf({weights, x.size()});
}

// The last token that stays, in the ranking by logit, equals by lower id.
struct Cut {
  float logit = -kInfinity;
  int32_t token = kIdMax;
  // Without a branch: which way it would go is anybody's guess.
  bool Keeps(float x, int32_t id) const { return (x > logit) | ((x == logit) & (id <= token)); }
};

Cut Stricter(const Cut& a, const Cut& b) {
  return a.Keeps(b.logit, b.token) ? b : a;
}

bool BetterTop(const std::pair<int32_t, float>& a, const std::pair<int32_t, float>& b) {
  return a.second != b.second ? a.second > b.second : a.first < b.first;
}

// Without a branch on a token's bit, so that compilers vectorise it.
void Forbid(std::span<const uint32_t> allowed, std::span<float> x) {
  constexpr uint32_t kMinusInfinity = std::bit_cast<uint32_t>(-kInfinity);
  ALCCA_CHECK(allowed.size() == MaskWords(static_cast<int32_t>(x.size())));
  for (size_t w = 0; w < allowed.size(); ++w) {
    const uint32_t word = allowed[w];
    if (word == ~uint32_t{0}) {
      continue;
    }
    const std::span<float> part = x.subspan(w * 32, std::min<size_t>(32, x.size() - w * 32));
    for (size_t i = 0; i < part.size(); ++i) {
      const uint32_t keep = 0u - (word >> i & 1);
      part[i] = std::bit_cast<float>((std::bit_cast<uint32_t>(part[i]) & keep) |
                                     (kMinusInfinity & ~keep));
    }
  }
}

}  // namespace

class RowSampler {
 public:
  void Reserve(size_t vocab) {
    if (vocab_ < vocab) {
      vocab_ = vocab;
      adjusted_.resize(vocab);
      weights_.resize(vocab);
      marks_.resize(vocab, 0);
      ranked_.reserve(vocab);
      maxima_.resize((vocab + kBlock - 1) / kBlock);
      sums_.resize(maxima_.size());
    }
  }

  void Sample(std::span<const float> logits, const SamplingRow& row, SampledRow* result) {
    result->choice.token = std::max(row.scored, 0);
    result->choice.logprob = 0;
    result->choice.top.clear();
    result->failed = (row.scored < 0 && !Choose(logits, row, &result->choice.token)) ||
                     (row.wants_logprobs() && !Logprobs(logits, row, &result->choice));
  }

 private:
  struct Ranked {
    float logit, weight;
    int32_t token;
  };
  static bool Better(const Ranked& a, const Ranked& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
  }
  static constexpr uint32_t kInPrompt = uint32_t{1} << 31;

  static size_t Blocks(std::span<const float> x) { return (x.size() + kBlock - 1) / kBlock; }
  static std::span<const float> BlockOf(std::span<const float> x, size_t b) {
    return x.subspan(b * kBlock, std::min(kBlock, x.size() - b * kBlock));
  }

  // Fills maxima_; the greatest of all, or NaN if there is one.
  float Greatest(std::span<const float> x);
  bool Choose(std::span<const float> logits, const SamplingRow& row, int32_t* token);
  bool Logprobs(std::span<const float> logits, const SamplingRow& row, TokenLogprob* choice);
  std::span<const float> Adjust(std::span<const float> logits, const SamplingRow& row);
  void Penalize(const SamplingRow& row);
  // The k-th greatest.
  float Kth(std::span<const float> x, int32_t k);
  // Fills weights_ and sums_; a block without a kept token has the sum 0 and no weights.
  void Weigh(std::span<const float> x, float greatest, float scale, float least);
  Cut TopP(std::span<const float> x, float p);
  void Drop(std::span<const float> x, const Cut& cut);
  int32_t Draw(std::span<const float> x, double uniform) const;

  size_t vocab_ = 0;
  std::vector<float> adjusted_;  // [vocab]
  std::vector<float> weights_;   // [vocab]; Kth's scratch before
  std::vector<uint32_t> marks_;  // [vocab]: times in the output, kInPrompt; all 0 between rows
  std::vector<Ranked> ranked_;   // capacity vocab
  std::vector<float> maxima_;    // [blocks]
  std::vector<double> sums_;     // [blocks], of weights_
  std::array<std::array<double, 2>, kBins> bins_;
};

float RowSampler::Greatest(std::span<const float> x) {
  constexpr size_t kLanes = 8;
  std::array<int32_t, kLanes> magnitudes{};
  float greatest = -kInfinity;
  for (size_t b = 0; b < Blocks(x); ++b) {
    const std::span<const float> block = BlockOf(x, b);
    std::array<int32_t, kLanes> orders;
    orders.fill(std::numeric_limits<int32_t>::min());
    const auto take = [&](size_t lane, float value) {
      const int32_t bits = std::bit_cast<int32_t>(value);
      orders[lane] = std::max(orders[lane], OrderOfBits(bits));
      magnitudes[lane] = std::max(magnitudes[lane], bits & 0x7FFFFFFF);
    };
    size_t i = 0;
    for (; i + kLanes <= block.size(); i += kLanes) {
      for (size_t lane = 0; lane < kLanes; ++lane) {
        take(lane, block[i + lane]);
      }
    }
    for (; i < block.size(); ++i) {
      take(0, block[i]);
    }
    maxima_[b] = std::bit_cast<float>(OrderOfBits(*std::max_element(orders.begin(), orders.end())));
    greatest = std::max(greatest, maxima_[b]);
  }
  const bool nan =
      *std::max_element(magnitudes.begin(), magnitudes.end()) > std::bit_cast<int32_t>(kInfinity);
  return nan ? std::numeric_limits<float>::quiet_NaN() : greatest;
}

bool RowSampler::Choose(std::span<const float> logits, const SamplingRow& row, int32_t* token) {
  const std::span<const float> x = Adjust(logits, row);
  const float greatest = Greatest(x);
  if (!std::isfinite(greatest)) {
    return false;
  }
  if (row.greedy()) {
    const auto block = std::find(maxima_.begin(), maxima_.end(), greatest);
    const auto best = std::find(x.begin() + (block - maxima_.begin()) * kBlock, x.end(), greatest);
    *token = static_cast<int32_t>(best - x.begin());
    return true;
  }
  const float scale = static_cast<float>(1.0 / row.divisor());
  Cut cut;
  if (row.top_k > 0 && static_cast<size_t>(row.top_k) < x.size()) {
    cut.logit = Kth(x, row.top_k);
  }
  Cut near;
  if (row.min_p > 0) {
    const double least = greatest + row.min_p_gap();
    near.logit = static_cast<float>(least);
    if (near.logit < least) {
      near.logit = std::nextafter(near.logit, kInfinity);
    }
  }
  if (row.top_p < 1) {
    Weigh(x, greatest, scale, cut.logit);
    Drop(x, Stricter(TopP(x, row.top_p), near));
  } else {
    Weigh(x, greatest, scale, Stricter(cut, near).logit);
  }
  *token = Draw(x, row.uniform);
  return true;
}

// Steps 1 to 3 of the contract.
std::span<const float> RowSampler::Adjust(std::span<const float> logits, const SamplingRow& row) {
  if (!row.adjusts()) {
    return logits;
  }
  std::copy(logits.begin(), logits.end(), adjusted_.begin());
  for (const auto& [token, bias] : row.bias) {
    adjusted_[static_cast<size_t>(token)] += bias;
  }
  if (row.penalizes()) {
    Penalize(row);
  }
  for (const int32_t token : row.masked) {
    adjusted_[static_cast<size_t>(token)] = -kInfinity;
  }
  if (!row.allowed.empty()) {
    Forbid(row.allowed, {adjusted_.data(), logits.size()});
  }
  return {adjusted_.data(), logits.size()};
}

void RowSampler::Penalize(const SamplingRow& row) {
  for (const int32_t token : row.prompt) {
    marks_[static_cast<size_t>(token)] = kInPrompt;
  }
  for (const int32_t token : row.output) {
    ++marks_[static_cast<size_t>(token)];
  }
  for (const std::span<const int32_t> tokens : {row.prompt, row.output}) {
    for (const int32_t token : tokens) {
      uint32_t& mark = marks_[static_cast<size_t>(token)];
      if (mark == 0) {
        continue;  // done
      }
      const uint32_t count = mark & ~kInPrompt;
      float& logit = adjusted_[static_cast<size_t>(token)];
      logit = logit > 0 ? logit / row.repetition_penalty : logit * row.repetition_penalty;
      logit -= row.frequency_penalty * static_cast<float>(count);
      logit -= count > 0 ? row.presence_penalty : 0.0f;
      mark = 0;
    }
  }
}

// The k-th greatest maximum of a block is no greater than the k-th greatest of all: what lies below
// it need not be ranked.
float RowSampler::Kth(std::span<const float> x, int32_t k) {
  const size_t blocks = Blocks(x), last = static_cast<size_t>(k) - 1;
  float least = -kInfinity;
  if (last < blocks) {
    std::copy_n(maxima_.begin(), blocks, weights_.begin());
    std::nth_element(weights_.begin(), weights_.begin() + last, weights_.begin() + blocks,
                     std::greater<>());
    least = weights_[last];
  }
  auto end = weights_.begin();
  for (size_t b = 0; b < blocks; ++b) {
    if (maxima_[b] >= least) {
      const std::span<const float> block = BlockOf(x, b);
      end = std::copy_if(block.begin(), block.end(), end,
                         [least](float value) { return value >= least; });
    }
  }
  std::nth_element(weights_.begin(), weights_.begin() + last, end, std::greater<>());
  return weights_[last];
}

void RowSampler::Weigh(std::span<const float> x, float greatest, float scale, float least) {
  for (size_t b = 0; b < Blocks(x); ++b) {
    sums_[b] = 0;
    if (maxima_[b] < least) {
      continue;
    }
    const std::span<const float> block = BlockOf(x, b);
    float* const weights = weights_.data() + b * kBlock;
    sums_[b] = Exponentials(block, greatest, scale, weights);
    if (least > -kInfinity) {
      for (size_t i = 0; i < block.size(); ++i) {
        weights[i] = block[i] >= least ? weights[i] : 0.0f;
      }
      sums_[b] = SumOf({weights, block.size()});
    }
  }
}

// A histogram over the first digit of the logits' order leaves one bin to look into; there the last
// token to keep is found by halving. No sort.
Cut RowSampler::TopP(std::span<const float> x, float p) {
  double total = 0;
  for (size_t b = 0; b < Blocks(x); ++b) {
    total += sums_[b];
  }
  const double wanted = total * p;
  // Two histograms in turns: a sum need not wait for the one before where both are of one bin.
  bins_.fill({});
  for (size_t b = 0; b < Blocks(x); ++b) {
    if (sums_[b] > 0) {
      for (size_t i = b * kBlock; i < std::min(x.size(), (b + 1) * kBlock); ++i) {
        bins_[DigitOf(x[i])][i % 2] += weights_[i];
      }
    }
  }
  size_t digit = 0;
  double before = 0, upto = 0;  // of `digit`
  for (size_t d = kBins; d-- > 0 && upto < wanted;) {
    if (const double mass = bins_[d][0] + bins_[d][1]; mass > 0) {
      digit = d;  // the last one too, where rounding leaves the sum of all below `wanted`
      before = upto;
      upto += mass;
    }
  }
  ranked_.clear();
  for (size_t b = 0; b < Blocks(x); ++b) {
    if (sums_[b] > 0 && DigitOf(maxima_[b]) >= digit) {
      for (size_t i = b * kBlock; i < std::min(x.size(), (b + 1) * kBlock); ++i) {
        if (DigitOf(x[i]) == digit && weights_[i] > 0) {
          ranked_.push_back({x[i], weights_[i], static_cast<int32_t>(i)});
        }
      }
    }
  }
  size_t low = 0, high = ranked_.size();  // the last one lies in [low, high), best first
  while (high - low > 1) {
    const size_t middle = low + (high - low) / 2;
    std::nth_element(ranked_.begin() + low, ranked_.begin() + middle, ranked_.begin() + high,
                     Better);
    double mass = before;
    for (size_t i = low; i < middle; ++i) {
      mass += ranked_[i].weight;
    }
    if (mass >= wanted) {
      high = middle;
    } else {
      before = mass;
      low = middle;
    }
  }
  return {ranked_[low].logit, ranked_[low].token};
}

void RowSampler::Drop(std::span<const float> x, const Cut& cut) {
  for (size_t b = 0; b < Blocks(x); ++b) {
    if (sums_[b] == 0) {
      continue;
    }
    sums_[b] = 0;
    if (maxima_[b] < cut.logit) {
      continue;
    }
    const std::span<const float> block = BlockOf(x, b);
    float* const weights = weights_.data() + b * kBlock;
    const auto first = static_cast<int32_t>(b * kBlock);
    for (size_t i = 0; i < block.size(); ++i) {
      const bool keeps = cut.Keeps(block[i], first + static_cast<int32_t>(i));
      weights[i] = std::bit_cast<float>(std::bit_cast<int32_t>(weights[i]) & -int32_t{keeps});
    }
    sums_[b] = SumOf({weights, block.size()});
  }
}

int32_t RowSampler::Draw(std::span<const float> x, double uniform) const {
  double total = 0;
  for (size_t b = 0; b < Blocks(x); ++b) {
    total += sums_[b];
  }
  const double wanted = total * uniform;
  size_t block = 0;
  double before = 0, upto = 0;  // of `block`
  for (size_t b = 0; b < Blocks(x) && upto <= wanted; ++b) {
    if (sums_[b] > 0) {
      block = b;
      before = upto;
      upto += sums_[b];
    }
  }
  size_t token = block * kBlock;
  for (size_t i = token; i < std::min(x.size(), (block + 1) * kBlock) && before <= wanted; ++i) {
    before += weights_[i];
    if (weights_[i] > 0) {  // also where rounding leaves the sum of all below `wanted`
      token = i;
    }
  }
  return static_cast<int32_t>(token);
}

bool RowSampler::Logprobs(std::span<const float> logits, const SamplingRow& row,
                          TokenLogprob* choice) {
  const float greatest = Greatest(logits);
  if (!std::isfinite(greatest)) {
    return false;
  }
  double sum = 0;
  std::array<float, kBlock> weights;
  for (size_t b = 0; b < Blocks(logits); ++b) {
    sum += Exponentials(BlockOf(logits, b), greatest, 1.0f, weights.data());
  }
  const auto log_sum = static_cast<float>(std::log(sum));
  choice->logprob = logits[static_cast<size_t>(choice->token)] - greatest - log_sum;

  auto& best = choice->top;  // a heap whose front is the worst of the best
  const size_t wanted = static_cast<size_t>(row.alternatives(static_cast<int32_t>(logits.size())));
  best.reserve(wanted);
  for (size_t b = 0; b < Blocks(logits) && wanted > 0; ++b) {
    if (best.size() == wanted && !(maxima_[b] > best.front().second)) {
      continue;
    }
    for (size_t i = b * kBlock; i < std::min(logits.size(), (b + 1) * kBlock); ++i) {
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
  }
  std::sort_heap(best.begin(), best.end(), BetterTop);
  for (auto& [id, value] : best) {
    value = value - greatest - log_sum;
  }
  return true;
}

SamplerCpu::SamplerCpu(ThreadPool& pool, const SamplingLimits& limits) : pool_(pool) {
  const int32_t count = std::clamp(limits.rows / kRowsPerWorker, 1, pool.threads());
  for (int32_t i = 0; i < count; ++i) {
    workers_.push_back(std::make_unique<RowSampler>());
    workers_.back()->Reserve(static_cast<size_t>(limits.vocab));
  }
}

SamplerCpu::~SamplerCpu() = default;

void SamplerCpu::Sample(std::span<SampledRow> results, TensorView logits,
                        std::span<const SamplingRow> rows) {
  ALCCA_CHECK(static_cast<size_t>(logits.rows) == rows.size() && results.size() == rows.size());
  const size_t vocab = static_cast<size_t>(logits.cols);
  for (const auto& worker : workers_) {
    worker->Reserve(vocab);
  }
  std::atomic<size_t> next = 0;
  const size_t tasks = std::min(rows.size(), workers_.size());
  pool_.ParallelFor(static_cast<int32_t>(tasks), [&](int32_t task) {
    for (size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < rows.size();) {
      workers_[static_cast<size_t>(task)]->Sample({logits.f32() + i * vocab, vocab}, rows[i],
                                                  &results[i]);
    }
  });
}

}  // namespace alcca
