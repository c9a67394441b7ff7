#pragma once

// Logits to tokens. A row's result depends on that row and its own sequence alone, never on the
// batch, so a sequence that was preempted or batched differently draws the same tokens.
//
// Order: logit_bias; repetition penalty (prompt and output); frequency and presence penalties
// (output); end and stop tokens masked before min_tokens; temperature; top_k; top_p; min_p. As vLLM
// defines them: below 1e-5 a temperature is greedy, else it is at least 0.01; logits equal to the
// k-th stay in top_k; top_p keeps the fewest best tokens whose share reaches it; min_p is relative
// to the best token. Ties go to the lower id. Log-probabilities are those of the raw logits.

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "engine/event.h"
#include "engine/plan.h"
#include "engine/request.h"

namespace alcca {

// What one draw depends on beside its logits.
struct SamplingRow {
  const SamplingParams* params = nullptr;
  std::span<const int32_t> prompt;
  std::span<const int32_t> output;  // tokens so far
  int32_t index = 0;                // of the completion, [0, n)
};

// Uniform in [0, 1), a pure function of its arguments: Philox 4x32-10 (Salmon et al. 2011).
double UniformDraw(uint64_t seed, uint32_t index, uint32_t position);

class Sampler {
 public:
  struct Candidate {
    int32_t token = 0;
    float weight = 0;  // probability in units of the best token's
  };

  Sampler(int32_t vocab_size, std::vector<int32_t> eos_token_ids);

  // `logits` [plan.batch.logit_rows, vocab]. Fills in choice, prompt_logprobs and failed.
  void Sample(std::span<const float> logits, Plan& plan);

  // One row [vocab]. False if no token can be drawn: NaN or +inf logits, or every token masked.
  bool SampleRow(std::span<const float> logits, const SamplingRow& row, TokenLogprob* choice);

  // The tokens that may be drawn in order of id, all filters applied; empty if none. Valid until
  // the next call.
  std::span<const Candidate> Distribution(std::span<const float> logits, const SamplingRow& row);

  // log_softmax of the raw row at `token`, and the `top` best tokens. False if not finite.
  static bool Logprobs(std::span<const float> logits, int32_t token, int32_t top,
                       TokenLogprob* out);

 private:
  void Adjust(std::span<const float> logits, const SamplingRow& row);
  void Penalize(const SamplingRow& row);
  void MaskEnds(const SamplingParams& params);
  void KeepTopK(int32_t k);
  void KeepTopP(float p);

  const int32_t vocab_size_;
  const std::vector<int32_t> eos_token_ids_;
  // Scratch, sized at construction.
  std::vector<float> adjusted_;        // [vocab]
  std::vector<float> scratch_;         // [vocab]
  std::vector<int32_t> counts_;        // [vocab], in the output; all 0 between rows
  std::vector<bool> seen_;             // [vocab], in prompt or output; all false between rows
  std::vector<int32_t> touched_;       // ids with seen_
  std::vector<Candidate> candidates_;  // capacity vocab, in order of id
  std::vector<Candidate> order_;       // capacity vocab, partly sorted
};

}  // namespace alcca
