// mma.sync on the host: the last lane to arrive multiplies for the whole warp.

#include "kernels/cuda/device_words/mma.h"

namespace alcca::cuda_emulated {
namespace {

template <typename C>
struct Fragments {
  const uint32_t* a;
  const uint32_t* b;
  C* c;
};

void Unpack(uint32_t word, float* out) {
  for (int i = 0; i < 2; ++i) {
    out[i] = ToFloat(BFloat16{static_cast<uint16_t>(word >> (16 * i))});
  }
}
void Unpack(uint32_t word, int32_t* out) {
  for (int i = 0; i < 4; ++i) {
    out[i] = static_cast<int8_t>(word >> (8 * i));
  }
}

template <typename C>
void Multiply(const void* const* ins, void* const*, uint32_t) {
  constexpr int kGroup = std::is_same_v<C, float> ? 2 : 4;  // elements of a word
  constexpr int kSteps = 8 * kGroup;
  C a[16][kSteps], b[kSteps][8], c[16][8];
  for (int l = 0; l < kWarp; ++l) {
    const auto& in = *static_cast<const Fragments<C>*>(ins[l]);
    const int g = l / 4, t = l % 4;
    for (int i = 0; i < 4; ++i) {
      Unpack(in.a[i], &a[g + i % 2 * 8][(t + i / 2 * 4) * kGroup]);
      c[g + i / 2 * 8][2 * t + i % 2] = in.c[i];
    }
    for (int i = 0; i < 2; ++i) {
      C column[kGroup];
      Unpack(in.b[i], column);
      for (int k = 0; k < kGroup; ++k) {
        b[(t + i * 4) * kGroup + k][g] = column[k];
      }
    }
  }
  for (int row = 0; row < 16; ++row) {
    for (int k = 0; k < kSteps; ++k) {
      for (int column = 0; column < 8; ++column) {
        c[row][column] += a[row][k] * b[k][column];
      }
    }
  }
  for (int l = 0; l < kWarp; ++l) {
    const auto& in = *static_cast<const Fragments<C>*>(ins[l]);
    for (int i = 0; i < 4; ++i) {
      in.c[i] = c[l / 4 + i / 2 * 8][2 * (l % 4) + i % 2];
    }
  }
}

template <typename C>
void Run(C* c, const uint32_t* a, const uint32_t* b) {
  const Fragments<C> in = {a, b, c};
  char out;
  simt::WarpOperation(kFullMask, Multiply<C>, &in, &out, {__FILE__, __LINE__});
}

}  // namespace

void Mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], BFloat16) {
  Run(c, a, b);
}
void Mma(int32_t (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], int8_t) {
  Run(c, a, b);
}

}  // namespace alcca::cuda_emulated
