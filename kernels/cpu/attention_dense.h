#pragma once

#include "kernels/cpu/attention_task.h"

namespace alcca {

// Softmax attention of the task's rows for one KV head's group of query heads: `dense`, and
// `window` over fewer keys.
void AttentionDense(const AttentionTask& task);
void AttentionDenseRow(const AttentionTask& task, int32_t row);

// What AttentionDenseRow writes for query head g of the group, into `out` [head_dim]; counts
// nothing.
void DenseHead(const AttentionTask& task, int32_t row, int32_t g, float* out);

}  // namespace alcca
