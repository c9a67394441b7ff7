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
// | fp8     | <= 96   | our own on tensor cores, x in bf16 (matmul_skinny)                        |
// | fp8     | more    | cuBLASLt, x in e4m3: as for bf16                                          |

#include <array>
#include <map>
#include <memory>
#include <set>

#include "absl/status/statusor.h"
#include "kernels/cuda/device_words/gemm.h"
#include "kernels/cuda/matmul/matmul_kernels.h"
#include "kernels/make_backend.h"

namespace alcca::ALCCA_GPU {

class MatMulCuda {
 public:
  static constexpr int32_t kSkinnyRows = kGraphRowsMax;

  // `device` outlives it. `row_independent`: no product of a library whose sums depend on the
  // number of rows, at the price of slower prompts.
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
  void ForgetAll() { held_ = {}; }

  void Run(float* out, const float* x, int32_t rows, const MatrixCuda& weight, bool add);

 private:
  struct Kinds {
    bool bf16 = false, int8 = false, fp8 = false;
    bool covers(const Kinds& o) const {
      return (bf16 || !o.bf16) && (int8 || !o.int8) && (fp8 || !o.fp8);
    }
  };
  MatMulCuda(const DeviceContext& device, bool row_independent)
      : device_(device), row_independent_(row_independent) {}
  // Whether products of `rows` rows with such weights are our own, and what they read.
  bool IsSkinny(int32_t rows, WeightDType dtype) const;
  static Kinds KindsFor(WeightDType dtype, bool skinny);
  void RunPiece(const Product& product, const MatrixCuda& weight, bool skinny);
  RowOperands Operands(int32_t cols, const Kinds& kinds) const;

  const DeviceContext& device_;
  const bool row_independent_;
  std::unique_ptr<Gemm> gemm_;
  std::map<int32_t, std::set<WeightDType>> readers_;  // of rows of so many columns
  // Whose operands are in the workspace.
  struct {
    const void* data = nullptr;
    int32_t rows = 0, cols = 0;
    Kinds kinds;
  } held_;
  int32_t int32_rows_ = 0;  // of sums_, and outputs
  int32_t int32_outputs_ = 0;
  DeviceArray bf16_, fp8_, fp8_scales_, int8_, scales_, outlier_counts_, outliers_;
  DeviceArray sums_, slots_, columns_, count_, gathered_;
};

}  // namespace alcca::ALCCA_GPU
