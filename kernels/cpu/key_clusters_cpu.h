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

class KeyClusters {
 public:
  // bytes_max: 0 is no bound.
  KeyClusters(int32_t head_dim, size_t bytes_max);

  // Closes the sequence's blocks up to `blocks` and reorders their tokens in the pages. Adds to the
  // task's counters. If memory is refused, failed() is true and the clusters stay empty.
  void Close(const AttentionTask& task, int32_t blocks);
  // Adds the queries of the task's rows to later expansion points. Call it once per row, in order,
  // after Close() for that row.
  void Observe(const AttentionTask& task);
  // Blocks of segments that no later one merges, if a sequence of `tokens` tokens has closed them.
  int32_t FinalBlocks(const AttentionParams& params, int32_t tokens) const;
  // This, which is new, becomes what `from` was after `tokens` tokens. `task`: of the new sequence,
  // its first row at that position. Copies keys and values from `from_pages`, but for those before
  // token `first`, and adds to the task's counters.
  void Fork(const KeyClusters& from, const int32_t* from_pages, int32_t first,
            const AttentionTask& task);
  bool failed() const { return failed_; }
  int32_t blocks() const { return blocks_; }
  // Of the clusters and of what forks need.
  size_t bytes() const;
  double build_seconds() const { return build_seconds_; }

  // Coarse clusters of the segment that `block` is in: as many as it has closed.
  ClusterRows Coarse(int32_t block) const {
    return {coarse_[block / kSegmentBlocks].get(), kSegmentBlocks, head_dim_};
  }
  // The middle and fine clusters of a block (ChildRow).
  ClusterRows Inner(int32_t block) const {
    return {inner_[block].get(), kBlockClusters, head_dim_};
  }
  // p' / sqrt(d), [head_dim].
  const float* expansion_point() const { return point_.data(); }

 private:
  using Memory = std::shared_ptr<unsigned char[]>;  // of ClusterRows; shared by forks when final
  using Order = std::vector<uint16_t>;              // the place before closing of each token

  bool Reserve(int32_t blocks);
  void Close(const AttentionTask& task, int32_t blocks, int32_t position);
  void SetExpansionPoint(const AttentionTask& task, int32_t position);
  void BuildSegment(const AttentionTask& task, int32_t first_block, int32_t blocks);

  const int32_t head_dim_;
  const size_t bytes_max_;
  std::vector<Memory> coarse_;                   // a segment each
  std::vector<std::shared_ptr<Order>> orders_;   // likewise
  std::vector<Memory> inner_;                    // a block each
  std::vector<std::vector<double>> query_sums_;  // [head_dim], of blocks of 256 positions
  std::vector<float> point_;                     // [head_dim]
  int32_t blocks_ = 0;
  bool failed_ = false;
  double build_seconds_ = 0;
};

}  // namespace alcca
