#pragma once

#include "kernels/cpu/attention_task.h"
#include "kernels/cpu/key_clusters_cpu.h"

namespace alcca {

// Rows of the task whose clusters are closed: ClosedBlocks() is the same for all of them.
void AttentionMultipole(const AttentionTask& task, const KeyClusters& clusters);

}  // namespace alcca
