#pragma once

// Copies from device to shared memory that run beside the computation (cp.async, PTX ISA), 16 bytes
// per call, both ends 16-byte aligned. A thread waits for its own copies; a barrier makes them
// visible to the whole block. The host version copies at once.

#include <cstring>

#include "kernels/cuda/device_words/simt.h"

namespace alcca::ALCCA_GPU {

#ifdef __CUDACC__

__device__ __forceinline__ void CopyAsync16(void* shared, const void* from) {
  const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}
__device__ __forceinline__ void CommitCopies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
// Until at most kGroups of the committed groups are still under way.
template <int kGroups>
__device__ __forceinline__ void WaitForCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kGroups) : "memory");
}

#else

inline void CopyAsync16(void* shared, const void* from) {
  std::memcpy(shared, from, 16);
}
inline void CommitCopies() {}
template <int kGroups>
void WaitForCopies() {}

#endif

}  // namespace alcca::ALCCA_GPU
