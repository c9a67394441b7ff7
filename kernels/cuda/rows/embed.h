#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/context.h"

namespace alcca::ALCCA_GPU {

// out[i] = table[rows[i]] as f32, [count, cols]; `rows` in device memory.
void EmbedRows(const DeviceContext& device, float* out, const void* table, DType dtype,
               const int32_t* rows, int32_t count, int32_t cols);

}  // namespace alcca::ALCCA_GPU
