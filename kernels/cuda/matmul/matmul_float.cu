// f32 products: a warp an output, four rows of x at a time. Bound by weight bytes, read m / 4
// times. It serves f32 checkpoints and comparison, where nobody measures speed.

#include "base/check.h"
#include "kernels/cuda/matmul/matmul_kernels.h"

namespace alcca::ALCCA_GPU {
namespace {

constexpr int32_t kWarps = 8;
constexpr int32_t kRows = 4;

__global__ void MatMulFloatKernel(float* out, const float* x, const float* w, const float* bias,
                                  int32_t m, int32_t n, int32_t k, int32_t stride, bool add) {
  const int32_t warp = static_cast<int32_t>(threadIdx.x) / kWarp;
  const int32_t lane = static_cast<int32_t>(threadIdx.x) % kWarp;
  const int32_t column = static_cast<int32_t>(blockIdx.x) * kWarps + warp;
  const int32_t first = static_cast<int32_t>(blockIdx.y) * kRows;
  if (column >= n) {  // the whole warp; no barrier follows
    return;
  }
  float sums[kRows] = {};
  for (int32_t i = lane; i < k; i += kWarp) {
    const float weight = w[static_cast<size_t>(column) * stride + i];
#pragma unroll
    for (int32_t r = 0; r < kRows; ++r) {
      const int32_t row = min(first + r, m - 1);
      sums[r] = fmaf(x[static_cast<size_t>(row) * k + i], weight, sums[r]);
    }
  }
#pragma unroll
  for (int32_t r = 0; r < kRows; ++r) {
    const float sum = WithBias(WarpSum(sums[r]), bias, column);
    if (lane == r && first + r < m) {
      float& y = out[static_cast<size_t>(first + r) * n + column];
      y = add ? y + sum : sum;
    }
  }
}

}  // namespace

void MatMulFloat(const DeviceContext& device, const Product& product, const MatrixCuda& weight) {
  Launch(MatMulFloatKernel,
         {.name = "matmul_float",
          .grid = dim3(static_cast<unsigned>((weight.rows() + kWarps - 1) / kWarps),
                       static_cast<unsigned>((product.m + kRows - 1) / kRows)),
          .block = kWarps * kWarp,
          .stream = device.stream},
         product.out, product.x, weight.data<float>(), weight.bias(), product.m, weight.rows(),
         weight.cols(), weight.stride(), product.add);
}

}  // namespace alcca::ALCCA_GPU
