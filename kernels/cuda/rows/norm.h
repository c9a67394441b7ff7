#pragma once

#include "kernels/cuda/context.h"
#include "kernels/cuda/matmul/row_operands.h"

namespace alcca::ALCCA_GPU {

// out[t] = x[t] / sqrt(mean(x[t]^2) + eps) * weight, [rows, cols], and its operands; out may be x.
void RmsNorm(const DeviceContext& device, float* out, const float* x, const float* weight,
             int32_t rows, int32_t cols, float eps, const RowOperands& operands);

}  // namespace alcca::ALCCA_GPU
