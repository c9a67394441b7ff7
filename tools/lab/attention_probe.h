#pragma once

// Replays recorded queries, keys and values through a backend's attention: its output, its counters
// per query, and the weight that every query gave every token.
//
// Weights need no hook in the kernels. Given q and K, attention is linear in V, and the choice of
// keys does not depend on V. If the values are unit vectors, for head_dim tokens at a time, the
// output is the weights. That holds for every mode, means and clusters included.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"

namespace alcca::lab {

// One layer's rows of one sequence, as Attention receives them.
struct ProbeInput {
  AttentionShape shape;
  int32_t layer = 0;           // which of `layers` it is: parameters may differ by layer
  int32_t layers = 1;          // of the model
  int32_t tokens = 0;          // n
  std::span<const float> qkv;  // [n, shape.qkv_cols()], after RoPE
};

// The parameters of query heads [first, first + count) in `layers` layers of `heads`: where they
// have tables, those columns.
AttentionParams SliceHeadParams(const AttentionParams& params, int32_t layers, int32_t heads,
                                int32_t first, int32_t count);

// Query heads [first, first + count) of one KV head, with that KV head, as rows of their own:
// [n, (count + 2) * head_dim]. A mode that chooses keys for a whole group of query heads may choose
// differently for a part of it.
std::vector<float> SliceHeads(const ProbeInput& input, int32_t first, int32_t count);

struct ProbeRun {
  std::vector<float> output;                // [n, heads * head_dim]
  AttentionCounters total;                  // over all queries and heads
  std::vector<AttentionCounters> counters;  // [n], over all heads; empty if not asked for
};

class AttentionProbe {
 public:
  // `backend` must outlive the probe and keep its buffers in host memory (cpu, reference).
  explicit AttentionProbe(Backend* backend) : backend_(backend) {}

  // RESOURCE_EXHAUSTED if there is no memory for the cache or the state. With `per_query` every row
  // is a call of its own, as in decoding, so that counters can be told apart; the output does not
  // depend on it.
  absl::StatusOr<ProbeRun> Run(const ProbeInput& input, const AttentionParams& params,
                               bool per_query);

  // The weights of the queries at `positions` (ascending, each in [0, n)) on all tokens:
  // [heads, positions, n], zero right of the query. Costs n / head_dim runs; modes whose rows need
  // no history (dense, window, topk) run the positions asked for, others every row before them.
  // Of a closed cluster of `multipole` each is rounded to a 127th of the largest, as values are.
  absl::StatusOr<std::vector<float>> Weights(const ProbeInput& input, const AttentionParams& params,
                                             std::span<const int32_t> positions);

 private:
  Backend* backend_;
};

}  // namespace alcca::lab
