#pragma once

// The inner kernels of MatMul, one table per instruction set. This header is compiled into files
// with different -m flags, so it holds plain structs only: an inline function here could be linked
// from the wrong file.
//
// Weights are packed in panels of 32 output features (padded with zeros) over all input features:
//   f32   [cols][32]              float
//   bf16  [cols][16]              uint32: feature i in the low half, feature 16 + i in the high
//   half int8  [cols / 4][32][4]       int8, cols padded to a multiple of 4 with zeros
// Activations are packed in blocks of `block_rows` tokens, the last block with the rows that are
// left (`r` of them), so that one row alone is simply itself:
//   f32   [block][cols][r]        int8  [block][cols / 4][r][4], XORed with `int8_flip`
//
// Row independence: every output is one accumulator over ascending input features, fused
// multiply-add where the instruction set has it, whatever the size of its block. Integer sums are
// exact in any order.

#include <cstddef>
#include <cstdint>

namespace alcca {

inline constexpr int32_t kPanelFeatures = 32;

// One panel against all rows of a call: out[t, 0..width) (+)= panel . x[t].
struct PanelCall {
  const void* panel;
  const void* x;      // packed activations
  int32_t rows;       // tokens
  int32_t cols;       // input features; for int8 padded to a multiple of 4
  float* out;         // [rows, out_stride], at the panel's first feature
  size_t out_stride;  // floats
  int32_t width;      // 1..32 features of the panel that exist
  bool add;
};

// What int8 needs beside: y = weight_scale * (x_scale * integer sum + sum of outliers).
struct Int8Call {
  PanelCall panel;
  const float* weight_scales;  // [32]
  const int32_t* weight_sums;  // [32], sum of the int8 weights of a feature
  const float* x_scales;       // [rows]
  const float* x;              // [rows, x_stride], activations as they came, for the outliers
  size_t x_stride;             // floats
  const uint16_t* outliers;    // [rows, outlier_stride], ascending input features
  size_t outlier_stride;
  const int32_t* outlier_counts;  // [rows]
};

struct MatMulKernels {
  int32_t float_block_rows;  // of packed f32 activations, for f32 and bf16 weights
  int32_t int8_block_rows;   // of packed int8 activations
  uint8_t int8_flip;         // 0x80: the kernel wants x + 128 unsigned; 0: signed
  void (*f32)(const PanelCall& call);
  void (*bf16)(const PanelCall& call);
  void (*int8)(const Int8Call& call);
};

const MatMulKernels& MatMulAvx512();
const MatMulKernels& MatMulAvx2();
const MatMulKernels& MatMulPortable();

}  // namespace alcca
