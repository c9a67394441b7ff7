#pragma once

// The clusters of one sequence in one layer and KV head (kernels/key_clusters.h), in host memory.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/cpu/attention_kernels.h"
#include "kernels/cpu/attention_task.h"
#include "kernels/key_clusters.h"

namespace alcca {

// Clusters of one level, contiguous: their log-mass is
// q . key / sqrt(d) + offset + min(|q - p'|^2 variance / (2 d), 2).
struct ClusterSpan {
  const float* keys = nullptr;       // [n, head_dim]
  const float* values = nullptr;     // [n, head_dim]
  const float* variances = nullptr;  // [n]
  const float* offsets = nullptr;    // [n]
};

class KeyClusters {
 public:
  // bytes_max: 0 is no bound.
  KeyClusters(int32_t head_dim, size_t bytes_max);

  // Closes the sequence's blocks up to `blocks` and reorders their tokens in the pages. Adds to the
  // task's counters. Where memory is refused: failed(), and the clusters are empty for good.
  void Close(const AttentionTask& task, int32_t blocks);
  // Takes the queries of the task's rows into account for later expansion points. Every row once,
  // in order, after Close() for it.
  void Observe(const AttentionTask& task);
  bool failed() const { return failed_; }
  int32_t blocks() const { return blocks_; }
  // Of the clusters and the query sums.
  size_t bytes() const;
  double build_seconds() const { return build_seconds_; }

  // Coarse clusters from block `first` (a multiple of 16) on: as many as its segment has closed.
  ClusterSpan Coarse(int32_t first) const { return Span(coarse_[first / kSegmentBlocks]); }
  // The 16 fine clusters of a block.
  ClusterSpan Fine(int32_t block) const { return Span(fine_[block]); }
  // p' / sqrt(d), [head_dim].
  const float* expansion_point() const { return point_.data(); }

 private:
  static constexpr int32_t kRows = kBlockFines;
  static_assert(kSegmentBlocks == kRows);
  // 16 clusters: float [kRows, d] keys, [kRows, d] values, [kRows] variances, [kRows] offsets.
  using Rows = std::unique_ptr<float[]>;
  // Of the queries of one block of 256 positions.
  struct QuerySum {
    int32_t block = -1;
    std::vector<double> sum;  // [head_dim]
  };

  bool Reserve(int32_t blocks);
  void SetExpansionPoint(const AttentionTask& task);
  void BuildSegment(const AttentionTask& task, int32_t first_block, int32_t blocks);
  void MakeFine(const AttentionTask& task, const float* keys, const float* values, const Rows& fine,
                int32_t f, float* log_mass);
  void MakeCoarse(const AttentionTask& task, const Rows& fine, const float* log_masses,
                  const Rows& coarse, int32_t c);
  float* Key(const Rows& rows, int32_t row) const { return rows.get() + size_t(row) * head_dim_; }
  float* Value(const Rows& rows, int32_t row) const { return Key(rows, kRows + row); }
  float* Variance(const Rows& rows, int32_t row) const { return Key(rows, 2 * kRows) + row; }
  float* Offset(const Rows& rows, int32_t row) const { return Variance(rows, kRows + row); }
  ClusterSpan Span(const Rows& rows) const {
    return {Key(rows, 0), Value(rows, 0), Variance(rows, 0), Offset(rows, 0)};
  }

  const int32_t head_dim_;
  const size_t bytes_max_;
  std::vector<Rows> coarse_;                           // a segment each
  std::vector<Rows> fine_;                             // a block each
  std::array<QuerySum, kQueryBlocks + 1> query_sums_;  // of block b at b % size
  std::vector<float> point_;                           // [head_dim]
  int32_t blocks_ = 0;
  bool failed_ = false;
  double build_seconds_ = 0;
};

}  // namespace alcca
