// MatMul panels for AVX2 + FMA. Tiles of 16 features: f32 6 rows, int8 4 rows. Slice s of a panel
// is features 8s..8s+7 (low) and 16+8s..16+8s+7 (high), so that bf16 pairs are loaded once.

#include <immintrin.h>

#include <cstring>

#include "kernels/cpu/matmul_kernels.h"

namespace alcca {
namespace {

constexpr int kFloatRows = 6;
constexpr int kInt8Rows = 4;

// Writes 8 results, or as many of them as the panel's width leaves from feature `first` on.
inline void Store8(const PanelCall& c, float* out, int32_t first, __m256 y) {
  if (first + 8 <= c.width) {
    _mm256_storeu_ps(out + first, y);
    return;
  }
  alignas(32) float values[8];
  _mm256_store_ps(values, y);
  for (int32_t i = first; i < c.width; ++i) {
    out[i] = values[i - first];
  }
}

inline __m256 Load8(const PanelCall& c, const float* out, int32_t first) {
  if (first + 8 <= c.width) {
    return _mm256_loadu_ps(out + first);
  }
  alignas(32) float values[8] = {};
  for (int32_t i = first; i < c.width; ++i) {
    values[i - first] = out[i];
  }
  return _mm256_load_ps(values);
}

inline void StoreFloat(const PanelCall& c, int32_t row, int32_t first, __m256 y) {
  float* out = c.out + static_cast<size_t>(row) * c.out_stride;
  if (c.add) {
    y = _mm256_add_ps(Load8(c, out, first), y);
  }
  Store8(c, out, first, y);
}

struct PanelF32 {
  using Element = float;
  static constexpr size_t kStep = 32;  // elements per input feature
  static inline void Load(const float* w, __m256& low, __m256& high) {
    low = _mm256_load_ps(w);
    high = _mm256_load_ps(w + 16);
  }
};

struct PanelBf16 {
  using Element = uint32_t;
  static constexpr size_t kStep = 16;
  static inline void Load(const uint32_t* w, __m256& low, __m256& high) {
    const __m256i pair = _mm256_load_si256(reinterpret_cast<const __m256i*>(w));
    low = _mm256_castsi256_ps(_mm256_slli_epi32(pair, 16));
    high = _mm256_castsi256_ps(_mm256_and_si256(pair, _mm256_set1_epi32(-0x10000)));
  }
};

template <class Panel, int R>
void FloatBlock(const PanelCall& c, int32_t row, int32_t slice) {
  __m256 acc[R][2];
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
    acc[r][0] = acc[r][1] = _mm256_setzero_ps();
  }
  const auto* w = static_cast<const typename Panel::Element*>(c.panel) + 8 * slice;
  const float* x = static_cast<const float*>(c.x) + static_cast<size_t>(row) * c.cols;
  for (int32_t k = 0; k < c.cols; ++k, w += Panel::kStep, x += R) {
    __m256 low, high;
    Panel::Load(w, low, high);
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      const __m256 xr = _mm256_set1_ps(x[r]);
      acc[r][0] = _mm256_fmadd_ps(xr, low, acc[r][0]);
      acc[r][1] = _mm256_fmadd_ps(xr, high, acc[r][1]);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
    StoreFloat(c, row + r, 8 * slice, acc[r][0]);
    StoreFloat(c, row + r, 16 + 8 * slice, acc[r][1]);
  }
}

// Weight of input feature `k` for 8 features whose int8 quadruples start at `quads`.
inline __m256 WeightOf(const int8_t* quads, int32_t k) {
  const __m256i all = _mm256_load_si256(reinterpret_cast<const __m256i*>(quads));
  const __m256i top = _mm256_sll_epi32(all, _mm_cvtsi32_si128(24 - 8 * (k % 4)));
  return _mm256_cvtepi32_ps(_mm256_srai_epi32(top, 24));
}

// y = weight_scale * (x_scale * sum + outliers) for the 8 features from `first` on; out of line, so
// that every block size runs the same code.
[[gnu::noinline]] void FinishInt8(const Int8Call& c, int32_t row, int32_t first, __m256i sum) {
  const auto* panel = static_cast<const int8_t*>(c.panel.panel);
  const float* x = c.x + static_cast<size_t>(row) * c.x_stride;
  const uint16_t* outliers = c.outliers + static_cast<size_t>(row) * c.outlier_stride;
  __m256 y = _mm256_setzero_ps();
  for (int32_t i = 0; i < c.outlier_counts[row]; ++i) {
    const int32_t k = outliers[i];
    const int8_t* quads = panel + 4 * (static_cast<size_t>(k / 4) * kPanelFeatures + first);
    y = _mm256_fmadd_ps(_mm256_set1_ps(x[k]), WeightOf(quads, k), y);
  }
  y = _mm256_fmadd_ps(_mm256_set1_ps(c.x_scales[row]), _mm256_cvtepi32_ps(sum), y);
  const __m256 scale = _mm256_loadu_ps(c.weight_scales + first);
  float* out = c.panel.out + static_cast<size_t>(row) * c.panel.out_stride;
  y = c.panel.add ? _mm256_fmadd_ps(scale, y, Load8(c.panel, out, first)) : _mm256_mul_ps(scale, y);
  Store8(c.panel, out, first, y);
}

// |x| is unsigned, the weight takes x's sign. Both are within 127, so that a pair sums to at most
// 2 * 127 * 127 = 32258 and maddubs cannot saturate.
inline __m256i DotQuads(__m256i acc, __m256i x, __m256i magnitude, __m256i w) {
  const __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(w, x));
  return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

template <int R>
void Int8Block(const Int8Call& c, int32_t row, int32_t slice) {
  __m256i acc[R][2];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    acc[r][0] = acc[r][1] = _mm256_setzero_si256();
  }
  const auto* w = static_cast<const int8_t*>(c.panel.panel) + 32 * slice;
  const auto* x = static_cast<const uint8_t*>(c.panel.x) + static_cast<size_t>(row) * c.panel.cols;
  for (int32_t k = 0; k < c.panel.cols; k += 4, w += 4 * kPanelFeatures, x += 4 * R) {
    const __m256i low = _mm256_load_si256(reinterpret_cast<const __m256i*>(w));
    const __m256i high = _mm256_load_si256(reinterpret_cast<const __m256i*>(w + 64));
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      int32_t quad;
      std::memcpy(&quad, x + 4 * r, 4);
      const __m256i xr = _mm256_set1_epi32(quad);
      const __m256i magnitude = _mm256_abs_epi8(xr);
      acc[r][0] = DotQuads(acc[r][0], xr, magnitude, low);
      acc[r][1] = DotQuads(acc[r][1], xr, magnitude, high);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    FinishInt8(c, row + r, 8 * slice, acc[r][0]);
    FinishInt8(c, row + r, 16 + 8 * slice, acc[r][1]);
  }
}

