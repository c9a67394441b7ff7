#pragma once

// out (+)= x w^T: which kernel runs, and the operands and workspace it needs.
//
// | weights | rows    | product                                                                  |
// |---------|---------|--------------------------------------------------------------------------|
// | f32     | any     | our own (matmul_float)                                                   |
// | int8    | <= 96   | our own on tensor cores (matmul_skinny)                                  |
// | int8    | more    | cuBLASLt to int32, then matmul_int8: the same bits                       |
// | bf16    | <= 96   | our own on tensor cores (matmul_skinny)                                  |
// | bf16    | more    | cuBLASLt: other bits than with few rows, unless `row_independent` is set |

#include <array>
#include <map>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/matmul_kernels.h"

namespace alcca::ALCCA_GPU {

class MatMulCuda {
 public:
  static constexpr int32_t kSkinnyRows = 96;

  // `device` outlives it. `row_independent`: no library where its sums depend on the number of
  // rows, at the price of slower prompts.
  static absl::StatusOr<std::unique_ptr<MatMulCuda>> Make(const DeviceContext& device,
                                                          bool row_independent);

  // Start-up: makes room for products with `weight`, and from now on asks ops whose results have as
  // many columns for the operands it reads.
  absl::Status Register(const MatrixCuda& weight);

  // For an op that is about to write out [rows, cols]: which operands to write beside it (none, if
  // no product reads such rows). They hold until the next call, or Forget(out).
  RowOperands OperandsFor(const void* out, int32_t rows, int32_t cols);
  // `data` has been written without operands.
  void Forget(const void* data);

  void Run(float* out, const float* x, int32_t rows, const MatrixCuda& weight, bool add);

 private:
  struct Kinds {
    bool bf16 = false, int8 = false;
  };
  MatMulCuda(const DeviceContext& device, bool row_independent)
      : device_(device), row_independent_(row_independent) {}
  void RunPiece(const Product& product, const MatrixCuda& weight);
  RowOperands Operands(int32_t cols, const Kinds& kinds) const;

  const DeviceContext& device_;
  const bool row_independent_;
  std::unique_ptr<Gemm> gemm_;
  std::map<int32_t, Kinds> kinds_;  // by columns
  // Whose operands are in the workspace.
  struct {
    const void* data = nullptr;
    int32_t rows = 0, cols = 0;
    Kinds kinds;
  } held_;
  int32_t int32_rows_ = 0;  // of sums_, and outputs
  int32_t int32_outputs_ = 0;
  DeviceArray bf16_, int8_, scales_, outlier_counts_, outliers_;
  DeviceArray sums_, slots_, columns_, count_, gathered_;
};

}  // namespace alcca::ALCCA_GPU
