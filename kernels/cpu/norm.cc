#include "kernels/cpu/norm.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "base/check.h"

namespace alcca {
namespace {

constexpr int32_t kLanes = 8;  // independent partial sums, which compilers vectorise
constexpr int32_t kNormRowsPerTask = 8;

double SumOfSquares(const float* x, int32_t cols) {
  double lanes[kLanes] = {};
  int32_t k = 0;
  for (; k + kLanes <= cols; k += kLanes) {
    for (int32_t i = 0; i < kLanes; ++i) {
      lanes[i] += double{x[k + i]} * x[k + i];
    }
  }
  double sum = 0.0;
  for (; k < cols; ++k) {
    sum += double{x[k]} * x[k];
  }
  for (const double lane : lanes) {
    sum += lane;
  }
  return sum;
}

}  // namespace

void RmsNormCpu(ThreadPool& pool, TensorView out, TensorView x, std::span<const float> weight,
                float eps) {
  ALCCA_CHECK(out.dtype == DType::kF32 && x.dtype == DType::kF32);
  ALCCA_CHECK(out.rows == x.rows && out.cols == x.cols);
  ALCCA_CHECK(weight.size() == static_cast<size_t>(x.cols));
  pool.ParallelFor((x.rows + kNormRowsPerTask - 1) / kNormRowsPerTask, [&](int32_t task) {
    const int32_t end = std::min(x.rows, (task + 1) * kNormRowsPerTask);
    for (int32_t t = task * kNormRowsPerTask; t < end; ++t) {
      const size_t at = static_cast<size_t>(t) * static_cast<size_t>(x.cols);
      const float* in = x.f32() + at;
      float* row = out.f32() + at;
      const double mean = SumOfSquares(in, x.cols) / x.cols;
      const float scale = static_cast<float>(1.0 / std::sqrt(mean + double{eps}));
      for (int32_t k = 0; k < x.cols; ++k) {
        row[k] = in[k] * scale * weight[static_cast<size_t>(k)];
      }
    }
  });
}

}  // namespace alcca
