#include "kernels/cpu/matmul_pack.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "kernels/cpu/quantize.h"
#include "kernels/half.h"
#include "kernels/operands.h"

namespace alcca {
namespace {

size_t PanelBytes(int32_t cols, WeightDType dtype) {
  const int64_t k = dtype == WeightDType::kInt8 ? (int64_t{cols} + 3) / 4 * 4 : cols;
  return WeightBytes(dtype, k * kPanelFeatures);
}

void ScatterF32(const float* row, int32_t cols, int32_t slot, std::byte* panel) {
  float* out = reinterpret_cast<float*>(panel) + slot;
  for (int32_t k = 0; k < cols; ++k) {
    out[static_cast<size_t>(k) * kPanelFeatures] = row[k];
  }
}

void ScatterBf16(const float* row, int32_t cols, int32_t slot, std::byte* panel) {
  constexpr int32_t kPairs = kPanelFeatures / 2;
  uint16_t* out = reinterpret_cast<uint16_t*>(panel) + 2 * (slot % kPairs) + slot / kPairs;
  for (int32_t k = 0; k < cols; ++k) {
    out[static_cast<size_t>(k) * kPanelFeatures] = FloatToBFloat16(row[k]);
  }
}

void ScatterInt8(const int8_t* row, int32_t padded_cols, int32_t slot, std::byte* panel) {
  std::byte* out = panel + 4 * slot;
  for (int32_t k = 0; k < padded_cols; k += 4, out += size_t{4} * kPanelFeatures) {
    std::memcpy(out, row + k, 4);
  }
}

// Row `row` of the stack, as floats.
void ReadRow(std::span<const HostTensor> parts, int32_t row, float* out) {
  size_t part = 0;
  while (row >= parts[part].rows) {
    row -= parts[part++].rows;
  }
  ReadRows(parts[part], row, 1, out);
}

}  // namespace

PackedMatrix::PackedMatrix(int32_t rows, int32_t cols, WeightDType dtype)
    : rows_(rows),
      cols_(cols),
      panels_((rows + kPanelFeatures - 1) / kPanelFeatures),
      dtype_(dtype),
      panel_bytes_(PanelBytes(cols, dtype)),
      data_(AllocateHost(panel_bytes_ * static_cast<size_t>(panels_))) {
  if (dtype == WeightDType::kInt8) {
    scales_.resize(static_cast<size_t>(panels_) * kPanelFeatures);
    sums_.resize(scales_.size());
  }
}

int32_t PackedMatrix::panel_width(int32_t p) const {
  return std::min(kPanelFeatures, rows_ - p * kPanelFeatures);
}

bool PackedMatrix::PackRow(int32_t feature, const float* row) {
  std::byte* panel = data_.get() + panel_bytes_ * static_cast<size_t>(feature / kPanelFeatures);
  const int32_t slot = feature % kPanelFeatures;
  if (dtype_ == WeightDType::kF32) {
    ScatterF32(row, cols_, slot, panel);
    return true;
  }
  if (dtype_ == WeightDType::kBF16) {
    ScatterBf16(row, cols_, slot, panel);
    return true;
  }
  const int32_t padded = (cols_ + 3) / 4 * 4;
  std::vector<int8_t> q(static_cast<size_t>(padded), 0);
  const float scale = QuantizeWeightRow(row, cols_, q.data());
  if (!std::isfinite(scale)) {
    return false;
  }
  ScatterInt8(q.data(), padded, slot, panel);
  int32_t sum = 0;
  for (const int8_t value : q) {
    sum += value;
  }
  scales_[static_cast<size_t>(feature)] = scale;
  sums_[static_cast<size_t>(feature)] = sum;
  return true;
}

absl::StatusOr<std::unique_ptr<PackedMatrix>> PackedMatrix::Pack(ThreadPool& pool,
                                                                 std::span<const HostTensor> parts,
                                                                 WeightDType dtype,
                                                                 std::span<const HostTensor> bias) {
  ASSIGN_OR_RETURN(const int32_t rows, StackedRows(parts, kMatMulColsMax));
  std::unique_ptr<PackedMatrix> matrix(new PackedMatrix(rows, parts[0].cols, dtype));
  if (matrix->data_ == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory for a [", rows, ", ", parts[0].cols, "] matrix"));
  }
  ASSIGN_OR_RETURN(matrix->bias_, StackedBias(parts, bias));
  std::atomic<int32_t> bad_row{-1};
  pool.ParallelFor(matrix->panels_, [&](int32_t p) {
    if (matrix->panel_width(p) < kPanelFeatures) {
      std::memset(matrix->data_.get() + matrix->panel_bytes_ * static_cast<size_t>(p), 0,
                  matrix->panel_bytes_);
    }
    std::vector<float> row(static_cast<size_t>(matrix->cols_));
    const int32_t first = p * kPanelFeatures;
    for (int32_t r = first; r < first + matrix->panel_width(p); ++r) {
      ReadRow(parts, r, row.data());
      if (!matrix->PackRow(r, row.data())) {
        bad_row.store(r);
      }
    }
  });
  if (bad_row.load() >= 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("int8 needs finite weights; row ", bad_row.load(), " has NaN or infinity"));
  }
  return matrix;
}

}  // namespace alcca
