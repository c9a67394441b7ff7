#pragma once

// CUDA's words on the host. Include kernels/cuda/device_words/simt.h, not this.
//
// A block runs as fibers in one OS thread. A barrier waits for every thread of the block, and a
// warp operation for every lane of its mask. If a thread ends, or waits at another line, while
// others wait, the threads have diverged: the process stops with the kernel's name and both places.
// Blocks run one after another.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __constant__ const
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __grid_constant__

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_size = 1, unsigned y_size = 1, unsigned z_size = 1)
      : x(x_size), y(y_size), z(z_size) {}
};
struct int2 {
  int x, y;
};
struct alignas(4) char4 {
  signed char x, y, z, w;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline float2 make_float2(float x, float y) {
  return {x, y};
}
inline float4 make_float4(float x, float y, float z, float w) {
  return {x, y, z, w};
}
inline int4 make_int4(int x, int y, int z, int w) {
  return {x, y, z, w};
}
inline uint2 make_uint2(unsigned x, unsigned y) {
  return {x, y};
}
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
  return {x, y, z, w};
}

namespace alcca::cuda_emulated::simt {

// What a fiber sees of its place in the grid.
struct Thread {
  uint3 thread_index, block_index;
  dim3 block_size, grid_size;
  int lane;
};
inline constinit thread_local Thread* current = nullptr;

struct Place {
  const char* file;
  int line;
};

// Order in which threads and blocks are run: 0 as numbered, else shuffled anew at each turn. A
// result that changes with the seed shows a missing barrier.
void SetSeed(uint64_t seed);

void SyncThreads(Place place);
// Runs `combine` once, when every lane of `mask` has arrived; in[l] and out[l] are what lane l
// passed, null for lanes outside. `combine` also is what tells one operation from another.
using Combine = void (*)(const void* const* in, void* const* out, uint32_t mask);
void WarpOperation(uint32_t mask, Combine combine, const void* in, void* out, Place place);
void* SharedVariable(const void* tag, size_t bytes);
void* DynamicShared();

struct LaunchShape {
  const char* name;
  dim3 grid, block;
  size_t shared_bytes;
};
void Run(const LaunchShape& shape, void (*body)(void*), void* argument);

template <typename T>
struct ShuffleIn {
  T value;
  int from;  // lane; outside of the warp or of `mask`: reads its own
};
template <typename T>
T Shuffle(uint32_t mask, T value, int from, Place place) {
  static_assert(std::is_trivially_copyable_v<T>);
  const ShuffleIn<T> in = {value, from};
  T out;
  const Combine combine = [](const void* const* ins, void* const* outs, uint32_t lanes) {
    for (int lane = 0; lane < 32; ++lane) {
      if ((lanes >> lane & 1) == 0) {
        continue;
      }
      const auto& own = *static_cast<const ShuffleIn<T>*>(ins[lane]);
      const bool inside = own.from >= 0 && own.from < 32;
      const auto* other = inside ? static_cast<const ShuffleIn<T>*>(ins[own.from]) : nullptr;
      // Reading a lane outside of the mask is undefined on the device.
      if (inside && other == nullptr) {
        std::memset(outs[lane], 0xff, sizeof(T));
      } else {
        *static_cast<T*>(outs[lane]) = inside ? other->value : own.value;
      }
    }
  };
  WarpOperation(mask, combine, &in, &out, place);
  return out;
}

template <typename T, typename Fold>
T Reduce(uint32_t mask, T value, Place place) {
  T out;
  const Combine combine = [](const void* const* ins, void* const* outs, uint32_t lanes) {
    T all = *static_cast<const T*>(ins[std::countr_zero(lanes)]);
    for (uint32_t rest = lanes & (lanes - 1); rest != 0; rest &= rest - 1) {
      all = Fold()(all, *static_cast<const T*>(ins[std::countr_zero(rest)]));
    }
    for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
      *static_cast<T*>(outs[std::countr_zero(rest)]) = all;
    }
  };
  WarpOperation(mask, combine, &value, &out, place);
  return out;
}
struct Add {
  template <typename T>
  T operator()(T a, T b) const {
    return a + b;
  }
};
struct Min {
  template <typename T>
  T operator()(T a, T b) const {
    return std::min(a, b);
  }
};
struct Max {
  template <typename T>
  T operator()(T a, T b) const {
    return std::max(a, b);
  }
};
struct Or {
  template <typename T>
  T operator()(T a, T b) const {
    return a | b;
  }
};
struct And {
  template <typename T>
  T operator()(T a, T b) const {
    return a & b;
  }
};

}  // namespace alcca::cuda_emulated::simt

