#pragma once

#include "kernels/cpu/attention_state_cpu.h"
#include "kernels/cpu/attention_task.h"

namespace alcca {

// The published formula for all rows of the task's sequence, in order, one KV head's group of query
// heads. Appends each row's key and value to `head` before answering it.
void AttentionAlcca(const AttentionTask& task, AttentionStateCpu::Head& head);

}  // namespace alcca
