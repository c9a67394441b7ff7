#include "kernels/cpu/attention.h"

#include <algorithm>
#include <vector>

#include "kernels/check.h"
#include "kernels/cpu/attention_alcca.h"
#include "kernels/cpu/attention_dense.h"
#include "kernels/cpu/attention_state_cpu.h"
#include "kernels/cpu/attention_task.h"
#include "kernels/cpu/attention_topk.h"

namespace alcca {

extern const AttentionKernels kAttentionKernelsPortable, kAttentionKernelsAvx2,
    kAttentionKernelsAvx512;

const AttentionKernels& AttentionKernelsFor(CpuIsa isa) {
  return isa == CpuIsa::kAvx512 ? kAttentionKernelsAvx512
         : isa == CpuIsa::kAvx2 ? kAttentionKernelsAvx2
                                : kAttentionKernelsPortable;
}

namespace {

// Rows that need no state are independent and are cut into tasks of this many; alcca rows grow one
// state and are answered in order by one task.
constexpr int32_t kStatelessRows = 16;

void Attend(const AttentionTask& task) {
  switch (task.sequence.attention.mode) {
    case AttentionMode::kDense:
    case AttentionMode::kWindow:
      return AttentionDense(task);
    case AttentionMode::kTopK:
      return AttentionTopK(task);
    case AttentionMode::kAlcca:
      auto* state = static_cast<AttentionStateCpu*>(task.sequence.state);
      return AttentionAlcca(task, state->head(task.layer, task.kv_head));
  }
}

}  // namespace

void AttentionCpu(ThreadPool& pool, CpuIsa isa, TensorView out, TensorView qkv,
                  const KvCacheHost& kv, int32_t layer, const Batch& batch,
                  const AttentionShape& shape) {
  ALCCA_CHECK(qkv.cols == shape.qkv_cols() && out.cols == shape.heads * shape.head_dim);
  ALCCA_CHECK(qkv.rows == batch.tokens() && out.rows == batch.tokens());
  ALCCA_CHECK(kv.shape().head_dim == shape.head_dim && kv.shape().kv_heads == shape.kv_heads);

  thread_local std::vector<AttentionTask> tasks;
  thread_local std::vector<AttentionCounters> counters;
  tasks.clear();
  for (const BatchSequence& sequence : batch.sequences) {
    const bool grows = sequence.attention.mode == AttentionMode::kAlcca;
    const int32_t step = grows ? sequence.query_count : kStatelessRows;
    for (int32_t kv_head = 0; kv_head < shape.kv_heads; ++kv_head) {
      for (int32_t row = 0; row < sequence.query_count; row += step) {
        tasks.push_back({.kernels = AttentionKernelsFor(isa),
                         .shape = shape,
                         .kv = kv,
                         .sequence = sequence,
                         .qkv = qkv,
                         .out = out,
                         .layer = layer,
                         .kv_head = kv_head,
                         .row_begin = row,
                         .row_end = std::min(row + step, sequence.query_count)});
      }
    }
  }
  counters.assign(tasks.size(), {});
  // thread_local names mean another thread's vectors inside the pool: bind this thread's.
  AttentionTask* const task_data = tasks.data();
  AttentionCounters* const counter_data = counters.data();
  pool.ParallelFor(static_cast<int32_t>(tasks.size()), [task_data, counter_data](int32_t i) {
    AttentionTask& task = task_data[i];
    task.counters = &counter_data[i];
    Attend(task);
  });
  for (size_t i = 0; i < tasks.size(); ++i) {
    *tasks[i].sequence.counters += counters[i];
  }
}

}  // namespace alcca
