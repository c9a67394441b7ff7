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
  // `mask_words`: words of the masks of a step's constrained rows, of which memory is taken here.
  explicit Sampler(std::vector<int32_t> eos_token_ids, size_t mask_words = 0);

  // What the plan asks of its logits, one entry per row of batch.logit_rows. Valid until the next
  // call, and only while the plan's sequences do not change.
  std::span<const SamplingRow> Rows(const Plan& plan);
  // The results of Rows, which are moved from, by planned sequence: [plan.sequences]. Valid until
  // the next call, and the caller's to move from.
  std::span<StepAnswer> Answers(const Plan& plan, std::span<SampledRow> results);
  // Of the last Rows: those under a constraint.
  int32_t constrained_rows() const { return constrained_rows_; }

 private:
  void Reserve(const Plan& plan);
  // What the constraint of the row's sequence allows; nothing if that is an error.
  std::span<const uint32_t> Allowed(Sequence& sequence, absl::Status* error);

  const std::vector<int32_t> eos_token_ids_;
  std::vector<SamplingRow> rows_;
  std::vector<int32_t> masked_;       // of all rows, one after another
  std::vector<uint32_t> masks_;       // likewise, of constrained rows
  std::vector<absl::Status> errors_;  // [plan.sequences] of their masks
  int32_t constrained_rows_ = 0;
  std::vector<StepAnswer> answers_;
};

}  // namespace alcca
