#pragma once

// The words that kernels are written in. Under nvcc they are CUDA's own. Under a plain C++20
// compiler they are an emulator's (emulated/simt_emulated.h), which runs a block's threads as
// fibers of one OS thread and switches at barriers and warp operations, so that the same source is
// tested on machines without a GPU.
//
// Two words are ours because CUDA's cannot be emulated as they stand:
//   ALCCA_SHARED(float[32], partial);        // __shared__ float partial[32];
//   ALCCA_DYNAMIC_SHARED(float, scores);     // extern __shared__: float* scores, 16-byte aligned
// The emulator fills shared memory with 0xff (NaN as a float of any size, -1 as an integer) before
// each block. If threads part ways at a barrier, it stops the test and names the kernel.
//
// Everything in kernels/cuda stands in namespace alcca::ALCCA_GPU: both builds may be linked into
// one test binary.

#include <cstddef>
#include <cstdint>

#ifdef __CUDACC__

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>

#include <type_traits>

#define ALCCA_GPU cuda
#define ALCCA_SHARED(type, name) __shared__ std::type_identity_t<type> name
#define ALCCA_DYNAMIC_SHARED(type, name)                          \
  extern __shared__ __align__(16) unsigned char alcca_dynamic_[]; \
  type* const name = reinterpret_cast<type*>(alcca_dynamic_)

#else

#define ALCCA_GPU cuda_emulated
#include "kernels/cuda/device_words/emulated/simt_emulated.h"

#endif

namespace alcca::ALCCA_GPU {

inline constexpr uint32_t kFullMask = 0xffffffffu;
inline constexpr int32_t kWarp = 32;
// A block gets up to 48 KiB of shared memory without a request, and a kernel's own variables count,
// too. A launch asks for more from this much dynamic memory on, which leaves 16 KiB for the
// variables.
inline constexpr size_t kUnaskedShared = size_t{32} << 10;

// 16-bit floats as they lie in memory.
struct BFloat16 {
  uint16_t bits;
};
struct Half {
  uint16_t bits;
};
// e4m3: 4 bits of exponent, 3 of mantissa, no infinity, largest 448.
struct Float8 {
  uint8_t bits;
};

#ifdef __CUDACC__
__device__ __forceinline__ float ToFloat(BFloat16 h) {
  return __uint_as_float(static_cast<uint32_t>(h.bits) << 16);
}
// Nearest, ties to even.
__device__ __forceinline__ BFloat16 ToBFloat16(float f) {
  return {__bfloat16_as_ushort(__float2bfloat16_rn(f))};
}
// Nearest, ties to even; beyond +-448 it saturates; NaN stays NaN.
__device__ __forceinline__ Float8 ToFloat8(float f) {
  return {__nv_cvt_float_to_fp8(f, __NV_SATFINITE, __NV_E4M3)};
}
// Four finite Float8s to bf16, in order; exact. A Float8's bits, moved to where bf16 has them, are
// its value at another bias, which one multiplication of two corrects, subnormals included.
__device__ __forceinline__ uint2 ToBFloat16s(uint32_t fours) {
  const auto pair = [](uint32_t high_bytes) {
    const uint32_t bits = (high_bytes & 0x80008000u) | (high_bytes & 0x7f007f00u) >> 4;
    const __nv_bfloat162 rebias = __halves2bfloat162(__ushort_as_bfloat16(0x7b80),  // 2^120
                                                     __ushort_as_bfloat16(0x7b80));
    const __nv_bfloat162 value = __hmul2(*reinterpret_cast<const __nv_bfloat162*>(&bits), rebias);
    return *reinterpret_cast<const uint32_t*>(&value);
  };
  return {pair(__byte_perm(fours, 0, 0x1404)), pair(__byte_perm(fours, 0, 0x3424))};
}
#else
float ToFloat(BFloat16 h);
BFloat16 ToBFloat16(float f);
Float8 ToFloat8(float f);
uint2 ToBFloat16s(uint32_t fours);
#endif
__device__ __forceinline__ float ToFloat(float f) {
  return f;
}
// By integers, as kernels/half.h does it, so that every backend keeps the same bits of a NaN.
__device__ __forceinline__ float ToFloat(Half h) {
  const uint32_t magnitude = (h.bits & 0x7fffu) << 13, sign = (h.bits & 0x8000u) << 16;
  const uint32_t finite = __float_as_uint(__uint_as_float(magnitude) * 0x1.0p112f);
  return __uint_as_float(sign | (magnitude >= 0x0f800000u ? magnitude | 0x7f800000u : finite));
}

// To the element type of a template.
template <typename T>
__device__ __forceinline__ T FromFloat(float f);
template <>
__device__ __forceinline__ float FromFloat<float>(float f) {
  return f;
}
template <>
__device__ __forceinline__ BFloat16 FromFloat<BFloat16>(float f) {
  return ToBFloat16(f);
}

// For kernels launched with overlap_prior: returns once the kernel before in the stream has
// finished and its writes are seen.
__device__ __forceinline__ void WaitForPriorKernel() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Sums and maxima over a warp; every lane gets the result. The order is a fixed tree.
__device__ __forceinline__ float WarpSum(float x) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    x += __shfl_xor_sync(kFullMask, x, offset);
  }
  return x;
}
__device__ __forceinline__ float WarpMax(float x) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    x = fmaxf(x, __shfl_xor_sync(kFullMask, x, offset));
  }
  return x;
}

}  // namespace alcca::ALCCA_GPU
