// Tensor core fragments: a product laid out as the PTX ISA says, whole.

#include "kernels/cuda/device_words/mma.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/device_words/runtime.h"

namespace alcca::cuda_emulated {
namespace {

// One warp: c [16, 8] += a [16, k] b [k, 8], with a row-major and b column-major, as words.
template <typename T, typename C>
__global__ void MultiplyOnce(C* c, const uint32_t* a, const uint32_t* b) {
  const int lane = static_cast<int>(threadIdx.x), g = lane / 4, t = lane % 4;
  const uint32_t a_words[4] = {a[g * 8 + t], a[(g + 8) * 8 + t], a[g * 8 + t + 4],
                               a[(g + 8) * 8 + t + 4]};
  const uint32_t b_words[2] = {b[g * 8 + t], b[g * 8 + t + 4]};
  C sums[4] = {c[g * 8 + 2 * t], c[g * 8 + 2 * t + 1], c[(g + 8) * 8 + 2 * t],
               c[(g + 8) * 8 + 2 * t + 1]};
  Mma(sums, a_words, b_words, T());
  c[g * 8 + 2 * t] = sums[0];
  c[g * 8 + 2 * t + 1] = sums[1];
  c[(g + 8) * 8 + 2 * t] = sums[2];
  c[(g + 8) * 8 + 2 * t + 1] = sums[3];
}

float Value(BFloat16 x) {
  return ToFloat(x);
}
int32_t Value(int8_t x) {
  return x;
}

template <typename T, typename C>
void CompareWithLoops(T (*element)(int)) {
  constexpr int kSteps = 32 / sizeof(T);  // a row is 8 words
  std::vector<T> a(16 * kSteps), b(8 * kSteps);
  std::vector<C> c(16 * 8), expected;
  for (size_t i = 0; i < a.size(); ++i) {
    a[i] = element(static_cast<int>(i * 7));
  }
  for (size_t i = 0; i < b.size(); ++i) {
    b[i] = element(static_cast<int>(i * 11 + 3));
  }
  for (size_t i = 0; i < c.size(); ++i) {
    c[i] = static_cast<C>(i);
  }
  expected = c;
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column) {
      for (int k = 0; k < kSteps; ++k) {
        expected[row * 8 + column] += Value(a[row * kSteps + k]) * Value(b[column * kSteps + k]);
      }
    }
  }
  const Stream stream = MakeStream();
  Launch(MultiplyOnce<T, C>, {.name = "mma", .grid = 1, .block = 32, .stream = stream}, c.data(),
         reinterpret_cast<const uint32_t*>(a.data()), reinterpret_cast<const uint32_t*>(b.data()));
  Synchronize(stream);
  DestroyStream(stream);
  EXPECT_EQ(c, expected);  // small integers: exact in bf16 and f32 too
}

TEST(Mma, BFloat16) {
  CompareWithLoops<BFloat16, float>(
      [](int i) { return ToBFloat16(static_cast<float>(i % 19 - 9)); });
}

TEST(Mma, Int8) {
  CompareWithLoops<int8_t, int32_t>([](int i) { return static_cast<int8_t>(i * 37); });
}

}  // namespace
}  // namespace alcca::cuda_emulated
