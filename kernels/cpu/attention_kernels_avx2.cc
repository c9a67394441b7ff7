#include "kernels/cpu/attention_kernels-inl.h"

namespace alcca {
extern const AttentionKernels kAttentionKernelsAvx2;
const AttentionKernels kAttentionKernelsAvx2 = kKernels;
}  // namespace alcca
