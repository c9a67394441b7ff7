#include "kernels/cpu/attention_state_cpu.h"

#include <new>

#include "absl/status/status.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/attention_kernels.h"
#include "kernels/status_macros.h"

namespace alcca {

absl::StatusOr<std::unique_ptr<AttentionStateCpu>> AttentionStateCpu::Make(
    const KvShape& shape, const AttentionParams& params, CpuIsa isa) {
  std::unique_ptr<AttentionStateCpu> state(new AttentionStateCpu(shape.kv_heads));
  if (params.mode != AttentionMode::kAlcca) {
    return state;
  }
  try {
    state->heads_.resize(size_t(shape.layers) * shape.kv_heads);
    for (Head& head : state->heads_) {
      const SquaredDistances distances = AttentionKernelsFor(isa).squared_distances;
      if (params.search == KeySearch::kTree) {
        head.index = MakeTreeKeyIndex(
            shape.head_dim, {.distances = params.tree_distances, .recent = params.tree_recent},
            distances);
      } else {
        ASSIGN_OR_RETURN(head.index,
                         MakeFaissKeyIndex(shape.head_dim, shape.page_tokens, distances));
      }
      head.key_sum.assign(shape.head_dim, 0.0);
      head.value_sum.assign(shape.head_dim, 0.0);
    }
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("no memory for the key indices of a sequence");
  }
  return state;
}

size_t AttentionStateCpu::bytes() const {
  size_t bytes = sizeof(*this);
  for (const Head& head : heads_) {
    bytes += sizeof(head) + head.index->bytes() +
             (head.key_sum.size() + head.value_sum.size()) * sizeof(double);
  }
  return bytes;
}

double AttentionStateCpu::build_seconds() const {
  double seconds = 0;
  for (const Head& head : heads_) {
    seconds += head.build_seconds;
  }
  return seconds;
}

absl::StatusOr<std::unique_ptr<AttentionState>> MakeAttentionStateCpu(const KvShape& shape,
                                                                      const AttentionParams& params,
                                                                      CpuIsa isa) {
  ASSIGN_OR_RETURN(std::unique_ptr<AttentionStateCpu> state,
                   AttentionStateCpu::Make(shape, params, isa));
  return std::unique_ptr<AttentionState>(std::move(state));
}

}  // namespace alcca
