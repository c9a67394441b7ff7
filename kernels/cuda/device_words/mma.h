#pragma once

// Tensor core products of one warp, C [16, 8] += A [16, K] B [K, 8], by mma.sync; and their twins
// for the host. Which element lies where (PTX ISA, "Matrix fragments for mma"), for lane l, g = l /
// 4, t = l % 4, and a group of k that fills 32 bits (2 of bf16, 4 of int8):
//   a[0]: row g, group t      a[1]: row g + 8, group t      a[2]: row g, group t + 4
//   a[3]: row g + 8, group t + 4
//   b[0]: column g, group t   b[1]: column g, group t + 4
//   c[0], c[1]: row g, columns 2t, 2t + 1                   c[2], c[3]: row g + 8, the same
// K is 16 for bf16, 32 for int8. What K means is free as long as A and B agree.

#include "kernels/cuda/device_words/simt.h"

namespace alcca::ALCCA_GPU {

#ifdef __CUDACC__

__device__ __forceinline__ void Mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                                    BFloat16) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
      "{%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void Mma(int32_t (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                                    int8_t) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#else

void Mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], BFloat16);
void Mma(int32_t (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], int8_t);

#endif

}  // namespace alcca::ALCCA_GPU
