// Included once by each attention_kernels_<isa>.cc, which sets the compiler's instruction set;
// hence everything here has internal linkage. GCC and clang vector extensions: 16 lanes in every
// build, so the order of additions is the same on all machines.

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
inline void Store(float* p, Lanes v) {
  std::memcpy(p, &v, sizeof(v));
}

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

// Sum() of 16 vectors at once, by the same tree: lane r of the result is Sum(v[r]).
inline Lanes SumEach(Lanes v[kLanes]) {
  for (int r = 0; r < 8; ++r) {
    v[r] = __builtin_shufflevector(v[r], v[r + 8], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21,
                                   22, 23) +
           __builtin_shufflevector(v[r], v[r + 8], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28,
                                   29, 30, 31);
  }
  for (int r = 0; r < 4; ++r) {
    v[r] = __builtin_shufflevector(v[r], v[r + 4], 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25,
                                   26, 27) +
           __builtin_shufflevector(v[r], v[r + 4], 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28,
                                   29, 30, 31);
  }
  for (int r = 0; r < 2; ++r) {
    v[r] = __builtin_shufflevector(v[r], v[r + 2], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13,
                                   28, 29) +
           __builtin_shufflevector(v[r], v[r + 2], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14,
                                   15, 30, 31);
  }
  return __builtin_shufflevector(v[0], v[1], 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14,
                                 30) +
         __builtin_shufflevector(v[0], v[1], 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15,
                                 31);
}

struct Product {
  template <typename T>
  T operator()(T a, T b) const {
    return a * b;
  }
};
struct SquaredDifference {
  template <typename T>
  T operator()(T a, T b) const {
    return (a - b) * (a - b);
  }
};

// out[j] = sum_i Term(q[i], rows[j * d + i]), n <= kCount rows. If there are fewer than kCount
// rows, the last one is repeated, so that every row takes the same path and its result does not
// depend on its place.
template <typename Term, int kCount>
void ReduceGroup(float* out, const float* q, const float* rows, int32_t n, int32_t d) {
  constexpr Term term;
  const int32_t whole = d / kLanes * kLanes;
  const float* row[kCount];
  Lanes sum[kLanes] = {};
  for (int32_t r = 0; r < kCount; ++r) {
    row[r] = rows + size_t(std::min(r, n - 1)) * d;
  }
  for (int32_t i = 0; i < whole; i += kLanes) {
    const Lanes a = Load(q + i);
    for (int32_t r = 0; r < kCount; ++r) {
      sum[r] += term(a, Load(row[r] + i));
    }
  }
  float total[kLanes];
  Store(total, SumEach(sum));
  for (int32_t r = 0; r < n; ++r) {
    float tail = 0;
    for (int32_t i = whole; i < d; ++i) {
      tail += term(q[i], row[r][i]);
    }
    out[r] = total[r] + tail;
  }
}

template <typename Term>
void ReduceRows(float* out, const float* q, const float* rows, int32_t n, int32_t d) {
  for (int32_t begin = 0; begin < n; begin += kLanes) {
    const int32_t left = std::min(kLanes, n - begin);
    if (left > kLanes / 2) {
      ReduceGroup<Term, kLanes>(out + begin, q, rows + size_t(begin) * d, left, d);
    } else {
      ReduceGroup<Term, kLanes / 2>(out + begin, q, rows + size_t(begin) * d, left, d);
    }
  }
}

void RestoreInt8(float* out, const int8_t* rows, const float* scales, int32_t n, int32_t d) {
  typedef int8_t Bytes __attribute__((vector_size(kLanes)));
  for (int32_t j = 0; j < n; ++j, rows += d, out += d) {
    int32_t i = 0;
    for (; i + kLanes <= d; i += kLanes) {
      Bytes v;
      std::memcpy(&v, rows + i, sizeof(v));
      Store(out + i, scales[j] * __builtin_convertvector(v, Lanes));
    }
    for (; i < d; ++i) {
      out[i] = scales[j] * static_cast<float>(rows[i]);
    }
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

// acc[0 .. count * 16) = acc * scale + sum_j weights[j] * values[j * stride ...], held in
// registers.
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
  if (j < n) {  // all that is left at once: many folds are of a few keys
    Lanes rest = Lanes{} + max;
    std::memcpy(&rest, scores + j, (n - j) * sizeof(float));
    const Lanes e = ExpNegative(rest - max);
    std::memcpy(scores + j, &e, (n - j) * sizeof(float));
    for (; j < n; ++j) {
      sum += scores[j];
    }
  }
  state->sum = state->sum * scale + sum;
  state->max = max;

  int32_t i = 0;
  for (; i + 8 * kLanes <= d; i += 8 * kLanes) {
    WeightedSlab<8>(acc + i, scale, scores, values + i, n, d);
  }
  if (i + 4 * kLanes <= d) {
    WeightedSlab<4>(acc + i, scale, scores, values + i, n, d);
    i += 4 * kLanes;
  }
  if (i + 2 * kLanes <= d) {
    WeightedSlab<2>(acc + i, scale, scores, values + i, n, d);
    i += 2 * kLanes;
  }
  if (i + kLanes <= d) {
    WeightedSlab<1>(acc + i, scale, scores, values + i, n, d);
    i += kLanes;
  }
  for (; i < d; ++i) {
    float a = acc[i] * scale;
    for (int32_t row = 0; row < n; ++row) {
      a += scores[row] * values[size_t(row) * d + i];
    }
    acc[i] = a;
  }
}

constexpr AttentionKernels kKernels{.dots = ReduceRows<Product>,
                                    .fold = Fold,
                                    .restore_int8 = RestoreInt8,
                                    .axpy = Axpy,
                                    .squared_distances = ReduceRows<SquaredDifference>};

}  // namespace
}  // namespace alcca
