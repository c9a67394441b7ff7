#pragma once

// One step: what the scheduler decided, and beside it what the device answered. Commit applies
// both.

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "attention/params.h"
#include "kernels/batch.h"
#include "kernels/sampling.h"

namespace alcca {

class Sequence;

// The part of one sequence in the step; entry i of Plan::sequences is entry i of Batch::sequences.
struct PlannedSequence {
  Sequence* sequence = nullptr;  // owned by the scheduler
  int32_t query_count = 0;       // rows
  Phase phase = Phase::kPrefill;

  // Its rows of the logits are [logit_start, logit_start + prompt_logits + samples): first the rows
  // for prompt_logprobs, then the row from which the next token is drawn.
  int32_t logit_start = 0;
  int32_t prompt_logits = 0;
  bool samples = false;
};

// The scheduler alone writes it, in MakePlan.
struct Plan {
  Batch batch;
  std::vector<PlannedSequence> sequences;
  int32_t preemptions = 0;
  int32_t prefix_asked_tokens = 0, prefix_found_tokens = 0;  // of the sequences admitted
  void Clear() {
    batch.Clear();
    sequences.clear();
    preemptions = prefix_asked_tokens = prefix_found_tokens = 0;
  }
};

// What became of one PlannedSequence: Backend::Sample's answer.
struct StepAnswer {
  absl::Status error;                         // what may be drawn could not be said
  bool failed = false;                        // NaN, infinite or wholly masked logits
  TokenLogprob choice;                        // if samples; log-probabilities only if asked for
  std::vector<TokenLogprob> prompt_logprobs;  // [prompt_logits]
};

}  // namespace alcca
