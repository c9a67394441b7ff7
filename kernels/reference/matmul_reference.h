#pragma once

// MatMul in double over plain row-major weights. The int8 rule is written out here a second time,
// on purpose: what the tuned kernels are compared with shares no code with them.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"

namespace alcca {

class MatrixReference final : public Matrix {
 public:
  static absl::StatusOr<std::unique_ptr<MatrixReference>> Make(std::span<const HostTensor> parts,
                                                               WeightDType dtype,
                                                               std::span<const HostTensor> bias);

  int32_t rows() const override { return rows_; }
  int32_t cols() const override { return cols_; }
  size_t bytes() const override {
    return (values_.size() + scales_.size() + bias_.size()) * sizeof(float);
  }

  WeightDType dtype() const { return dtype_; }
  // f32, bf16 and fp8: the weights as rounded. int8: integers in [-127, 127], to be scaled per row.
  const float* row(int32_t r) const { return values_.data() + static_cast<size_t>(r) * cols_; }
  float scale(int32_t r) const { return scales_[static_cast<size_t>(r)]; }
  float bias(int32_t r) const { return bias_.empty() ? 0.0f : bias_[static_cast<size_t>(r)]; }

 private:
  int32_t rows_ = 0, cols_ = 0;
  WeightDType dtype_ = WeightDType::kF32;
  std::vector<float> values_;  // [rows, cols]
  std::vector<float> scales_;  // [rows], int8 only
  std::vector<float> bias_;    // [rows], or empty
};

void MatMulReference(TensorView out, TensorView x, const MatrixReference& weight, Accumulate mode);

}  // namespace alcca