#define threadIdx (::alcca::cuda_emulated::simt::current->thread_index)
#define blockIdx (::alcca::cuda_emulated::simt::current->block_index)
#define blockDim (::alcca::cuda_emulated::simt::current->block_size)
#define gridDim (::alcca::cuda_emulated::simt::current->grid_size)

#define ALCCA_SHARED(type, name)                                                              \
  static const char name##_tag_ = 0;                                                          \
  auto& name =                                                                                \
      *static_cast<std::type_identity_t<type>*>(::alcca::cuda_emulated::simt::SharedVariable( \
          &name##_tag_, sizeof(std::type_identity_t<type>)))
#define ALCCA_DYNAMIC_SHARED(type, name) \
  type* const name = static_cast<type*>(::alcca::cuda_emulated::simt::DynamicShared())

// Default arguments are evaluated where the call stands.
#define ALCCA_PLACE_ const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(ALCCA_PLACE_) {
  alcca::cuda_emulated::simt::SyncThreads({file, line});
}
inline void __syncwarp(unsigned mask = 0xffffffffu, ALCCA_PLACE_) {
  const char in = 0;
  char out;
  alcca::cuda_emulated::simt::WarpOperation(mask, [](const void* const*, void* const*, uint32_t) {},
                                            &in, &out, {file, line});
}
inline int __syncthreads_or(int predicate, ALCCA_PLACE_) {
  ALCCA_SHARED(int, any);
  alcca::cuda_emulated::simt::SyncThreads({file, line});
  any = 0;
  alcca::cuda_emulated::simt::SyncThreads({file, line});
  any |= predicate != 0 ? 1 : 0;
  alcca::cuda_emulated::simt::SyncThreads({file, line});
  return any;
}
template <typename T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32, ALCCA_PLACE_) {
  const int base = alcca::cuda_emulated::simt::current->lane / width * width;
  return alcca::cuda_emulated::simt::Shuffle(mask, value, base + lane % width, {file, line});
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, ALCCA_PLACE_) {
  const int lane = alcca::cuda_emulated::simt::current->lane, from = lane ^ bits;
  return alcca::cuda_emulated::simt::Shuffle(mask, value, from / width > lane / width ? lane : from,
                                             {file, line});
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, int delta, int width = 32, ALCCA_PLACE_) {
  const int lane = alcca::cuda_emulated::simt::current->lane;
  return alcca::cuda_emulated::simt::Shuffle(
      mask, value, lane % width >= delta ? lane - delta : lane, {file, line});
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, int delta, int width = 32, ALCCA_PLACE_) {
  const int lane = alcca::cuda_emulated::simt::current->lane;
  return alcca::cuda_emulated::simt::Shuffle(
      mask, value, lane % width + delta < width ? lane + delta : lane, {file, line});
}
inline unsigned __ballot_sync(unsigned mask, int predicate, ALCCA_PLACE_) {
  const unsigned bit = predicate != 0 ? 1u << alcca::cuda_emulated::simt::current->lane : 0u;
  return alcca::cuda_emulated::simt::Reduce<unsigned, alcca::cuda_emulated::simt::Or>(mask, bit,
                                                                                      {file, line});
}
inline int __any_sync(unsigned mask, int predicate, ALCCA_PLACE_) {
  return __ballot_sync(mask, predicate, file, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, ALCCA_PLACE_) {
  return __ballot_sync(mask, predicate, file, line) == mask;
}
template <typename T>
T __reduce_add_sync(unsigned mask, T value, ALCCA_PLACE_) {
  return alcca::cuda_emulated::simt::Reduce<T, alcca::cuda_emulated::simt::Add>(mask, value,
                                                                                {file, line});
}
template <typename T>
T __reduce_min_sync(unsigned mask, T value, ALCCA_PLACE_) {
  return alcca::cuda_emulated::simt::Reduce<T, alcca::cuda_emulated::simt::Min>(mask, value,
                                                                                {file, line});
}
template <typename T>
T __reduce_max_sync(unsigned mask, T value, ALCCA_PLACE_) {
  return alcca::cuda_emulated::simt::Reduce<T, alcca::cuda_emulated::simt::Max>(mask, value,
                                                                                {file, line});
}
inline unsigned __reduce_or_sync(unsigned mask, unsigned value, ALCCA_PLACE_) {
  return alcca::cuda_emulated::simt::Reduce<unsigned, alcca::cuda_emulated::simt::Or>(mask, value,
                                                                                      {file, line});
}

// One OS thread runs all fibers, so plain memory operations are atomic.
template <typename T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T>, "float atomics would make results depend on timing");
  const T old = *address;
  *address = static_cast<T>(old + value);
  return old;
}
template <typename T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  const T old = *address;
  *address = std::max(old, value);
  return old;
}
template <typename T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  const T old = *address;
  *address = std::min(old, value);
  return old;
}
template <typename T>
T atomicOr(T* address, std::type_identity_t<T> value) {
  const T old = *address;
  *address = old | value;
  return old;
}
template <typename T>
T atomicExch(T* address, std::type_identity_t<T> value) {
  const T old = *address;
  *address = value;
  return old;
}
template <typename T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  const T old = *address;
  *address = old == expected ? value : old;
  return old;
}
inline void __threadfence() {}
inline void __threadfence_block() {}