template <class Panel>
void FloatPanel(const PanelCall& c) {
  using Block = void (*)(const PanelCall&, int32_t, int32_t);
  static constexpr Block kBlocks[kFloatRows] = {FloatBlock<Panel, 1>, FloatBlock<Panel, 2>,
                                                FloatBlock<Panel, 3>, FloatBlock<Panel, 4>,
                                                FloatBlock<Panel, 5>, FloatBlock<Panel, 6>};
  for (int32_t row = 0; row < c.rows; row += kFloatRows) {
    const int32_t left = c.rows - row;
    const Block block = kBlocks[(left < kFloatRows ? left : kFloatRows) - 1];
    block(c, row, 0);
    block(c, row, 1);
  }
}

void Int8Panel(const Int8Call& c) {
  using Block = void (*)(const Int8Call&, int32_t, int32_t);
  static constexpr Block kBlocks[kInt8Rows] = {Int8Block<1>, Int8Block<2>, Int8Block<3>,
                                               Int8Block<4>};
  for (int32_t row = 0; row < c.panel.rows; row += kInt8Rows) {
    const int32_t left = c.panel.rows - row;
    const Block block = kBlocks[(left < kInt8Rows ? left : kInt8Rows) - 1];
    block(c, row, 0);
    block(c, row, 1);
  }
}

constexpr MatMulKernels kKernels = {.float_block_rows = kFloatRows,
                                    .int8_block_rows = kInt8Rows,
                                    .int8_flip = 0,
                                    .f32 = FloatPanel<PanelF32>,
                                    .bf16 = FloatPanel<PanelBf16>,
                                    .int8 = Int8Panel};

}  // namespace

const MatMulKernels& MatMulAvx2() {
  return kKernels;
}

}  // namespace alcca
