#pragma once

// The share of one ParallelFor task: some rows of one sequence, one KV head and its query heads.

#include <algorithm>
#include <cstdint>

#include "kernels/backend.h"
#include "kernels/cpu/attention_kernels.h"
#include "kernels/host/kv_cache_host.h"

namespace alcca {

struct AttentionTask {
  const AttentionKernels& kernels;
  const AttentionShape& shape;
  KvCacheHost& kv;
  const BatchSequence& sequence;
  TensorView qkv;  // the whole step's rows, rotated
  TensorView out;
  int32_t layer = 0;
  int32_t kv_head = 0;
  int32_t row_begin = 0;  // rows of the sequence, [row_begin, row_end)
  int32_t row_end = 0;
  AttentionCounters* counters = nullptr;  // this task's own; summed afterwards

  int32_t group() const { return shape.heads / shape.kv_heads; }
  int32_t position(int32_t row) const { return sequence.position(row); }
  const AttentionParams& params() const { return *sequence.attention; }
  // Query head g of the group, [head_dim].
  const float* Query(int32_t row, int32_t g) const {
    return qkv.f32() + size_t(sequence.query_start + row) * qkv.cols +
           size_t(kv_head * group() + g) * shape.head_dim;
  }
  float* Out(int32_t row, int32_t g) const {
    return out.f32() + size_t(sequence.query_start + row) * out.cols +
           size_t(kv_head * group() + g) * shape.head_dim;
  }
  // Key and value of token t, [head_dim]; tokens of a page are contiguous.
  float* Key(int32_t t) const {
    const int32_t page_tokens = kv.shape().page_tokens;
    return kv.Keys(layer, sequence.pages[t / page_tokens], kv_head) +
           size_t(t % page_tokens) * shape.head_dim;
  }
  float* Value(int32_t t) const {
    const int32_t page_tokens = kv.shape().page_tokens;
    return kv.Values(layer, sequence.pages[t / page_tokens], kv_head) +
           size_t(t % page_tokens) * shape.head_dim;
  }
  // Of query head g of the group.
  float theta(int32_t g) const {
    const PerHeadTheta& all = params().head_theta;
    return all == nullptr ? params().theta : (*all)[head(g)];
  }
  int32_t k(int32_t g) const {
    const PerHeadK& all = params().head_k;
    return all == nullptr ? params().k : (*all)[head(g)];
  }
  size_t head(int32_t g) const { return size_t(layer) * shape.heads + kv_head * group() + g; }
  bool IsSampled(int32_t position, int32_t g, float share) const {
    return alcca::IsSampled(layer, kv_head * group() + g, position, share);
  }
  // First key that dense attention sees at `position`.
  int32_t FirstVisible(int32_t position) const { return FirstKey(shape.sliding_window, position); }
  // First key that this sequence's softmax (`dense`, `window`) sees at `position`.
  int32_t FirstAttended(int32_t position) const {
    return FirstKey(params(), shape.sliding_window, position);
  }
};

// What dense would have done for this row: counted for every mode.
inline void CountDenseEquivalent(const AttentionTask& task, int32_t position) {
  const int64_t visible = position + 1 - task.FirstVisible(position);
  task.counters->queries += task.group();
  task.counters->dense_equivalent_qk += task.group() * visible;
  task.counters->dense_equivalent_pv += task.group() * visible;
}

}  // namespace alcca
