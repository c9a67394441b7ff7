// Embedding and gathering rows: a copy. Bound by bytes, cols * (element + 4) a row; a block a row
// and 1,024 columns.

#include "kernels/cuda/rows/embed.h"

namespace alcca::ALCCA_GPU {
namespace {

constexpr int32_t kEmbedThreads = 256;
constexpr int32_t kColumns = 4 * kEmbedThreads;  // of a block

template <typename E>
__global__ void EmbedKernel(float* out, const E* table, const int32_t* rows, int32_t cols) {
  const size_t from = static_cast<size_t>(rows[blockIdx.x]) * cols;
  const size_t to = static_cast<size_t>(blockIdx.x) * cols;
  const int32_t begin = static_cast<int32_t>(blockIdx.y) * kColumns;
  const int32_t end = min(cols, begin + kColumns);
  for (int32_t k = begin + static_cast<int32_t>(threadIdx.x); k < end; k += kEmbedThreads) {
    out[to + k] = ToFloat(table[from + k]);
  }
}

template <typename E>
void Start(const DeviceContext& device, float* out, const void* table, const int32_t* rows,
           int32_t count, int32_t cols) {
  Launch(EmbedKernel<E>,
         {.name = "embed",
          .grid = dim3(static_cast<unsigned>(count),
                       static_cast<unsigned>((cols + kColumns - 1) / kColumns)),
          .block = kEmbedThreads,
          .stream = device.stream},
         out, static_cast<const E*>(table), rows, cols);
}

}  // namespace

void EmbedRows(const DeviceContext& device, float* out, const void* table, DType dtype,
               const int32_t* rows, int32_t count, int32_t cols) {
  switch (dtype) {
    case DType::kF32:
      return Start<float>(device, out, table, rows, count, cols);
    case DType::kF16:
      return Start<Half>(device, out, table, rows, count, cols);
    case DType::kBF16:
      return Start<BFloat16>(device, out, table, rows, count, cols);
  }
}

}  // namespace alcca::ALCCA_GPU
