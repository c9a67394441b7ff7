// Activations to bf16 or int8 by themselves: 4 bytes a column read, 2 or 1 written; a block a row.

#include "kernels/cuda/matmul/quantize.h"

namespace alcca::ALCCA_GPU {
namespace {

__global__ void __launch_bounds__(kRowThreadsMax)
    QuantizeKernel(const float* x, int32_t cols, RowOperands operands) {
  ALCCA_DYNAMIC_SHARED(float, row);  // [cols]
  const int32_t r = static_cast<int32_t>(blockIdx.x), threads = static_cast<int32_t>(blockDim.x);
  for (int32_t k = static_cast<int32_t>(threadIdx.x); k < cols; k += threads) {
    row[k] = x[static_cast<size_t>(r) * cols + k];
  }
  __syncthreads();
  WriteOperands(row, cols, r, operands);
}

}  // namespace

void QuantizeRows(const DeviceContext& device, const float* x, int32_t rows, int32_t cols,
                  const RowOperands& operands) {
  Launch(QuantizeKernel,
         {.name = "quantize",
          .grid = static_cast<unsigned>(rows),
          .block = RowThreads(cols),
          .shared_bytes = static_cast<size_t>(cols) * sizeof(float),
          .stream = device.stream},
         x, cols, operands);
}

}  // namespace alcca::ALCCA_GPU
