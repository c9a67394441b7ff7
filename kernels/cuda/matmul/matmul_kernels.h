#pragma once

// The products that MatMulCuda chooses among. All: out [m, n] f32 with n = weight.rows(), x and its
// operands [m, *] with k = weight.cols(); the weight's bias is added.

#include "kernels/cuda/context.h"
#include "kernels/cuda/matmul/matrix.h"
#include "kernels/cuda/matmul/row_operands.h"

namespace alcca::ALCCA_GPU {

struct Product {
  float* out;
  const float* x;        // [m, k]
  RowOperands operands;  // of x
  int32_t m;
  bool add;
};

// f32 weights: for checking, not for speed.
void MatMulFloat(const DeviceContext& device, const Product& product, const MatrixCuda& weight);

// bf16, fp8 or int8 weights on tensor cores, weights read once for up to 64 rows. A row's bits
// depend neither on m nor on its neighbours.
void MatMulSkinny(const DeviceContext& device, const Product& product, const MatrixCuda& weight);

// What the int8 product of many rows needs beside the library: room for the columns that outliers
// of the whole step meet.
struct OutlierWorkspace {
  static constexpr int32_t kColumnsMax = 256;  // gathered; others are read where they are
  int32_t* slots;                              // [stride]: of a column in `columns`, or -1
  int32_t* columns;                            // [kColumnsMax]
  int32_t* count;                              // [1]
  int8_t* weights;                             // [kColumnsMax, padded_rows]
};
// Scales, outliers and sums: out from sums [m, weight.padded_rows()] of int8 products. The same
// bits as MatMulSkinny's.
void FinishInt8(const DeviceContext& device, const Product& product, const int32_t* sums,
                const MatrixCuda& weight, const OutlierWorkspace& workspace);

// out [m, n] += the weight's bias, if it has one: after a library's product, which adds none.
void AddBias(const DeviceContext& device, float* out, int32_t m, const MatrixCuda& weight);

// An output with its bias (null: none). Rounded on its own, so that the library's path agrees.
__device__ __forceinline__ float WithBias(float y, const float* bias, int32_t feature) {
  return bias == nullptr ? y : __fadd_rn(y, bias[feature]);
}

// Converts an integer sum into an output, for both int8 kernels: one order of operations, one
// rounding each.
__device__ __forceinline__ float AddOutlier(float sum, float x, int8_t w) {
  return fmaf(x, static_cast<float>(w), sum);
}
__device__ __forceinline__ float Dequantize(int32_t dot, float outliers, float x_scale,
                                            float w_scale) {
  return w_scale * fmaf(x_scale, static_cast<float>(dot), outliers);
}

}  // namespace alcca::ALCCA_GPU
