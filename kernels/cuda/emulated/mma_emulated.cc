// mma.sync on the host: the last lane to arrive multiplies for the whole warp.

#include "kernels/cuda/mma.h"

namespace alcca::cuda_emulated {
namespace {

template <typename C>
struct Fragments {
  const uint32_t* a;
  const uint32_t* b;
  C* c;
};

float Product(uint32_t a, uint32_t b, float sum) {
  for (int i = 0; i < 2; ++i) {
    sum += ToFloat(BFloat16{static_cast<uint16_t>(a >> (16 * i))}) *
           ToFloat(BFloat16{static_cast<uint16_t>(b >> (16 * i))});
  }
  return sum;
}
int32_t Product(uint32_t a, uint32_t b, int32_t sum) {
  return __dp4a(static_cast<int>(a), static_cast<int>(b), sum);
}

template <typename C>
void Multiply(const void* const* ins, void* const*, uint32_t) {
  const auto lane = [&](int l) { return *static_cast<const Fragments<C>*>(ins[l]); };
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column) {
      C& sum = lane(row % 8 * 4 + column / 2).c[row / 8 * 2 + column % 2];
      for (int group = 0; group < 8; ++group) {
        const uint32_t a = lane(row % 8 * 4 + group % 4).a[group / 4 * 2 + row / 8];
        const uint32_t b = lane(column * 4 + group % 4).b[group / 4];
        sum = Product(a, b, sum);
      }
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
