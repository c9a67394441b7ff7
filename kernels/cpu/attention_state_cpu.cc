#include "kernels/cpu/attention_state_cpu.h"

#include <algorithm>
#include <new>

#include "absl/status/status.h"
#include "base/status_macros.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/attention_kernels.h"

namespace alcca {

absl::StatusOr<std::unique_ptr<AttentionStateCpu>> AttentionStateCpu::Make(
    const KvShape& shape, const AttentionParams& params, CpuIsa isa) {
  std::unique_ptr<AttentionStateCpu> state(new AttentionStateCpu(shape.kv_heads));
  if (!TraitsOf(params.mode).keeps_state) {
    return state;
  }
  try {
    state->heads_.resize(size_t(shape.layers) * shape.kv_heads);
    for (Head& head : state->heads_) {
      if (params.mode == AttentionMode::kMultipole) {
        // At least one byte: the bound of a head must not round to none.
        const size_t bytes_max =
            params.index_bytes_max > 0
                ? std::max<size_t>(1, size_t(params.index_bytes_max) / state->heads_.size())
                : 0;
        head.clusters = std::make_unique<KeyClusters>(shape.head_dim, bytes_max);
        continue;
      }
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
    bytes += sizeof(head) + (head.key_sum.size() + head.value_sum.size()) * sizeof(double);
    bytes += head.index != nullptr ? head.index->bytes() : 0;
    bytes += head.clusters != nullptr ? head.clusters->bytes() : 0;
    for (const RunningQuantile& quantile : head.distances) {
      bytes += quantile.bytes();
    }
  }
  return bytes;
}

double AttentionStateCpu::build_seconds() const {
  double seconds = 0;
  for (const Head& head : heads_) {
    seconds += head.build_seconds;
    seconds += head.clusters != nullptr ? head.clusters->build_seconds() : 0;
  }
  return seconds;
}

bool AttentionStateCpu::fell_back() const {
  return std::any_of(heads_.begin(), heads_.end(), [](const Head& head) {
    return head.clusters != nullptr && head.clusters->failed();
  });
}

absl::StatusOr<std::unique_ptr<AttentionState>> MakeAttentionStateCpu(const KvShape& shape,
                                                                      const AttentionParams& params,
                                                                      CpuIsa isa) {
  ASSIGN_OR_RETURN(std::unique_ptr<AttentionStateCpu> state,
                   AttentionStateCpu::Make(shape, params, isa));
  return std::unique_ptr<AttentionState>(std::move(state));
}

}  // namespace alcca
