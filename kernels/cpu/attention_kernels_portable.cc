#include "kernels/cpu/attention_kernels-inl.h"

namespace alcca {
extern const AttentionKernels kAttentionKernelsPortable;
const AttentionKernels kAttentionKernelsPortable = kKernels;
}  // namespace alcca
