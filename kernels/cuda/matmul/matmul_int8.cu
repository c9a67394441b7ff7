// The end of an int8 product of many rows, whose integer sums a library made: scales, outliers, and
// the sum with what is there. Bound by bytes: 4 read and 4 written an output, 8 with kAdd.
//
// Outliers meet the same few columns in most rows (Dettmers et al. 2022), and a column of a
// row-major matrix is read 32 bytes for one. So the columns that any row of the step needs are
// gathered first, each once; what does not fit the room for them is read where it is.

#include "kernels/cuda/matmul/matmul_kernels.h"

namespace alcca::ALCCA_GPU {
namespace {

constexpr int32_t kQuantizeThreads = 256;

// slots[c] = 0 for each column that an outlier meets. Many may write the same 0.
__global__ void MarkColumns(int32_t* slots, RowOperands operands) {
  const int32_t r = static_cast<int32_t>(blockIdx.x);
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < operands.outlier_counts[r]; i += kWarp) {
    slots[operands.outliers[static_cast<size_t>(r) * operands.stride + i]] = 0;
  }
}

// Numbers the marked columns, ascending. One block.
__global__ void NumberColumns(OutlierWorkspace workspace, int32_t cols) {
  int32_t count = 0;
  for (int32_t base = 0; base < cols; base += kQuantizeThreads) {
    const int32_t column = base + static_cast<int32_t>(threadIdx.x);
    const bool marked = column < cols && workspace.slots[column] == 0;
    const Rank rank = BlockRank(marked);
    if (marked) {
      const int32_t slot = count + rank.before;
      const bool fits = slot < OutlierWorkspace::kColumnsMax;
      workspace.slots[column] = fits ? slot : -1;
      if (fits) {
        workspace.columns[slot] = column;
      }
    }
    count += rank.all;
  }
  if (threadIdx.x == 0) {
    *workspace.count = min(count, OutlierWorkspace::kColumnsMax);
  }
}

__global__ void GatherColumns(OutlierWorkspace workspace, const int8_t* weights, int32_t rows,
                              int32_t stride) {
  const int32_t row =
      static_cast<int32_t>(blockIdx.x) * kQuantizeThreads + static_cast<int32_t>(threadIdx.x);
  if (row >= rows) {
    return;
  }
  for (int32_t slot = static_cast<int32_t>(blockIdx.y); slot < *workspace.count;
       slot += static_cast<int32_t>(gridDim.y)) {
    workspace.weights[static_cast<size_t>(slot) * rows + row] =
        weights[static_cast<size_t>(row) * stride + workspace.columns[slot]];
  }
}

__global__ void FinishInt8Kernel(Product product, const int32_t* sums, const int8_t* weights,
                                 const float* scales, const float* bias, OutlierWorkspace workspace,
                                 int32_t n, int32_t padded, int32_t k) {
  const int32_t feature =
      static_cast<int32_t>(blockIdx.y) * kQuantizeThreads + static_cast<int32_t>(threadIdx.x);
  const int32_t token = static_cast<int32_t>(blockIdx.x);
  if (feature >= n) {
    return;
  }
  const RowOperands& o = product.operands;
  const uint16_t* columns = o.outliers + static_cast<size_t>(token) * o.stride;
  float outliers = 0.0f;
  for (int32_t i = 0; i < o.outlier_counts[token]; ++i) {
    const int32_t column = columns[i], slot = workspace.slots[column];
    const int8_t w = slot >= 0 ? workspace.weights[static_cast<size_t>(slot) * padded + feature]
                               : weights[static_cast<size_t>(feature) * o.stride + column];
    outliers = AddOutlier(outliers, product.x[static_cast<size_t>(token) * k + column], w);
  }
  const float dot = Dequantize(sums[static_cast<size_t>(token) * padded + feature], outliers,
                               o.scales[token], scales[feature]);
  const float y = WithBias(dot, bias, feature);
  float& out = product.out[static_cast<size_t>(token) * n + feature];
  out = product.add ? out + y : y;
}

}  // namespace

void FinishInt8(const DeviceContext& device, const Product& product, const int32_t* sums,
                const MatrixCuda& weight, const OutlierWorkspace& workspace) {
  const unsigned m = static_cast<unsigned>(product.m);
  const int32_t padded = weight.padded_rows();
  const unsigned pieces = static_cast<unsigned>((padded + kQuantizeThreads - 1) / kQuantizeThreads);
  const auto config = [&](const char* name, dim3 grid, unsigned block) {
    return LaunchConfig{.name = name, .grid = grid, .block = block, .stream = device.stream};
  };
  FillBytes(device.stream, workspace.slots, 0xff, sizeof(int32_t) * weight.stride());
  Launch(MarkColumns, config("mark_columns", m, kWarp), workspace.slots, product.operands);
  Launch(NumberColumns, config("number_columns", 1, kQuantizeThreads), workspace, weight.cols());
  Launch(GatherColumns, config("gather_columns", dim3(pieces, 16), kQuantizeThreads), workspace,
         weight.data<int8_t>(), padded, weight.stride());
  Launch(FinishInt8Kernel, config("finish_int8", dim3(m, pieces), kQuantizeThreads), product, sums,
         weight.data<int8_t>(), weight.scales(), weight.bias(), workspace, weight.rows(), padded,
         weight.cols());
}

}  // namespace alcca::ALCCA_GPU
