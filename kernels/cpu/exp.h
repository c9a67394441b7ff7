#pragma once

#include <bit>
#include <cstdint>

namespace alcca {

// e^x = mantissa * 2^exponent within 2 ulp, for |x| up to about 126.
struct ExpParts {
  float mantissa;
  int32_t exponent;
};

// Cephes' expf: x = n ln 2 + r, and a polynomial in r. No branch and no comparison of floats, so
// that its loops vectorise where those of std::exp do not.
inline ExpParts Exp(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float rounded = x * 1.44269504f + kRound;
  const float n = rounded - kRound;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  return {p * r * r + r + 1.0f, std::bit_cast<int32_t>(rounded) - std::bit_cast<int32_t>(kRound)};
}

}  // namespace alcca
