#pragma once

// The machine that a model needs, and the speed that it can reach: the daemon's own memory plan,
// and two bounds of a step, memory bandwidth and arithmetic. Formulas: docs/sizing.md.

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "engine/model/memory_plan.h"

namespace alcca::lab {

struct SizeQuestion {
  MemoryLimits limits;          // max_context and max_num_seqs of the wanted load, both > 0
  int64_t prefill_chunk = 256;  // prompt tokens of one step
  // Of the machine; 0: not known, then nothing is said about speed.
  double bytes_per_second = 0;
  double flops_per_second = 0;  // multiply and add are two
};

// One step: what it reads, computes, and takes at least.
struct StepRoof {
  double bytes = 0, flops = 0;
  std::optional<double> seconds = std::nullopt;  // none without a known roof
  bool by_bandwidth = true;                      // which of the two is nearer
};

struct SizeAnswer {
  MemoryPlan plan;
  int64_t kv_bytes_per_token = 0;
  int64_t index_bytes_per_token = 0;  // at most: of alcca's tree or multipole's clusters
  double parameters = 0;              // that a token is multiplied with: all but the embedding
  // Every sequence at half of its context, dense attention.
  StepRoof decode;
  std::optional<double> decode_tokens_per_second, decode_tokens_per_second_each;
  // A prompt of the whole context, alone.
  StepRoof prefill;
  std::optional<double> prefill_tokens_per_second;
};

// kv_cache_bytes 0 in the limits: exactly what the load takes. INVALID_ARGUMENT as PlanMemory.
absl::StatusOr<SizeAnswer> AnswerSize(const ModelConfig& model, SizeQuestion question);

}  // namespace alcca::lab
