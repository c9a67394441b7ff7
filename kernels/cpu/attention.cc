#include "kernels/cpu/attention.h"

#include <algorithm>
#include <atomic>
#include <new>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/status_macros.h"
#include "kernels/cpu/attention_alcca.h"
#include "kernels/cpu/attention_dense.h"
#include "kernels/cpu/attention_multipole.h"
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

// Rows that change no state are independent and are cut into tasks of this many; alcca rows grow
// one state and are answered in order by one task.
constexpr int32_t kStatelessRows = 16;

AttentionStateCpu::Head& StateOf(const AttentionTask& task) {
  return static_cast<AttentionStateCpu*>(task.sequence.state)->head(task.layer, task.kv_head);
}

int32_t BlocksAt(const AttentionShape& shape, const BatchSequence& sequence, int32_t row) {
  return ClosedBlocks(*sequence.attention, shape.sliding_window, sequence.position(row) + 1);
}

// Rows [row, result) see the same closed clusters; those of other modes need none.
int32_t WaveEnd(const AttentionShape& shape, const BatchSequence& sequence, int32_t row) {
  if (sequence.attention->mode != AttentionMode::kMultipole) {
    return sequence.query_count;
  }
  const int32_t blocks = BlocksAt(shape, sequence, row);
  int32_t end = row + 1;
  while (end < sequence.query_count && BlocksAt(shape, sequence, end) == blocks) {
    ++end;
  }
  return end;
}

// Closes what the task's rows see closed, then notes their queries.
void Grow(const AttentionTask& task) {
  KeyClusters& clusters = *StateOf(task).clusters;
  clusters.Close(task, BlocksAt(task.shape, task.sequence, task.row_begin));
  clusters.Observe(task);
}

void Attend(const AttentionTask& task) {
  switch (task.params().mode) {
    case AttentionMode::kDense:
    case AttentionMode::kWindow:
      return AttentionDense(task);
    case AttentionMode::kTopK:
      return AttentionTopK(task);
    case AttentionMode::kMultipole:
      return AttentionMultipole(task, *StateOf(task).clusters);
    case AttentionMode::kAlcca:
      return AttentionAlcca(task, StateOf(task));
  }
}

void RunAll(ThreadPool& pool, std::vector<AttentionTask>& tasks,
            void (*run)(const AttentionTask&)) {
  thread_local std::vector<AttentionCounters> counters;
  counters.assign(tasks.size(), {});
  // Inside the pool a thread_local's name would mean another thread's vector: bind this thread's.
  AttentionCounters* const counter_data = counters.data();
  pool.ParallelFor(static_cast<int32_t>(tasks.size()), [&tasks, run, counter_data](int32_t i) {
    tasks[i].counters = &counter_data[i];
    run(tasks[i]);
  });
  for (const AttentionTask& task : tasks) {
    *task.sequence.counters += *task.counters;
  }
}

}  // namespace

int32_t FinalTokensCpu(const AttentionState& state, const AttentionParams& params, int32_t tokens) {
  const KeyClusters& clusters = *static_cast<const AttentionStateCpu&>(state).head(0, 0).clusters;
  const int32_t blocks = clusters.FinalBlocks(params, tokens);
  return state.fell_back() ? -1 : blocks > 0 ? params.sinks + blocks * kBlockTokens : 0;
}

