#pragma once

// What the CPU backend keeps of one sequence, per layer and KV head: for `alcca` running sums of
// keys and values and a key index over the sequence's pages, for `multipole` the clusters of its
// keys.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cpu/cpu_features.h"
#include "kernels/cpu/key_clusters_cpu.h"
#include "kernels/cpu/running_quantile.h"
#include "kernels/key_index.h"

namespace alcca {

class AttentionStateCpu final : public AttentionState {
 public:
  // One layer and KV head. Sums are double and added token by token, so they are the same however
  // the tokens were cut into chunks.
  struct Head {
    std::unique_ptr<KeyIndex> index;
    std::vector<double> key_sum;             // [head_dim]
    std::vector<double> value_sum;           // [head_dim]
    std::vector<RunningQuantile> distances;  // [group], of the near gate; empty: theta is constant
    double build_seconds = 0;
    std::unique_ptr<KeyClusters> clusters;  // multipole has these alone
  };

  static absl::StatusOr<std::unique_ptr<AttentionStateCpu>> Make(const KvShape& shape,
                                                                 const AttentionParams& params,
                                                                 CpuIsa isa);
  Head& head(int32_t layer, int32_t kv_head) { return heads_[layer * kv_heads_ + kv_head]; }
  const Head& head(int32_t layer, int32_t kv_head) const {
    return heads_[layer * kv_heads_ + kv_head];
  }

  size_t bytes() const override;
  double build_seconds() const override;
  bool fell_back() const override;

 private:
  explicit AttentionStateCpu(int32_t kv_heads) : kv_heads_(kv_heads) {}
  int32_t kv_heads_;
  std::vector<Head> heads_;  // [layers * kv_heads], or empty: no state
};

}  // namespace alcca