template <typename T>
T __ldg(const T* address) {
  return *address;
}
// Streaming loads and stores: hints on the device.
template <typename T>
T __ldcs(const T* address) {
  return *address;
}
template <typename T>
T __ldcg(const T* address) {
  return *address;
}
template <typename T>
void __stcs(T* address, T value) {
  *address = value;
}

inline float __int_as_float(int i) {
  return std::bit_cast<float>(i);
}
inline float __uint_as_float(unsigned i) {
  return std::bit_cast<float>(i);
}
inline int __float_as_int(float f) {
  return std::bit_cast<int>(f);
}
inline unsigned __float_as_uint(float f) {
  return std::bit_cast<unsigned>(f);
}
inline int __float2int_rn(float f) {
  return static_cast<int>(std::nearbyint(f));
}
inline float __expf(float x) {
  return std::exp(x);
}
inline float __fdividef(float a, float b) {
  return a / b;
}
inline float __fmul_rn(float a, float b) {
  return a * b;
}
inline float __fadd_rn(float a, float b) {
  return a + b;
}
inline float rsqrtf(float x) {
  return 1.0f / std::sqrt(x);
}
inline int __popc(unsigned x) {
  return std::popcount(x);
}
inline int __clz(int x) {
  return std::countl_zero(static_cast<unsigned>(x));
}
inline int __ffs(int x) {
  return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1;
}
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  const uint64_t both = uint64_t{b} << 32 | a;
  unsigned out = 0;
  for (int i = 0; i < 4; ++i) {
    out |= static_cast<unsigned>(both >> (8 * (selector >> (4 * i) & 7)) & 0xff) << (8 * i);
  }
  return out;
}
// Four signed byte products added to c.
inline int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 4; ++i) {
    c += static_cast<int8_t>(a >> (8 * i)) * static_cast<int8_t>(b >> (8 * i));
  }
  return c;
}
using std::max;
using std::min;
