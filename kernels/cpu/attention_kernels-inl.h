// Included once by each attention_kernels_<isa>.cc, which sets the compiler's instruction set; hence
// everything here has internal linkage. GCC and clang vector extensions: 16 lanes in every build, so
// the order of additions is the same on all machines.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/cpu/attention_kernels.h"

namespace alcca {
namespace {

constexpr int32_t kLanes = 16;
typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float))));
typedef int32_t IntLanes __attribute__((vector_size(kLanes * sizeof(int32_t))));

inline Lanes Load(const float* p) {
  Lanes v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
inline void Store(float* p, Lanes v) { std::memcpy(p, &v, sizeof(v)); }

// Pairwise, always the same tree.
inline float Sum(Lanes v) {
  float a[kLanes];
  Store(a, v);
  for (int32_t width = kLanes / 2; width > 0; width /= 2) {
    for (int32_t i = 0; i < width; ++i) {
      a[i] += a[i + width];
    }
  }
  return a[0];
}

// exp(x) for x <= 0, relative error below 2e-7: x = n ln2 + r, a degree-6 polynomial in r (Cephes).
inline Lanes ExpNegative(Lanes x) {
  constexpr float kLog2e = 1.44269504088896341f;
  constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  const Lanes floor_at = Lanes{} - 87.0f;  // below, the result would be denormal: 0 will do
  const IntLanes tiny = x < floor_at;
  x = tiny ? floor_at : x;
  const IntLanes n = __builtin_convertvector(x * kLog2e - 0.5f, IntLanes);  // truncation: x <= 0
  const Lanes nf = __builtin_convertvector(n, Lanes);
  const Lanes r = x - nf * kLn2High - nf * kLn2Low;
  Lanes p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const IntLanes bits = (n + 127) << 23;
  Lanes scale;
  std::memcpy(&scale, &bits, sizeof(scale));
  return tiny ? Lanes{} : p * scale;
}

void Dots(float* out, const float* q, const float* rows, int32_t n, int32_t d) {
  for (int32_t j = 0; j < n; ++j) {
    const float* row = rows + size_t(j) * d;
    Lanes sum{};
    int32_t i = 0;
    for (; i + kLanes <= d; i += kLanes) {
      sum += Load(q + i) * Load(row + i);
    }
    float tail = 0;
    for (; i < d; ++i) {
      tail += q[i] * row[i];
    }
    out[j] = Sum(sum) + tail;
  }
}

void Axpy(float* acc, float w, const float* row, int32_t d) {
  int32_t i = 0;
  for (; i + kLanes <= d; i += kLanes) {
    Store(acc + i, Load(acc + i) + w * Load(row + i));
  }
  for (; i < d; ++i) {
    acc[i] += w * row[i];
  }
}

// acc[0 .. count * 16) = acc * scale + sum_j weights[j] * values[j * stride ...], held in registers.
template <int kCount>
void WeightedSlab(float* acc, float scale, const float* weights, const float* values, int32_t n,
                  int32_t stride) {
  Lanes sum[kCount];
  for (int c = 0; c < kCount; ++c) {
    sum[c] = Load(acc + c * kLanes) * scale;
  }
  for (int32_t j = 0; j < n; ++j) {
    const float w = weights[j];
    const float* row = values + size_t(j) * stride;
    for (int c = 0; c < kCount; ++c) {
      sum[c] += w * Load(row + c * kLanes);
    }
  }
  for (int c = 0; c < kCount; ++c) {
    Store(acc + c * kLanes, sum[c]);
  }
}

void Fold(float* acc, SoftmaxState* state, float* scores, const float* values, int32_t n,
          int32_t d) {
  float top = scores[0];
  for (int32_t j = 1; j < n; ++j) {
    top = std::max(top, scores[j]);
  }
  const bool first = !(state->sum > 0);
  const float max = first ? top : std::max(state->max, top);
  // A NaN score must reach the output: std::max may drop it, the sum below does not.
  float scale = 0;
  if (!first) {
    Lanes shift = Lanes{} + (state->max - max);
    scale = ExpNegative(shift)[0];
  }
  float sum = 0;
  int32_t j = 0;
  for (; j + kLanes <= n; j += kLanes) {
    const Lanes e = ExpNegative(Load(scores + j) - max);
    Store(scores + j, e);
    sum += Sum(e);
  }
  for (; j < n; ++j) {
    const Lanes e = ExpNegative(Lanes{} + (scores[j] - max));
    scores[j] = e[0];
    sum += scores[j];
  }
  state->sum = state->sum * scale + sum;
  state->max = max;

  int32_t i = 0;
  for (; i + 8 * kLanes <= d; i += 8 * kLanes) {
    WeightedSlab<8>(acc + i, scale, scores, values + i, n, d);
  }
  for (; i + kLanes <= d; i += kLanes) {
    WeightedSlab<1>(acc + i, scale, scores, values + i, n, d);
  }
  for (; i < d; ++i) {
    float a = acc[i] * scale;
    for (int32_t row = 0; row < n; ++row) {
      a += scores[row] * values[size_t(row) * d + i];
    }
    acc[i] = a;
  }
}

float SquaredDistance(const float* a, const float* b, int32_t d) {
  Lanes sum{};
  int32_t i = 0;
  for (; i + kLanes <= d; i += kLanes) {
    const Lanes e = Load(a + i) - Load(b + i);
    sum += e * e;
  }
  float tail = 0;
  for (; i < d; ++i) {
    const float e = a[i] - b[i];
    tail += e * e;
  }
  return Sum(sum) + tail;
}

constexpr AttentionKernels kKernels{
    .dots = Dots, .fold = Fold, .axpy = Axpy, .squared_distance = SquaredDistance};

}  // namespace
}  // namespace alcca
