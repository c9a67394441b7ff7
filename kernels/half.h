#pragma once

// Floats of 16 bits as checkpoints store them, in plain integer code, which compilers vectorise;
// and of 8 bits.

#include <algorithm>
#include <bit>
#include <cmath>
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

// e4m3 (Micikevicius et al. 2022): 4 bits of exponent, 3 of mantissa, no infinity. Exact.
inline constexpr float kFloat8Max = 448.0f;
inline float Float8ToFloat(uint8_t f) {
  const uint32_t magnitude = uint32_t{f} & 0x7fu, sign = uint32_t{f & 0x80u} << 24;
  if (magnitude == 0x7fu) {
    return std::bit_cast<float>(sign | 0x7fc00000u);
  }
  const float value = std::bit_cast<float>(magnitude << 20) * 0x1.0p120f;  // rebias 7 -> 127
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(value));
}
// Nearest, ties to even; beyond +-448 it saturates; NaN stays NaN.
inline uint8_t FloatToFloat8(float f) {
  const uint8_t sign = std::signbit(f) ? 0x80 : 0;
  const float magnitude = std::fabs(f);
  if (std::isnan(f)) {
    return sign | 0x7f;
  }
  if (magnitude >= kFloat8Max) {
    return sign | 0x7e;
  }
  // A step is 2^(e - 3) in the binade of 2^e, and 2^-9 below 2^-6.
  const int exponent = magnitude == 0.0f ? -6 : std::max(std::ilogb(magnitude), -6);
  const int steps = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 3 - exponent)));
  return static_cast<uint8_t>(sign | ((exponent + 6) * 8 + steps));
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
