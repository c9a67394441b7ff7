#pragma once

#include "kernels/cuda/context.h"
#include "kernels/cuda/matmul/row_operands.h"

namespace alcca::ALCCA_GPU {

// out[t] = silu(gate) * up and its operands; gate_up [rows, 2 * cols] = gate then up.
void SwiGlu(const DeviceContext& device, float* out, const float* gate_up, int32_t rows,
            int32_t cols, const RowOperands& operands);

}  // namespace alcca::ALCCA_GPU
