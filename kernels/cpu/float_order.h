#pragma once

// Integers in the order of floats, so that a selection compares integers.

#include <bit>
#include <cstdint>

namespace alcca {

// Of a float's bits, -0 before 0; its own inverse.
inline int32_t OrderOfBits(int32_t bits) {
  return bits ^ ((bits >> 31) & 0x7FFFFFFF);
}

// Equal for floats that are equal, so for -0 and 0. A NaN stands beyond the infinity of its sign.
inline uint32_t OrderOf(float x) {
  return static_cast<uint32_t>(OrderOfBits(std::bit_cast<int32_t>(x + 0.0f))) ^ 0x80000000u;
}

}  // namespace alcca
