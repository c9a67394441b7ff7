#include "engine/sampler.h"

#include <array>
#include <utility>

#include "base/check.h"
#include "engine/sequence.h"

namespace alcca {
namespace {

// End and stop tokens are not to be drawn yet. A constraint sees to that itself.
bool MasksEnds(const Sequence& sequence) {
  return sequence.before_min_tokens() && !sequence.constrained();
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

Sampler::Sampler(std::vector<int32_t> eos_token_ids, size_t mask_words)
    : eos_token_ids_(std::move(eos_token_ids)) {
  masks_.reserve(mask_words);
}

// Rows keep spans of masked_ and masks_, so they must not move while they grow.
void Sampler::Reserve(const Plan& plan) {
  size_t masked = 0, words = 0;
  for (const PlannedSequence& planned : plan.sequences) {
    if (planned.samples && planned.sequence->constrained()) {
      words += planned.sequence->mask_words();
    } else if (planned.samples && MasksEnds(*planned.sequence)) {
      masked += eos_token_ids_.size() + planned.sequence->request().sampling.stop_token_ids.size();
    }
  }
  masked_.clear();
  masked_.reserve(masked);
  masks_.clear();
  masks_.reserve(words);
  errors_.assign(plan.sequences.size(), absl::OkStatus());
  constrained_rows_ = 0;
}

std::span<const uint32_t> Sampler::Allowed(Sequence& sequence, absl::Status* error) {
  if (!sequence.constrained()) {
    return {};
  }
  ++constrained_rows_;
  const size_t first = masks_.size();
  masks_.resize(first + sequence.mask_words());
  const std::span<uint32_t> words = std::span(masks_).subspan(first);
  *error = sequence.Allow(words, eos_token_ids_);
  return error->ok() ? words : std::span<uint32_t>();
}

std::span<const SamplingRow> Sampler::Rows(const Plan& plan) {
  rows_.clear();
  Reserve(plan);
  for (size_t at = 0; at < plan.sequences.size(); ++at) {
    const PlannedSequence& planned = plan.sequences[at];
    Sequence& sequence = *planned.sequence;
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
                     .allowed = Allowed(sequence, &errors_[at]),
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
  for (size_t at = 0; at < plan.sequences.size(); ++at) {
    const PlannedSequence& planned = plan.sequences[at];
    StepAnswer& answer = answers_.emplace_back();
    answer.error = std::move(errors_[at]);
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
