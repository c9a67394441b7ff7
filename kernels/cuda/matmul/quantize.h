#pragma once

#include "kernels/cuda/context.h"
#include "kernels/cuda/matmul/row_operands.h"

namespace alcca::ALCCA_GPU {

// Writes the operands of x [rows, cols] if no earlier op wrote them (the input of attention's
// output projection).
void QuantizeRows(const DeviceContext& device, const float* x, int32_t rows, int32_t cols,
                  const RowOperands& operands);

}  // namespace alcca::ALCCA_GPU
