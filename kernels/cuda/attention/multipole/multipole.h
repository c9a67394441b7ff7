#pragma once

#include "kernels/cuda/attention/multipole/clusters.h"

namespace alcca::ALCCA_GPU {

// One token answered over clusters.
struct ClusterRow {
  int32_t sequence, row;  // of the step
  int32_t position, blocks;
  size_t scratch;  // where its scratch starts, in bytes; one after the other for each KV head
};

// Scratch of one token and KV head: ranks of coarse clusters [blocks], the highest in each opened
// one [opened] and those in it [opened, kFanout]; logits of coarse ones [group, blocks] and of
// those in opened ones [opened, group, kFanout]; which were opened: block * kBlockParents + its
// parent number (ChildRow); and, where no mass is asked for, where the keys of each opened fine one
// begin.
struct OpeningShape {
  int32_t group, blocks, opened_max, fines_max;
  __host__ __device__ OpeningShape(int32_t group, int32_t blocks, int32_t max_keys)
      : group(group),
        blocks(blocks),
        opened_max(blocks * kBlockParents),
        fines_max(blocks * kBlockFines) {
    if (max_keys > 0 && max_keys / kFanout < opened_max) {
      opened_max = max_keys / kFanout;
    }
    if (max_keys / kFineTokens < fines_max) {  // without a bound none waits
      fines_max = max_keys / kFineTokens;
    }
  }
  __host__ __device__ size_t nodes() const { return size_t(blocks) + size_t(opened_max) * kFanout; }
  __host__ __device__ size_t Bytes() const {
    const size_t bytes = (nodes() + opened_max) * sizeof(uint32_t) +
                         nodes() * group * sizeof(float) +
                         (size_t(opened_max) + fines_max) * sizeof(int32_t);
    return (bytes + 15) / 16 * 16;
  }
};

// Rows whose clusters are closed already. At most 16 query heads a KV head.
template <typename E>
void AttentionMultipole(Stream stream, const KvLayer<E>& kv, const AttentionRows& rows,
                        const SequenceWork* sequences, const ClusterRow* cluster_rows,
                        int32_t count, void* scratch);

}  // namespace alcca::ALCCA_GPU
