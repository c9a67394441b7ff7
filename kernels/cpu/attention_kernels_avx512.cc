#include "kernels/cpu/attention_kernels-inl.h"

namespace alcca {
extern const AttentionKernels kAttentionKernelsAvx512;
const AttentionKernels kAttentionKernelsAvx512 = kKernels;
}  // namespace alcca
