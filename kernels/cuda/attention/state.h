#pragma once

// What the device remembers of one sequence beside its pages, and the pool it comes from.

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cuda/device_words/runtime.h"

namespace alcca::ALCCA_GPU {

// One array of device memory, taken at start-up, lent in pieces: first fit, neighbours merge when
// they come back. Host work only. A piece may be lent again at once: kernels run in stream order.
class StatePool {
 public:
  explicit StatePool(DeviceArray memory);
  // Null where no gap is large enough. 256-byte aligned.
  void* Take(size_t bytes);
  void Give(void* piece);
  size_t lent() const { return lent_; }

 private:
  DeviceArray memory_;
  std::map<size_t, size_t> free_;  // offset -> bytes
  std::map<size_t, size_t> used_;
  size_t lent_ = 0;
};

// The memory depends on the mode. alcca takes its running sums at once, and one piece per 256
// tokens for gate distances (if theta is a running quantile) and tree nodes (for tree search).
// multipole takes its query sums at once, one piece of kBlockClusters clusters per closed block,
// and one piece of coarse clusters per kSegmentBlocks blocks. Other modes take nothing.
class AttentionStateCuda final : public AttentionState {
 public:
  // RESOURCE_EXHAUSTED: the pool has no room for the sums.
  static absl::StatusOr<std::unique_ptr<AttentionStateCuda>> Make(std::shared_ptr<StatePool> pool,
                                                                  const KvShape& shape,
                                                                  const AttentionParams& params);
  ~AttentionStateCuda() override;

  // What the sequence holds; 0 once it fell back.
  size_t bytes() const override { return bytes_; }
  // Building is enqueued, not waited for: its time is part of the step's and not known apart.
  double build_seconds() const override { return 0; }
  bool fell_back() const override { return failed_; }

  // alcca: room for `tokens`. False: there is none, and the sequence is answered by dense from now
  // on. `heads`: query heads.
  bool ReserveTokens(const AttentionParams& params, int32_t heads, int32_t tokens);
  // multipole: room for so many closed blocks; false as above. Obeys index_bytes_max.
  bool ReserveBlocks(const AttentionParams& params, int32_t blocks);
  void Fail();
  // Pieces of a failed state that kernels of its last step may still have read.
  void ReleaseFailed();

  double* sums() const { return static_cast<double*>(sums_); }
  int32_t* roots() const { return static_cast<int32_t*>(roots_); }
  double* query_sums() const { return static_cast<double*>(query_sums_); }
  float* points() const { return static_cast<float*>(points_); }
  const std::vector<void*>& chunks() const { return chunks_; }
  const std::vector<void*>& inners() const { return inners_; }
  const std::vector<void*>& coarses() const { return coarses_; }
  int32_t chunk_gap_bytes() const { return chunk_gap_bytes_; }

  int32_t blocks = 0;  // closed so far, by the plan
  int32_t tokens = 0;  // in sums and trees, by the plan

 private:
  AttentionStateCuda(std::shared_ptr<StatePool> pool, const KvShape& shape)
      : pool_(std::move(pool)), shape_(shape) {}
  bool Grow(std::vector<void*>& pieces, size_t count, size_t bytes);

  const std::shared_ptr<StatePool> pool_;
  const KvShape shape_;
  void* sums_ = nullptr;
  void* roots_ = nullptr;
  void* query_sums_ = nullptr;
  void* points_ = nullptr;
  std::vector<void*> chunks_, inners_, coarses_;
  int32_t chunk_gap_bytes_ = 0;
  size_t bytes_ = 0;
  bool failed_ = false;
};

}  // namespace alcca::ALCCA_GPU
