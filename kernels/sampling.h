#pragma once

// From logits to a token: the questions and the answers of Backend::Sample. Each row of logits has
// one SamplingRow and one SampledRow, and no row depends on another.
//
// In order, as vLLM defines them:
//   1. `bias` is added. 2. Tokens of prompt or output: a positive logit is divided by the
//   repetition penalty, any other multiplied (Keskar et al. 2019); tokens of the output: less
//   frequency * occurrences, less presence. 3. `masked` ids, and those that `allowed` leaves out,
//   become -inf. This gives the adjusted logits, each operation rounded to f32, so that every
//   backend has the same ones, bit for bit.
//   4. Tokens are ranked by adjusted logit, equals by lower id. A temperature below kGreedyBelow
//   takes the first; else a token's weight is exp((logit - greatest) / max(temperature,
//   kTemperatureMin)), and the token is drawn from those that all of these keep:
//     top_k  the k first and all equal to the k-th;
//     top_p  of these, the fewest first ones whose share of the weight reaches top_p (Holtzman et
//            al. 2020);
//     min_p  those with logit >= greatest + temperature * ln(min_p), taken in double: their weight
//            is min_p or more.
//   5. The draw inverts the cumulative weight in order of id: the first token up to which more than
//   `uniform` of the kept weight lies.
// Weights and their sums are f32 or better, so two backends may differ where `uniform` or top_p
// falls within some 1e-7 of a border, nowhere else; a weight below 1e-13 may be 0.
// Log-probabilities are log_softmax of the logits as they came, before step 1.
//
// A row fails, and reports it, if no token can be drawn: its adjusted logits contain a NaN or +inf,
// or all of them are -inf. If log-probabilities are asked for, the same holds for its raw logits.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

namespace alcca {

inline constexpr float kGreedyBelow = 1e-5f;
inline constexpr float kTemperatureMin = 0.01f;

// Words of a set of tokens, a bit for each.
constexpr size_t MaskWords(int32_t vocab) {
  return (static_cast<size_t>(vocab) + 31) / 32;
}

// What becomes of one row of logits. Spans are borrowed until EndStep; ids lie in [0, vocab).
struct SamplingRow {
  float temperature = 0;                                 // >= 0
  int32_t top_k = 0;                                     // < 1: off
  float top_p = 1;                                       // (0, 1]; 1: off
  float min_p = 0;                                       // [0, 1]; 0: off
  float repetition_penalty = 1;                          // > 0
  float presence_penalty = 0;                            // any sign, as the next
  float frequency_penalty = 0;                           //
  std::span<const int32_t> prompt = {}, output = {};     // read where a penalty is on
  std::span<const std::pair<int32_t, float>> bias = {};  // ids distinct
  std::span<const int32_t> masked = {};                  // ids in any number
  // What a constraint allows: bit t % 32 of allowed[t / 32] is token t, MaskWords(vocab) of them;
  // bits from vocab on say nothing. Empty: every token.
  std::span<const uint32_t> allowed = {};
  double uniform = 0;  // [0, 1)
  // Alternatives to report beside the chosen token; 0: its log-probability alone; -1: none of it.
  int32_t top_logprobs = -1;
  // A token id: nothing is drawn and this token is the choice; log-probabilities are computed
  // whatever top_logprobs says. -1: a token is drawn.
  int32_t scored = -1;

  bool greedy() const { return temperature < kGreedyBelow; }
  bool penalizes() const {
    return repetition_penalty != 1.0f || presence_penalty != 0.0f || frequency_penalty != 0.0f;
  }
  bool wants_logprobs() const { return top_logprobs >= 0 || scored >= 0; }
  // Entries of SampledRow's `top` in a vocabulary of so many.
  int32_t alternatives(int32_t vocab) const { return std::clamp(top_logprobs, 0, vocab); }
  double divisor() const { return std::max(temperature, kTemperatureMin); }
  // What min_p adds to the greatest logit to get the least that stays.
  double min_p_gap() const {
    return min_p > 0 ? divisor() * std::log(double{min_p})
                     : -std::numeric_limits<double>::infinity();
  }
  bool adjusts() const {
    return penalizes() || !bias.empty() || !masked.empty() || !allowed.empty();
  }
};

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0.0f;  // natural log, after temperature-free softmax of the raw logits
  std::vector<std::pair<int32_t, float>> top;  // best alternatives, descending
};

struct SampledRow {
  bool failed = false;  // no more than this means anything then
  TokenLogprob choice;  // log-probabilities only if asked for
};

// The size of the largest Sample. A call with more rows, ids or alternatives is split into pieces,
// and each piece waits for the previous one. What a single row asks for must fit.
struct SamplingLimits {
  int32_t rows = 0;  // 0: Sample is not called
  int32_t vocab = 0;
  int32_t row_ids = 0;           // of one row's prompt, output, bias and masked together
  int32_t row_alternatives = 0;  // of one row
  int64_t history = 0;           // prompts and outputs of all rows together
  int32_t constrained = 0;       // rows with `allowed`
};

}  // namespace alcca
