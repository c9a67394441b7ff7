#pragma once

#include "kernels/cpu/attention_task.h"

namespace alcca {

// Softmax over each query's TopKCount best-scored keys (equal scores: lower position first). Every
// key is scored, and counted: this mode saves values only.
void AttentionTopK(const AttentionTask& task);

}  // namespace alcca
