#include "kernels/reference/matmul_reference.h"

#include <cmath>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "kernels/half.h"
#include "kernels/operands.h"

namespace alcca {
namespace {

constexpr float kOutlier = 6.0f;      // |x| above this stays out of the int8 product
constexpr float kAbsMaxMin = 1e-30f;  // below this a row counts as zero

// absmax / 127, with `row` replaced by its integers; 0 and zeros for a row of zeros.
float Quantize(std::span<float> row) {
  float absmax = 0.0f;
  for (const float v : row) {
    absmax = std::fmax(absmax, std::fabs(v));
  }
  for (float& v : row) {
    v = absmax < kAbsMaxMin ? 0.0f : std::nearbyint(v * (127.0f / absmax));
  }
  return absmax < kAbsMaxMin ? 0.0f : absmax / 127.0f;
}

// Each value becomes the e4m3 number next to it at the row's scale, absmax / 448, times that scale.
void RoundToFloat8(std::span<float> row) {
  float absmax = 0.0f;
  for (const float v : row) {
    absmax = std::fmax(absmax, std::fabs(v));
  }
  for (float& v : row) {
    v = absmax < kAbsMaxMin
            ? 0.0f
            : Float8ToFloat(FloatToFloat8(v * (kFloat8Max / absmax))) * (absmax / kFloat8Max);
  }
}

double Dot(const float* a, const float* b, int32_t count) {
  double sum = 0.0;
  for (int32_t k = 0; k < count; ++k) {
    sum += double{a[k]} * b[k];
  }
  return sum;
}

double DotInt8(const MatrixReference& weight, int32_t row, const float* x) {
  const size_t cols = static_cast<size_t>(weight.cols());
  const float* w = weight.row(row);
  std::vector<float> q(x, x + cols);
  double outliers = 0.0;
  for (size_t k = 0; k < cols; ++k) {
    if (!(std::fabs(x[k]) <= kOutlier)) {  // NaN is an outlier too
      outliers += double{x[k]} * w[k];
      q[k] = 0.0f;
    }
  }
  const double x_scale = Quantize(q);
  return weight.scale(row) * (x_scale * Dot(q.data(), w, weight.cols()) + outliers);
}

}  // namespace

absl::StatusOr<std::unique_ptr<MatrixReference>> MatrixReference::Make(
    std::span<const HostTensor> parts, WeightDType dtype, std::span<const HostTensor> bias) {
  auto matrix = std::make_unique<MatrixReference>();
  matrix->dtype_ = dtype;
  matrix->cols_ = parts.empty() ? 0 : parts[0].cols;
  if (matrix->cols_ < 1) {
    return absl::InvalidArgumentError("a matrix needs columns");
  }
  const size_t cols = static_cast<size_t>(matrix->cols_);
  for (const HostTensor& part : parts) {
    if (part.empty() || part.rows < 1 || part.cols != matrix->cols_) {
      return absl::InvalidArgumentError(
          absl::StrCat("cannot stack a [", part.rows, ", ", part.cols, "] tensor"));
    }
    const size_t begin = matrix->values_.size(), count = static_cast<size_t>(part.rows) * cols;
    matrix->values_.resize(begin + count);
    ReadRows(part, 0, part.rows, matrix->values_.data() + begin);
    matrix->rows_ += part.rows;
  }
  ASSIGN_OR_RETURN(matrix->bias_, StackedBias(parts, bias));
  if (dtype == WeightDType::kBF16) {
    for (float& v : matrix->values_) {
      v = BFloat16ToFloat(FloatToBFloat16(v));
    }
  }
  const bool int8 = dtype == WeightDType::kInt8, fp8 = dtype == WeightDType::kFp8;
  for (size_t begin = 0; (int8 || fp8) && begin < matrix->values_.size(); begin += cols) {
    const std::span<float> row(matrix->values_.data() + begin, cols);
    for (const float v : row) {
      if (!std::isfinite(v)) {
        return absl::InvalidArgumentError(
            absl::StrCat(FormatOf(dtype).name, " needs finite weights"));
      }
    }
    if (int8) {
      matrix->scales_.push_back(Quantize(row));
    } else {
      RoundToFloat8(row);
    }
  }
  return matrix;
}

void MatMulReference(TensorView out, TensorView x, const MatrixReference& weight, Accumulate mode) {
  ALCCA_CHECK(out.rows == x.rows && out.cols == weight.rows() && x.cols == weight.cols());
  for (int32_t t = 0; t < x.rows; ++t) {
    const float* in = x.f32() + static_cast<size_t>(t) * static_cast<size_t>(x.cols);
    float* row = out.f32() + static_cast<size_t>(t) * static_cast<size_t>(out.cols);
    for (int32_t r = 0; r < out.cols; ++r) {
      const double dot = weight.dtype() == WeightDType::kInt8 ? DotInt8(weight, r, in)
                                                              : Dot(weight.row(r), in, x.cols);
      const double y = dot + weight.bias(r);
      row[r] = static_cast<float>(mode == Accumulate::kAdd ? row[r] + y : y);
    }
  }
}

}  // namespace alcca
