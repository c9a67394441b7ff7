// MatMul panels in plain C++, one row and one panel at a time. Inner loops run over the 32 features
// of the panel, which compilers vectorise for whatever the build targets.

#include <bit>

#include "kernels/cpu/matmul_kernels.h"

namespace alcca {
namespace {

void Store(const PanelCall& c, int32_t row, const float* y) {
  float* out = c.out + static_cast<size_t>(row) * c.out_stride;
  for (int32_t i = 0; i < c.width; ++i) {
    out[i] = c.add ? out[i] + y[i] : y[i];
  }
}

// Blocks are of one row, so the packed activations are the rows themselves.
void F32Panel(const PanelCall& c) {
  const float* x = static_cast<const float*>(c.x);
  for (int32_t row = 0; row < c.rows; ++row, x += c.cols) {
    const float* w = static_cast<const float*>(c.panel);
    float acc[kPanelFeatures] = {};
    for (int32_t k = 0; k < c.cols; ++k, w += kPanelFeatures) {
      for (int32_t i = 0; i < kPanelFeatures; ++i) {
        acc[i] += x[k] * w[i];
      }
    }
    Store(c, row, acc);
  }
}

void Bf16Panel(const PanelCall& c) {
  constexpr int32_t kPairs = kPanelFeatures / 2;
  const float* x = static_cast<const float*>(c.x);
  for (int32_t row = 0; row < c.rows; ++row, x += c.cols) {
    const uint32_t* w = static_cast<const uint32_t*>(c.panel);
    float acc[kPanelFeatures] = {};
    for (int32_t k = 0; k < c.cols; ++k, w += kPairs) {
      for (int32_t i = 0; i < kPairs; ++i) {
        acc[i] += x[k] * std::bit_cast<float>(w[i] << 16);
        acc[kPairs + i] += x[k] * std::bit_cast<float>(w[i] & 0xffff0000u);
      }
    }
    Store(c, row, acc);
  }
}

void Int8Row(const Int8Call& c, int32_t row) {
  const auto* panel = static_cast<const int8_t*>(c.panel.panel);
  const auto* q = static_cast<const int8_t*>(c.panel.x) + static_cast<size_t>(row) * c.panel.cols;
  int32_t sum[kPanelFeatures] = {};
  const int8_t* w = panel;
  for (int32_t k = 0; k < c.panel.cols; k += 4, w += 4 * kPanelFeatures) {
    for (int32_t i = 0; i < kPanelFeatures; ++i) {
      sum[i] += w[4 * i] * q[k] + w[4 * i + 1] * q[k + 1] + w[4 * i + 2] * q[k + 2] +
                w[4 * i + 3] * q[k + 3];
    }
  }
  const float* x = c.x + static_cast<size_t>(row) * c.x_stride;
  const uint16_t* outliers = c.outliers + static_cast<size_t>(row) * c.outlier_stride;
  float y[kPanelFeatures] = {};
  for (int32_t o = 0; o < c.outlier_counts[row]; ++o) {
    const int32_t k = outliers[o];
    const int8_t* quads = panel + static_cast<size_t>(k / 4) * 4 * kPanelFeatures + k % 4;
    for (int32_t i = 0; i < kPanelFeatures; ++i) {
      y[i] += x[k] * static_cast<float>(quads[4 * i]);
    }
  }
  for (int32_t i = 0; i < kPanelFeatures; ++i) {
    y[i] = c.weight_scales[i] * (c.x_scales[row] * static_cast<float>(sum[i]) + y[i]);
  }
  Store(c.panel, row, y);
}

void Int8Panel(const Int8Call& c) {
  for (int32_t row = 0; row < c.panel.rows; ++row) {
    Int8Row(c, row);
  }
}

constexpr MatMulKernels kKernels = {.float_block_rows = 1,
                                    .int8_block_rows = 1,
                                    .int8_flip = 0,
                                    .f32 = F32Panel,
                                    .bf16 = Bf16Panel,
                                    .int8 = Int8Panel};

}  // namespace

const MatMulKernels& MatMulPortable() {
  return kKernels;
}

}  // namespace alcca
