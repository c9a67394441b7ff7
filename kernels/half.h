#pragma once

// 16-bit floats as checkpoints store them. Plain integer code, which compilers vectorise.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/tensor.h"

namespace alcca {

inline float BFloat16ToFloat(uint16_t h) {
  return std::bit_cast<float>(uint32_t{h} << 16);
}

// Nearest, ties to even; NaN stays NaN.
inline uint16_t FloatToBFloat16(float f) {
  const uint32_t bits = std::bit_cast<uint32_t>(f);
  if ((bits & 0x7fffffffu) > 0x7f800000u) {
    return static_cast<uint16_t>((bits >> 16) | 0x40u);
  }
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// IEEE binary16; exact, subnormals included.
inline float HalfToFloat(uint16_t h) {
  const uint32_t magnitude = (h & 0x7fffu) << 13;
  const uint32_t sign = (h & 0x8000u) << 16;
  const float scaled = std::bit_cast<float>(magnitude) * 0x1.0p112f;  // rebias 15 -> 127
  const uint32_t finite = std::bit_cast<uint32_t>(scaled);
  const uint32_t special = magnitude | 0x7f800000u;  // infinity or NaN
  return std::bit_cast<float>(sign | (magnitude >= 0x0f800000u ? special : finite));
}

// out[i] = element `begin + i` of `data`, for i in [0, count).
inline void ToFloat(float* out, const std::byte* data, DType dtype, size_t begin, size_t count) {
  const std::byte* src = data + begin * DTypeBytes(dtype);
  if (dtype == DType::kF32) {
    std::memcpy(out, src, count * sizeof(float));
    return;
  }
  for (size_t i = 0; i < count; ++i) {
    uint16_t h;
    std::memcpy(&h, src + 2 * i, 2);  // a checkpoint promises no alignment
    out[i] = dtype == DType::kBF16 ? BFloat16ToFloat(h) : HalfToFloat(h);
  }
}

}  // namespace alcca
