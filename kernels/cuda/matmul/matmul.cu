#include "kernels/cuda/matmul/matmul.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "kernels/cuda/matmul/quantize.h"

namespace alcca::ALCCA_GPU {
namespace {

constexpr int32_t kSumRowsMax = 1024;  // int32 sums of so many rows are held at a time

absl::Status Grow(const DeviceContext& device, size_t bytes, const char* what, DeviceArray* array) {
  if (bytes > array->bytes()) {
    *array = DeviceArray();
    ASSIGN_OR_RETURN(*array, device.budget->Allocate(bytes, what));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<MatMulCuda>> MatMulCuda::Make(const DeviceContext& device,
                                                             bool row_independent) {
  std::unique_ptr<MatMulCuda> matmul(new MatMulCuda(device, row_independent));
  ASSIGN_OR_RETURN(matmul->gemm_, Gemm::Make(device));
  return matmul;
}

absl::Status MatMulCuda::Register(const MatrixCuda& weight) {
  const size_t rows = static_cast<size_t>(device_.batch_tokens);
  const size_t stride = static_cast<size_t>(weight.stride());
  if (weight.dtype() == WeightDType::kF32) {
    return absl::OkStatus();
  }
  readers_[weight.cols()].insert(weight.dtype());
  if (weight.dtype() == WeightDType::kFp8) {
    if (fp8_.bytes() == 0) {  // the first such matrix
      if (const absl::Status status = gemm_->CheckFloat8s(); !status.ok()) {
        return absl::UnimplementedError(
            absl::StrCat("fp8 weights need a card of compute capability 9.0; serve int8 or bf16: ",
                         status.message()));
      }
    }
    RETURN_IF_ERROR(Grow(device_, rows * stride, "fp8 activations", &fp8_));
    RETURN_IF_ERROR(Grow(device_, rows * sizeof(float), "activation scales", &fp8_scales_));
  }
  if (weight.dtype() != WeightDType::kInt8) {
    return Grow(device_, rows * stride * sizeof(BFloat16), "bf16 activations", &bf16_);
  }
  int32_rows_ = std::min(device_.batch_tokens, kSumRowsMax);
  int32_outputs_ = std::max(int32_outputs_, weight.padded_rows());
  const size_t outputs = static_cast<size_t>(int32_outputs_);
  RETURN_IF_ERROR(Grow(device_, rows * stride, "int8 activations", &int8_));
  RETURN_IF_ERROR(Grow(device_, rows * sizeof(float), "activation scales", &scales_));
  RETURN_IF_ERROR(Grow(device_, rows * sizeof(int32_t), "outlier counts", &outlier_counts_));
  RETURN_IF_ERROR(Grow(device_, rows * stride * sizeof(uint16_t), "outliers", &outliers_));
  RETURN_IF_ERROR(
      Grow(device_, size_t(int32_rows_) * outputs * sizeof(int32_t), "int32 sums", &sums_));
  RETURN_IF_ERROR(Grow(device_, stride * sizeof(int32_t), "outlier slots", &slots_));
  RETURN_IF_ERROR(
      Grow(device_, OutlierWorkspace::kColumnsMax * sizeof(int32_t), "outlier columns", &columns_));
  RETURN_IF_ERROR(Grow(device_, sizeof(int32_t), "a count", &count_));
  return Grow(device_, OutlierWorkspace::kColumnsMax * outputs, "outlier weights", &gathered_);
}

RowOperands MatMulCuda::Operands(int32_t cols, const Kinds& kinds) const {
  RowOperands operands = {.stride = PaddedCols(cols)};
  if (kinds.bf16) {
    operands.bf16 = bf16_.as<BFloat16>();
  }
  if (kinds.fp8) {
    operands.fp8 = fp8_.as<Float8>();
    operands.fp8_scales = fp8_scales_.as<float>();
  }
  if (kinds.int8) {
    operands.int8 = int8_.as<int8_t>();
    operands.scales = scales_.as<float>();
    operands.outlier_counts = outlier_counts_.as<int32_t>();
    operands.outliers = outliers_.as<uint16_t>();
  }
  return operands;
}

bool MatMulCuda::IsSkinny(int32_t rows, WeightDType dtype) const {
  return rows <= kSkinnyRows || (row_independent_ && dtype != WeightDType::kInt8);
}

MatMulCuda::Kinds MatMulCuda::KindsFor(WeightDType dtype, bool skinny) {
  if (dtype == WeightDType::kInt8) {
    return {.int8 = true};
  }
  const bool fp8 = dtype == WeightDType::kFp8 && !skinny;
  return {.bf16 = !fp8, .fp8 = fp8};
}

RowOperands MatMulCuda::OperandsFor(const void* out, int32_t rows, int32_t cols) {
  Forget(out);
  const auto readers = readers_.find(cols);
  if (readers == readers_.end() || rows > device_.batch_tokens) {
    return {.stride = PaddedCols(cols)};
  }
  Kinds kinds;
  for (const WeightDType dtype : readers->second) {
    const Kinds wanted = KindsFor(dtype, IsSkinny(rows, dtype));
    kinds.bf16 |= wanted.bf16;
    kinds.int8 |= wanted.int8;
    kinds.fp8 |= wanted.fp8;
  }
  held_ = {out, rows, cols, kinds};
  return Operands(cols, kinds);
}

void MatMulCuda::Forget(const void* data) {
  if (held_.data == data) {
    held_ = {};
  }
}

void MatMulCuda::Run(float* out, const float* x, int32_t rows, const MatrixCuda& weight, bool add) {
  const int32_t cols = weight.cols();
  if (weight.dtype() == WeightDType::kF32) {
    Forget(out);
    MatMulFloat(device_, {.out = out, .x = x, .operands = {}, .m = rows, .add = add}, weight);
    return;
  }
  // The library wants fp8's outputs in sixteens; a model's are.
  const bool odd = weight.dtype() == WeightDType::kFp8 && weight.rows() % 16 != 0;
  const bool skinny = odd || IsSkinny(rows, weight.dtype());
  const Kinds kinds = KindsFor(weight.dtype(), skinny);
  const bool held =
      held_.data == x && held_.cols == cols && held_.rows >= rows && held_.kinds.covers(kinds);
  const int32_t piece_max = device_.batch_tokens;
  for (int32_t first = 0; first < rows; first += piece_max) {
    const Product product = {.out = out + size_t(first) * weight.rows(),
                             .x = x + size_t(first) * cols,
                             .operands = Operands(cols, kinds),
                             .m = std::min(piece_max, rows - first),
                             .add = add};
    if (!held) {
      held_ = {};
      QuantizeRows(device_, product.x, product.m, cols, product.operands);
    }
    RunPiece(product, weight, skinny);
  }
  Forget(out);
}

void MatMulCuda::RunPiece(const Product& product, const MatrixCuda& weight, bool skinny) {
  if (skinny) {
    MatMulSkinny(device_, product, weight);
    return;
  }
  Gemm::Shape shape = {
      .m = product.m, .n = weight.rows(), .k = weight.cols(), .stride = weight.stride()};
  if (weight.dtype() == WeightDType::kFp8) {
    gemm_->Float8s(product.out, product.operands.fp8, product.operands.fp8_scales,
                   weight.data<Float8>(), weight.scales(), shape, product.add);
    AddBias(device_, product.out, product.m, weight);
    return;
  }
  if (weight.dtype() == WeightDType::kBF16) {
    gemm_->BFloat16s(product.out, product.operands.bf16, weight.data<BFloat16>(), shape,
                     product.add);
    AddBias(device_, product.out, product.m, weight);
    return;
  }
  const OutlierWorkspace workspace = {.slots = slots_.as<int32_t>(),
                                      .columns = columns_.as<int32_t>(),
                                      .count = count_.as<int32_t>(),
                                      .weights = gathered_.as<int8_t>()};
  shape.n = weight.padded_rows();
  for (int32_t first = 0; first < product.m; first += int32_rows_) {
    Product piece = product;
    piece.m = shape.m = std::min(int32_rows_, product.m - first);
    piece.out += size_t(first) * weight.rows();
    piece.x += size_t(first) * weight.cols();
    piece.operands.int8 += size_t(first) * weight.stride();
    piece.operands.scales += first;
    piece.operands.outlier_counts += first;
    piece.operands.outliers += size_t(first) * weight.stride();
    gemm_->Int8s(sums_.as<int32_t>(), piece.operands.int8, weight.data<int8_t>(), shape);
    FinishInt8(device_, piece, sums_.as<int32_t>(), weight, workspace);
  }
}

}  // namespace alcca::ALCCA_GPU
