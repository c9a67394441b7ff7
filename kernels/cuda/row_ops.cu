#include "kernels/cuda/row_ops.h"

#include "kernels/cuda/rows/norm.h"
#include "kernels/cuda/rows/swiglu.h"

namespace alcca::ALCCA_GPU {
namespace {

void LaunchOne(const DeviceContext& device, MatMulCuda& matmul, const NormOp& op) {
  const RowOperands operands = matmul.OperandsFor(op.out, op.rows, op.cols);
  RmsNorm(device, op.out, op.x, op.weight, op.rows, op.cols, op.eps, operands);
}

void LaunchOne(const DeviceContext&, MatMulCuda& matmul, const MatMulOp& op) {
  matmul.Run(op.out, op.x, op.rows, *op.weight, op.add);
}

void LaunchOne(const DeviceContext& device, MatMulCuda& matmul, const SwiGluOp& op) {
  const RowOperands operands = matmul.OperandsFor(op.out, op.rows, op.cols);
  SwiGlu(device, op.out, op.gate_up, op.rows, op.cols, operands);
}

void LaunchOne(const DeviceContext& device, MatMulCuda& matmul, const RopeOp& op) {
  matmul.Forget(op.qkv);
  RopeAndStore(device, op.qkv, *op.kv, op.layer, op.places, op.frequencies, op.rows, op.shape);
}

}  // namespace

void LaunchOp(const DeviceContext& device, MatMulCuda& matmul, const RowOp& op) {
  std::visit([&](const auto& one) { LaunchOne(device, matmul, one); }, op);
}

}  // namespace alcca::ALCCA_GPU
