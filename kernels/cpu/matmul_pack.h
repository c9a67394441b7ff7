#pragma once

// Weights in the layout the MatMul kernels read (matmul_kernels.h), and how they get there.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cpu/matmul_kernels.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/host/host_memory.h"

namespace alcca {

// Input features of the widest matrix: outliers are listed as uint16, and an int32 holds
// 65536 * 255 * 127.
inline constexpr int32_t kMatMulColsMax = 65536;

class PackedMatrix final : public Matrix {
 public:
  // Converts and packs panel by panel; needs one row per thread beside the result.
  // InvalidArgument for shapes that do not stack, biases that do not fit, and int8 of weights that
  // are not finite.
  static absl::StatusOr<std::unique_ptr<PackedMatrix>> Pack(ThreadPool& pool,
                                                            std::span<const HostTensor> parts,
                                                            WeightDType dtype,
                                                            std::span<const HostTensor> bias = {});

  int32_t rows() const override { return rows_; }
  int32_t cols() const override { return cols_; }
  size_t bytes() const override {
    return panel_bytes_ * panels_ + scales_.size() * 8 + bias_.size() * 4;
  }

  WeightDType dtype() const { return dtype_; }
  int32_t panels() const { return panels_; }
  const std::byte* panel(int32_t p) const { return data_.get() + panel_bytes_ * p; }
  int32_t panel_width(int32_t p) const;
  size_t panel_bytes() const { return panel_bytes_; }
  const float* scales(int32_t p) const { return scales_.data() + size_t{kPanelFeatures} * p; }
  const int32_t* sums(int32_t p) const { return sums_.data() + size_t{kPanelFeatures} * p; }
  // Of the panel's features, [panel_width(p)]; null: no bias.
  const float* bias(int32_t p) const {
    return bias_.empty() ? nullptr : bias_.data() + size_t{kPanelFeatures} * p;
  }

 private:
  PackedMatrix(int32_t rows, int32_t cols, WeightDType dtype);
  // Row `feature` of its panel from `row` [cols]; false if int8 cannot hold it.
  bool PackRow(int32_t feature, const float* row);

  int32_t rows_, cols_, panels_;
  WeightDType dtype_;
  size_t panel_bytes_;
  HostMemory data_;
  std::vector<float> scales_;  // [panels * 32], int8 only
  std::vector<int32_t> sums_;  // [panels * 32], int8 only
  std::vector<float> bias_;    // [rows], or empty
};

}  // namespace alcca
