#include "kernels/cpu/quantize.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace alcca {
namespace {

constexpr int32_t kChunk = 256;  // features per pass, a multiple of 4; stays in L1

// Bits of |x| order as |x| does, infinity and NaN above all numbers; compilers vectorise it.
uint32_t MagnitudeBits(float x) {
  return std::bit_cast<uint32_t>(x) & 0x7fffffffu;
}

int32_t MaxMagnitudeBits(const float* x, int32_t count) {
  int32_t bits = 0;
  for (int32_t i = 0; i < count; ++i) {
    bits = std::max(bits, static_cast<int32_t>(MagnitudeBits(x[i])));
  }
  return bits;
}

// q[i] = x[i] * inverse to nearest even. Adding 1.5 * 2^23 leaves the integer in the low bits.
template <class Byte>
void Round(const float* x, int32_t count, float inverse, uint8_t flip, Byte* q) {
  for (int32_t i = 0; i < count; ++i) {
    const float shifted = x[i] * inverse + 12582912.0f;
    q[i] = static_cast<Byte>(static_cast<uint8_t>(std::bit_cast<uint32_t>(shifted)) ^ flip);
  }
}

float Inverse(float absmax) {
  return absmax < kAbsMaxMin ? 0.0f : 127.0f / absmax;
}
float Scale(float absmax) {
  return absmax < kAbsMaxMin ? 0.0f : absmax / 127.0f;
}

// Largest |x| that is no outlier; lists the outliers.
float Scan(const float* x, int32_t cols, uint16_t* outliers, int32_t* count) {
  const auto limit = static_cast<int32_t>(MagnitudeBits(kOutlierThreshold));
  int32_t best = 0;
  for (int32_t begin = 0; begin < cols; begin += kChunk) {
    const int32_t end = std::min(cols, begin + kChunk);
    const int32_t bits = MaxMagnitudeBits(x + begin, end - begin);
    if (bits <= limit) {
      best = std::max(best, bits);
      continue;
    }
    for (int32_t k = begin; k < end; ++k) {
      const auto one = static_cast<int32_t>(MagnitudeBits(x[k]));
      if (one > limit) {
        outliers[(*count)++] = static_cast<uint16_t>(k);
      } else {
        best = std::max(best, one);
      }
    }
  }
  return std::bit_cast<float>(best);
}

}  // namespace

QuantizedRow QuantizeRow(const float* x, int32_t cols, uint8_t flip, size_t quad_stride, uint8_t* q,
                         uint16_t* outliers) {
  QuantizedRow row = {.scale = 0.0f, .outliers = 0};
  const float absmax = Scan(x, cols, outliers, &row.outliers);
  row.scale = Scale(absmax);
  const float inverse = Inverse(absmax);
  uint8_t bytes[kChunk];
  for (int32_t begin = 0; begin < cols; begin += kChunk) {
    const int32_t count = std::min(kChunk, cols - begin);
    Round(x + begin, count, inverse, flip, bytes);
    for (int32_t i = count; i % 4 != 0; ++i) {
      bytes[i] = flip;
    }
    for (int32_t i = 0; i < count; i += 4, q += quad_stride) {
      std::memcpy(q, bytes + i, 4);
    }
  }
  q -= quad_stride * static_cast<size_t>((cols + 3) / 4);
  for (int32_t i = 0; i < row.outliers; ++i) {
    q[static_cast<size_t>(outliers[i] / 4) * quad_stride + outliers[i] % 4] = flip;
  }
  return row;
}

float QuantizeWeightRow(const float* w, int32_t cols, int8_t* q) {
  const float absmax = std::bit_cast<float>(MaxMagnitudeBits(w, cols));
  if (!std::isfinite(absmax)) {
    return absmax;
  }
  Round(w, cols, Inverse(absmax), 0, q);
  return Scale(absmax);
}

}  // namespace alcca
