#pragma once

// The clusters of one sequence in one layer and KV head (kernels/key_clusters.h), in host memory.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/cpu/attention_kernels.h"
#include "kernels/cpu/attention_task.h"
#include "kernels/key_clusters.h"

namespace alcca {

// Means and variances of the clusters of one level, contiguous.
struct ClusterSpan {
  const float* keys = nullptr;       // [n, head_dim]
  const float* values = nullptr;     // [n, head_dim]
  const float* variances = nullptr;  // [n]
};

class KeyClusters {
 public:
  // bytes_max: 0 is no bound.
  KeyClusters(int32_t head_dim, size_t bytes_max) : head_dim_(head_dim), bytes_max_(bytes_max) {}

  // Closes the sequence's blocks up to `blocks` and reorders their tokens in the pages. Adds to the
  // task's counters. Where memory is refused: failed(), and the clusters are empty for good.
  void Close(const AttentionTask& task, int32_t blocks);
  bool failed() const { return failed_; }
  int32_t blocks() const { return blocks_; }
  size_t bytes() const { return ClusterBytes(static_cast<int32_t>(fine_.size()), head_dim_); }
  double build_seconds() const { return build_seconds_; }

  // Coarse clusters from block `first` (a multiple of 16) on: as many as its segment has closed.
  ClusterSpan Coarse(int32_t first) const { return Span(coarse_[first / kSegmentBlocks]); }
  // The 16 fine clusters of a block.
  ClusterSpan Fine(int32_t block) const { return Span(fine_[block]); }

 private:
  static constexpr int32_t kRows = kBlockFines;
  static_assert(kSegmentBlocks == kRows);
  // 16 clusters: float [kRows, d] keys, [kRows, d] values, [kRows] variances.
  using Rows = std::unique_ptr<float[]>;

  bool Reserve(int32_t blocks);
  void BuildSegment(const AttentionTask& task, int32_t first_block, int32_t blocks);
  float* Key(const Rows& rows, int32_t row) const { return rows.get() + size_t(row) * head_dim_; }
  float* Value(const Rows& rows, int32_t row) const { return Key(rows, kRows + row); }
  float* Variance(const Rows& rows, int32_t row) const { return Key(rows, 2 * kRows) + row; }
  ClusterSpan Span(const Rows& rows) const {
    return {Key(rows, 0), Value(rows, 0), Variance(rows, 0)};
  }

  const int32_t head_dim_;
  const size_t bytes_max_;
  std::vector<Rows> coarse_;  // a segment each
  std::vector<Rows> fine_;    // a block each
  int32_t blocks_ = 0;
  bool failed_ = false;
  double build_seconds_ = 0;
};

}  // namespace alcca
