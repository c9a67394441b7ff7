#pragma once

// The ops that may stand between two attentions, as values: what one enqueues depends on its
// members alone, so two that are equal enqueue the same.

#include <cstdint>
#include <variant>

#include "kernels/backend.h"
#include "kernels/cuda/context.h"
#include "kernels/cuda/kv_cache.h"
#include "kernels/cuda/matmul/matmul.h"
#include "kernels/cuda/rows/rope.h"

namespace alcca::ALCCA_GPU {

struct NormOp {
  float* out;  // [rows, cols]
  const float* x;
  const float* weight;  // [cols]
  int32_t rows, cols;
  float eps;
  bool operator==(const NormOp&) const = default;
};

struct MatMulOp {
  float* out;      // [rows, weight.rows()]
  const float* x;  // [rows, weight.cols()]
  int32_t rows;
  const MatrixCuda* weight;
  bool add;
  bool operator==(const MatMulOp&) const = default;
};

struct SwiGluOp {
  float* out;            // [rows, cols]
  const float* gate_up;  // [rows, 2 * cols]
  int32_t rows, cols;
  bool operator==(const SwiGluOp&) const = default;
};

struct RopeOp {
  float* qkv;  // [rows, shape.qkv_cols()]
  KvCacheCuda* kv;
  int32_t layer;
  const RowPlace* places;    // [rows], in device memory
  const float* frequencies;  // [head_dim / 2], in device memory
  int32_t rows;
  AttentionShape shape;
  bool operator==(const RopeOp&) const = default;
};

using RowOp = std::variant<NormOp, MatMulOp, SwiGluOp, RopeOp>;

// Enqueues the op. What it knows of operands in the workspace it leaves in `matmul`.
void LaunchOp(const DeviceContext& device, MatMulCuda& matmul, const RowOp& op);

}  // namespace alcca::ALCCA_GPU
