// RMSNorm with the quantisation of its result. A block a row, which it holds in shared memory:
// x is read once, 4 bytes a column, and 4 + 2 or 4 + 1 are written.

#include "kernels/cuda/rows/norm.h"

namespace alcca::ALCCA_GPU {
namespace {

__global__ void __launch_bounds__(kRowThreadsMax)
    RmsNormKernel(float* out, const float* x, const float* weight, int32_t cols, float eps,
                  RowOperands operands) {
  ALCCA_DYNAMIC_SHARED(float, row);  // [cols]
  const int32_t r = static_cast<int32_t>(blockIdx.x), first = static_cast<int32_t>(threadIdx.x);
  const int32_t threads = static_cast<int32_t>(blockDim.x);
  const size_t begin = static_cast<size_t>(r) * cols;
  float sum = 0.0f;
  for (int32_t k = first; k < cols; k += threads) {
    row[k] = x[begin + k];
    sum += row[k] * row[k];
  }
  sum = BlockSum(sum);
  const float inverse = 1.0f / sqrtf(sum / static_cast<float>(cols) + eps);
  for (int32_t k = first; k < cols; k += threads) {  // its own columns again: no barrier between
    row[k] = row[k] * inverse * weight[k];
    out[begin + k] = row[k];
  }
  __syncthreads();
  WriteOperands(row, cols, r, operands);
}

}  // namespace

void RmsNorm(const DeviceContext& device, float* out, const float* x, const float* weight,
             int32_t rows, int32_t cols, float eps, const RowOperands& operands) {
  Launch(RmsNormKernel,
         {.name = "rms_norm",
          .grid = static_cast<unsigned>(rows),
          .block = RowThreads(cols),
          .shared_bytes = static_cast<size_t>(cols) * sizeof(float),
          .stream = device.stream},
         out, x, weight, cols, eps, operands);
}

}  // namespace alcca::ALCCA_GPU
