#pragma once

// Between a plan and Backend::Sample (kernels/sampling.h, where the sampling itself is defined):
// the plan's requests as rows of plain numbers, and the rows' results as answers.
//
// A row depends on its own sequence alone, never on the batch, so a sequence that was preempted or
// batched differently draws the same tokens.

#include <cstdint>
#include <span>
#include <vector>

#include "engine/plan.h"
#include "engine/request.h"
#include "kernels/sampling.h"

namespace alcca {

// Uniform in [0, 1), a pure function of its arguments: Philox 4x32-10 (Salmon et al. 2011).
double UniformDraw(uint64_t seed, uint32_t index, uint32_t position);

class Sampler {
 public:
  explicit Sampler(std::vector<int32_t> eos_token_ids);

  // What the plan asks of its logits, one entry per row of batch.logit_rows. Valid until the next
  // call, and only while the plan's sequences do not change.
  std::span<const SamplingRow> Rows(const Plan& plan);
  // The results of Rows, which are moved from, by planned sequence: [plan.sequences]. Valid until
  // the next call, and the caller's to move from.
  std::span<StepAnswer> Answers(const Plan& plan, std::span<SampledRow> results);

 private:
  const std::vector<int32_t> eos_token_ids_;
  std::vector<SamplingRow> rows_;
  std::vector<int32_t> masked_;  // of all rows, one after another
  std::vector<StepAnswer> answers_;
};

}  // namespace alcca