absl::StatusOr<std::unique_ptr<AttentionState>> ForkAttentionStateCpu(ThreadPool& pool, CpuIsa isa,
                                                                      const AttentionFork& fork,
                                                                      KvCacheHost& kv,
                                                                      const AttentionShape& shape) {
  ALCCA_CHECK(fork.attention->mode == AttentionMode::kMultipole &&
              fork.tokens % kBlockTokens == 0 && shape.sliding_window == 0);
  const KvShape& kv_shape = kv.shape();
  ASSIGN_OR_RETURN(std::unique_ptr<AttentionStateCpu> state,
                   AttentionStateCpu::Make(kv_shape, *fork.attention, isa));
  const auto& from = static_cast<const AttentionStateCpu&>(*fork.from);
  const int32_t page = kv_shape.page_tokens;
  const int32_t first = FinalTokensCpu(from, *fork.attention, fork.tokens) / page * page;
  const BatchSequence sequence{.query_count = 1,
                               .kv_len = fork.tokens + 1,
                               .pages = fork.pages,
                               .attention = fork.attention,
                               .state = state.get()};
  std::vector<AttentionCounters> counters(size_t(kv_shape.layers) * kv_shape.kv_heads);
  std::atomic<bool> failed = false;
  pool.ParallelFor(static_cast<int32_t>(counters.size()), [&](int32_t i) {
    const AttentionTask task{.kernels = AttentionKernelsFor(isa),
                             .shape = shape,
                             .kv = kv,
                             .sequence = sequence,
                             .qkv = {},
                             .out = {},
                             .layer = i / kv_shape.kv_heads,
                             .kv_head = i % kv_shape.kv_heads,
                             .row_end = 1,
                             .counters = &counters[i]};
    try {
      state->head(task.layer, task.kv_head)
          .clusters->Fork(*from.head(task.layer, task.kv_head).clusters, fork.from_pages, first,
                          task);
    } catch (const std::bad_alloc&) {
      failed = true;
    }
  });
  if (failed) {
    return absl::ResourceExhaustedError("no memory for the clusters of a sequence");
  }
  for (const AttentionCounters& one : counters) {
    *fork.counters += one;
  }
  return std::unique_ptr<AttentionState>(std::move(state));
}

void AttentionCpu(ThreadPool& pool, CpuIsa isa, TensorView out, TensorView qkv, KvCacheHost& kv,
                  int32_t layer, const Batch& batch, const AttentionShape& shape) {
  ALCCA_CHECK(qkv.cols == shape.qkv_cols() && out.cols == shape.heads * shape.head_dim);
  ALCCA_CHECK(qkv.rows == batch.tokens() && out.rows == batch.tokens());
  ALCCA_CHECK(kv.shape().head_dim == shape.head_dim && kv.shape().kv_heads == shape.kv_heads);

  // In waves: clusters close, then rows are answered up to where the next ones close. Mostly there
  // is one wave, and nothing closes in it.
  thread_local std::vector<AttentionTask> growing, answering;
  thread_local std::vector<int32_t> next_row;
  next_row.assign(batch.sequences.size(), 0);
  for (;;) {
    growing.clear();
    answering.clear();
    for (size_t i = 0; i < batch.sequences.size(); ++i) {
      const BatchSequence& sequence = batch.sequences[i];
      const int32_t begin = next_row[i];
      if (begin == sequence.query_count) {
        continue;
      }
      const int32_t end = next_row[i] = WaveEnd(shape, sequence, begin);
      const bool in_order = TraitsOf(sequence.attention->mode).in_order;
      const int32_t step = in_order ? end - begin : kStatelessRows;
      for (int32_t kv_head = 0; kv_head < shape.kv_heads; ++kv_head) {
        const AttentionTask task{.kernels = AttentionKernelsFor(isa),
                                 .shape = shape,
                                 .kv = kv,
                                 .sequence = sequence,
                                 .qkv = qkv,
                                 .out = out,
                                 .layer = layer,
                                 .kv_head = kv_head,
                                 .row_begin = begin,
                                 .row_end = end};
        if (sequence.attention->mode == AttentionMode::kMultipole) {
          growing.push_back(task);
        }
        for (int32_t row = begin; row < end; row += step) {
          answering.push_back(task);
          answering.back().row_begin = row;
          answering.back().row_end = std::min(row + step, end);
        }
      }
    }
    if (answering.empty()) {
      return;
    }
    RunAll(pool, growing, &Grow);
    RunAll(pool, answering, &Attend);
  }
}

}  // namespace alcca
