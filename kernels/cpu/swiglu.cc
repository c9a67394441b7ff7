#include "kernels/cpu/swiglu.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "kernels/cpu/exp.h"

namespace alcca {
namespace {

constexpr int32_t kColsPerTask = 2048;

// x in [-87, 88], where e^x and its factors are normal floats. Compares bits: a comparison of
// floats may trap, which keeps compilers from vectorising.
float Clamp(float x) {
  constexpr uint32_t kLow = std::bit_cast<uint32_t>(-87.0f);  // negatives below it are larger
  constexpr int32_t kHigh = std::bit_cast<int32_t>(88.0f);    // all negatives are smaller
  const auto bits = static_cast<int32_t>(std::min(std::bit_cast<uint32_t>(x), kLow));
  return std::bit_cast<float>(std::min(bits, kHigh));
}

// e^x for a clamped x.
float ExpClamped(float x) {
  const ExpParts e = Exp(x);
  return e.mantissa * std::bit_cast<float>(static_cast<uint32_t>(e.exponent + 127) << 23);
}

// Two passes, since a clamp and a polynomial in one loop are threaded into branches.
void Row(const float* gate, const float* up, int32_t count, float* out) {
  for (int32_t i = 0; i < count; ++i) {
    out[i] = Clamp(-gate[i]);
  }
  for (int32_t i = 0; i < count; ++i) {
    out[i] = gate[i] / (1.0f + ExpClamped(out[i])) * up[i];
  }
}

}  // namespace

void SwiGluCpu(ThreadPool& pool, TensorView out, TensorView gate_up) {
  ALCCA_CHECK(out.dtype == DType::kF32 && gate_up.dtype == DType::kF32);
  ALCCA_CHECK(out.rows == gate_up.rows && gate_up.cols == 2 * out.cols);
  ALCCA_CHECK(out.data != gate_up.data);
  const int32_t slices = (out.cols + kColsPerTask - 1) / kColsPerTask;
  pool.ParallelFor(out.rows * slices, [&](int32_t task) {
    const size_t t = static_cast<size_t>(task / slices);
    const int32_t begin = task % slices * kColsPerTask;
    const int32_t count = std::min(kColsPerTask, out.cols - begin);
    const size_t cols = static_cast<size_t>(out.cols);
    const float* gate = gate_up.f32() + 2 * t * cols + begin;
    Row(gate, gate + cols, count, out.f32() + t * cols + begin);
  });
}

}  // namespace alcca
