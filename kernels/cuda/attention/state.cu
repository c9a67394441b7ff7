#include "kernels/cuda/attention/state.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "base/check.h"
#include "kernels/cuda/attention/multipole/clusters.h"
#include "kernels/cuda/attention/work.h"

namespace alcca::ALCCA_GPU {
namespace {

constexpr size_t kAlignment = 256;

}  // namespace

StatePool::StatePool(DeviceArray memory) : memory_(std::move(memory)) {
  free_[0] = memory_.bytes() / kAlignment * kAlignment;
}

void* StatePool::Take(size_t bytes) {
  bytes = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  const auto gap = std::find_if(free_.begin(), free_.end(),
                                [bytes](const auto& entry) { return entry.second >= bytes; });
  if (bytes == 0 || gap == free_.end()) {
    return nullptr;
  }
  const auto [offset, size] = *gap;
  free_.erase(gap);
  if (size > bytes) {
    free_[offset + bytes] = size - bytes;
  }
  used_[offset] = bytes;
  lent_ += bytes;
  return memory_.as<unsigned char>() + offset;
}

void StatePool::Give(void* piece) {
  if (piece == nullptr) {
    return;
  }
  size_t offset =
      static_cast<size_t>(static_cast<unsigned char*>(piece) - memory_.as<unsigned char>());
  const auto entry = used_.find(offset);
  ALCCA_CHECK(entry != used_.end());
  size_t size = entry->second;
  used_.erase(entry);
  lent_ -= size;
  const auto after = free_.find(offset + size);
  if (after != free_.end()) {
    size += after->second;
    free_.erase(after);
  }
  const auto next = free_.lower_bound(offset);
  if (next != free_.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second == offset) {
      before->second += size;
      return;
    }
  }
  free_[offset] = size;
}

absl::StatusOr<std::unique_ptr<AttentionStateCuda>> AttentionStateCuda::Make(
    std::shared_ptr<StatePool> pool, const KvShape& shape, const AttentionParams& params) {
  std::unique_ptr<AttentionStateCuda> state(new AttentionStateCuda(std::move(pool), shape));
  if (params.mode == AttentionMode::kAlcca) {
    const size_t heads = size_t(shape.layers) * shape.kv_heads;
    const size_t sums = heads * 4 * shape.head_dim * sizeof(double);
    const size_t roots = heads * 2 * sizeof(int32_t);
    state->sums_ = state->pool_->Take(sums);
    state->roots_ = state->pool_->Take(roots);
    if (state->sums_ == nullptr || state->roots_ == nullptr) {
      return absl::ResourceExhaustedError("no device memory for the running sums of a sequence");
    }
    state->bytes_ = sums + roots;
  }
  if (params.mode == AttentionMode::kMultipole) {
    const size_t point = size_t(shape.layers) * shape.kv_heads * shape.head_dim;
    state->query_sums_ = state->pool_->Take(point * kQuerySlots * sizeof(double));
    state->points_ = state->pool_->Take(point * sizeof(float));
    if (state->query_sums_ == nullptr || state->points_ == nullptr) {
      return absl::ResourceExhaustedError("no device memory for the query sums of a sequence");
    }
    state->bytes_ = point * (kQuerySlots * sizeof(double) + sizeof(float));
  }
  return state;
}

AttentionStateCuda::~AttentionStateCuda() {
  Fail();
  ReleaseFailed();
}

bool AttentionStateCuda::Grow(std::vector<void*>& pieces, size_t count, size_t bytes) {
  while (pieces.size() < count) {
    void* piece = pool_->Take(bytes);
    if (piece == nullptr) {
      return false;
    }
    pieces.push_back(piece);
    bytes_ += bytes;
  }
  return true;
}

bool AttentionStateCuda::ReserveTokens(const AttentionParams& params, int32_t heads,
                                       int32_t tokens) {
  const size_t gaps =
      params.near_share > 0 ? size_t(shape_.layers) * heads * kChunkTokens * sizeof(float) : 0;
  const size_t nodes = params.search == KeySearch::kTree ? size_t(shape_.layers) * shape_.kv_heads *
                                                               kChunkTokens * sizeof(TreeNode)
                                                         : 0;
  chunk_gap_bytes_ = static_cast<int32_t>(gaps);
  if (!failed_ && gaps + nodes > 0 &&
      !Grow(chunks_, size_t(tokens + kChunkTokens - 1) / kChunkTokens, gaps + nodes)) {
    Fail();
  }
  return !failed_;
}

bool AttentionStateCuda::ReserveBlocks(const AttentionParams& params, int32_t blocks) {
  const size_t heads = size_t(shape_.layers) * shape_.kv_heads;
  const size_t inner = heads * ClusterRowsBytes(kBlockClusters, shape_.head_dim);
  const size_t coarse = heads * ClusterRowsBytes(kSegmentBlocks, shape_.head_dim);
  // At least one byte: the bound of a head must not round to none.
  const size_t bytes_max =
      params.index_bytes_max > 0
          ? std::max<size_t>(1, static_cast<size_t>(params.index_bytes_max) / heads)
          : 0;
  if (failed_ || (bytes_max > 0 && ClusterBytes(blocks, shape_.head_dim) > bytes_max) ||
      !Grow(inners_, static_cast<size_t>(blocks), inner) ||
      !Grow(coarses_, static_cast<size_t>((blocks + kSegmentBlocks - 1) / kSegmentBlocks),
            coarse)) {
    Fail();
  }
  return !failed_;
}

void AttentionStateCuda::Fail() {
  failed_ = true;
  bytes_ = 0;
  blocks = 0;
}

void AttentionStateCuda::ReleaseFailed() {
  if (!failed_) {
    return;
  }
  for (std::vector<void*>* pieces : {&chunks_, &inners_, &coarses_}) {
    for (void* piece : *pieces) {
      pool_->Give(piece);
    }
    pieces->clear();
  }
  pool_->Give(std::exchange(sums_, nullptr));
  pool_->Give(std::exchange(roots_, nullptr));
  pool_->Give(std::exchange(query_sums_, nullptr));
  pool_->Give(std::exchange(points_, nullptr));
}

}  // namespace alcca::ALCCA_GPU
