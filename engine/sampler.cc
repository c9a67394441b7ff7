#include "engine/sampler.h"

#include <array>
#include <utility>

#include "base/check.h"
#include "engine/sequence.h"

namespace alcca {
namespace {

// End and stop tokens are not to be drawn yet.
bool MasksEnds(const Sequence& sequence) {
  return static_cast<int32_t>(sequence.output().size()) < sequence.request().sampling.min_tokens;
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

Sampler::Sampler(std::vector<int32_t> eos_token_ids) : eos_token_ids_(std::move(eos_token_ids)) {}

std::span<const SamplingRow> Sampler::Rows(const Plan& plan) {
  rows_.clear();
  masked_.clear();
  size_t masked = 0;  // rows keep spans of masked_, so it must not move while it grows
  for (const PlannedSequence& planned : plan.sequences) {
    if (planned.samples && MasksEnds(*planned.sequence)) {
      masked += eos_token_ids_.size() + planned.sequence->request().sampling.stop_token_ids.size();
    }
  }
  masked_.reserve(masked);
  for (const PlannedSequence& planned : plan.sequences) {
    const Sequence& sequence = *planned.sequence;
    const SamplingParams& params = sequence.request().sampling;
    ALCCA_CHECK(planned.logit_start == static_cast<int32_t>(rows_.size()));
    const size_t next = sequence.prompt_logprobs_done();
    for (int32_t i = 0; i < planned.prompt_logits; ++i) {
      rows_.push_back({.top_logprobs = params.prompt_logprobs,
                       .scored = sequence.prompt()[next + static_cast<size_t>(i)]});
    }
    if (!planned.samples) {
      continue;
    }
    const size_t first = masked_.size();
    if (MasksEnds(sequence)) {
      masked_.insert(masked_.end(), eos_token_ids_.begin(), eos_token_ids_.end());
      masked_.insert(masked_.end(), params.stop_token_ids.begin(), params.stop_token_ids.end());
    }
    const std::span<const int32_t> prompt = sequence.prompt(), output = sequence.output();
    rows_.push_back({.temperature = params.temperature,
                     .top_k = params.top_k,
                     .top_p = params.top_p,
                     .min_p = params.min_p,
                     .repetition_penalty = params.repetition_penalty,
                     .presence_penalty = params.presence_penalty,
                     .frequency_penalty = params.frequency_penalty,
                     .prompt = prompt,
                     .output = output,
                     .bias = params.logit_bias,
                     .masked = std::span(masked_).subspan(first),
                     .uniform = UniformDraw(params.seed, static_cast<uint32_t>(sequence.index()),
                                            static_cast<uint32_t>(prompt.size() + output.size())),
                     .top_logprobs = params.logprobs});
  }
  ALCCA_CHECK(rows_.size() == plan.batch.logit_rows.size());
  return rows_;
}

std::span<StepAnswer> Sampler::Answers(const Plan& plan, std::span<SampledRow> results) {
  answers_.clear();
  size_t row = 0;
  for (const PlannedSequence& planned : plan.sequences) {
    StepAnswer& answer = answers_.emplace_back();
    for (int32_t i = 0; i < planned.prompt_logits; ++i, ++row) {
      answer.failed |= results[row].failed;
      answer.prompt_logprobs.push_back(std::move(results[row].choice));
    }
    if (planned.samples) {
      answer.failed |= results[row].failed;
      answer.choice = std::move(results[row++].choice);
    }
  }
  ALCCA_CHECK(row == results.size());
  return answers_;
}

}  // namespace alcca
