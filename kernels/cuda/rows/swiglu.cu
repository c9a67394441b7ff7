// SwiGLU with the quantisation of its result. A block a row, held in shared memory: 8 bytes a
// column are read, 4 + 2 or 4 + 1 written.

#include "kernels/cuda/rows/swiglu.h"

namespace alcca::ALCCA_GPU {
namespace {

__global__ void __launch_bounds__(kRowThreadsMax)
    SwiGluKernel(float* out, const float* gate_up, int32_t cols, RowOperands operands) {
  ALCCA_DYNAMIC_SHARED(float, row);  // [cols]
  const int32_t r = static_cast<int32_t>(blockIdx.x), threads = static_cast<int32_t>(blockDim.x);
  const float* gate = gate_up + static_cast<size_t>(r) * 2 * cols;
  const float* up = gate + cols;
  for (int32_t k = static_cast<int32_t>(threadIdx.x); k < cols; k += threads) {
    row[k] = gate[k] / (1.0f + expf(-gate[k])) * up[k];
    out[static_cast<size_t>(r) * cols + k] = row[k];
  }
  __syncthreads();
  WriteOperands(row, cols, r, operands);
}

}  // namespace

void SwiGlu(const DeviceContext& device, float* out, const float* gate_up, int32_t rows,
            int32_t cols, const RowOperands& operands) {
  Launch(SwiGluKernel,
         {.name = "swiglu",
          .grid = static_cast<unsigned>(rows),
          .block = RowThreads(cols),
          .shared_bytes = static_cast<size_t>(cols) * sizeof(float),
          .stream = device.stream},
         out, gate_up, cols, operands);
}

}  // namespace alcca::ALCCA_GPU
