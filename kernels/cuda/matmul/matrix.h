#pragma once

// Weight matrices in device memory.

#include <memory>
#include <span>

#include "kernels/backend.h"
#include "kernels/cuda/context.h"

namespace alcca::ALCCA_GPU {

// [rows, cols] row-major, as a checkpoint has it, rows padded with zeros to a multiple of 64
// columns and the matrix to a multiple of 16 rows: what both our kernels and cuBLASLt read, so
// there is one copy.
class MatrixCuda final : public Matrix {
 public:
  // Stacks `parts`; rounds (bf16) or quantises (int8, fp8: one scale a row) on the device.
  static absl::StatusOr<std::unique_ptr<MatrixCuda>> Make(const DeviceContext& device,
                                                          std::span<const HostTensor> parts,
                                                          WeightDType dtype,
                                                          std::span<const HostTensor> bias);

  int32_t rows() const override { return rows_; }
  int32_t cols() const override { return cols_; }
  size_t bytes() const override { return data_.bytes() + scales_.bytes() + bias_.bytes(); }
  WeightDType dtype() const { return dtype_; }
  int32_t stride() const { return stride_; }            // elements
  int32_t padded_rows() const { return padded_rows_; }  // a multiple of 16
  template <typename W>
  const W* data() const {
    return data_.as<W>();
  }
  const float* scales() const { return scales_.as<float>(); }  // [padded_rows]; int8 and fp8
  const float* bias() const { return bias_.as<float>(); }      // [rows]; null: none

 private:
  int32_t rows_ = 0, cols_ = 0, stride_ = 0, padded_rows_ = 0;
  WeightDType dtype_ = WeightDType::kF32;
  DeviceArray data_, scales_, bias_;
};

// A table of rows for Embed, in its source's type.
class EmbeddingCuda final : public Matrix {
 public:
  static absl::StatusOr<std::unique_ptr<EmbeddingCuda>> Make(const DeviceContext& device,
                                                             const HostTensor& table);
  int32_t rows() const override { return rows_; }
  int32_t cols() const override { return cols_; }
  size_t bytes() const override { return size_t(rows_) * cols_ * DTypeBytes(dtype_); }
  DType dtype() const { return dtype_; }
  const void* data() const { return data_.get(); }

 private:
  int32_t rows_ = 0, cols_ = 0;
  DType dtype_ = DType::kF32;
  DeviceArray data_;
};

}  // namespace alcca::ALCCA_GPU
