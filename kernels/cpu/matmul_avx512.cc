// MatMul panels for AVX-512 F + BW + VL + VNNI. Tile: 12 rows x 32 features = 24 accumulators.

#include <immintrin.h>

#include <cstring>

#include "kernels/cpu/matmul_kernels.h"

namespace alcca {
namespace {

constexpr int kRows = 12;

struct Masks {
  __mmask16 low, high;  // of features 0..15 and 16..31 that exist
};

inline Masks MasksOf(int32_t width) {
  const uint32_t bits = width >= 32 ? 0xffffffffu : (1u << width) - 1u;
  return {static_cast<__mmask16>(bits & 0xffffu), static_cast<__mmask16>(bits >> 16)};
}

inline void StoreFloat(const PanelCall& c, int32_t row, __m512 low, __m512 high) {
  const Masks masks = MasksOf(c.width);
  float* out = c.out + static_cast<size_t>(row) * c.out_stride;
  if (c.add) {
    low = _mm512_add_ps(_mm512_maskz_loadu_ps(masks.low, out), low);
    high = _mm512_add_ps(_mm512_maskz_loadu_ps(masks.high, out + 16), high);
  }
  _mm512_mask_storeu_ps(out, masks.low, low);
  _mm512_mask_storeu_ps(out + 16, masks.high, high);
}

struct PanelF32 {
  using Element = float;
  static constexpr size_t kStep = 32;  // elements per input feature
  static inline void Load(const float* w, __m512& low, __m512& high) {
    low = _mm512_load_ps(w);
    high = _mm512_load_ps(w + 16);
  }
};

struct PanelBf16 {
  using Element = uint32_t;
  static constexpr size_t kStep = 16;
  static inline void Load(const uint32_t* w, __m512& low, __m512& high) {
    const __m512i pair = _mm512_load_si512(w);
    low = _mm512_castsi512_ps(_mm512_slli_epi32(pair, 16));
    high = _mm512_castsi512_ps(_mm512_and_si512(pair, _mm512_set1_epi32(-0x10000)));
  }
};

template <class Panel, int R>
void FloatBlock(const PanelCall& c, int32_t row) {
  __m512 acc[R][2];
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
    acc[r][0] = acc[r][1] = _mm512_setzero_ps();
  }
  const auto* w = static_cast<const typename Panel::Element*>(c.panel);
  const float* x = static_cast<const float*>(c.x) + static_cast<size_t>(row) * c.cols;
  for (int32_t k = 0; k < c.cols; ++k, w += Panel::kStep, x += R) {
    __m512 low, high;
    Panel::Load(w, low, high);
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
      const __m512 xr = _mm512_set1_ps(x[r]);
      acc[r][0] = _mm512_fmadd_ps(xr, low, acc[r][0]);
      acc[r][1] = _mm512_fmadd_ps(xr, high, acc[r][1]);
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
    StoreFloat(c, row + r, acc[r][0], acc[r][1]);
  }
}

// Weight of input feature `k` for 16 features whose int8 quadruples start at `quads`.
inline __m512 WeightOf(const int8_t* quads, int32_t k) {
  const __m128i left = _mm_cvtsi32_si128(24 - 8 * (k % 4));
  const __m512i top = _mm512_sll_epi32(_mm512_load_si512(quads), left);
  return _mm512_cvtepi32_ps(_mm512_srai_epi32(top, 24));
}

// y = weight_scale * (x_scale * (sum - 128 * weight_sum) + outliers); out of line, so that every
// block size runs the same code.
[[gnu::noinline]] void FinishInt8(const Int8Call& c, int32_t row, __m512i low, __m512i high) {
  const auto* panel = static_cast<const int8_t*>(c.panel.panel);
  const float* x = c.x + static_cast<size_t>(row) * c.x_stride;
  const uint16_t* outliers = c.outliers + static_cast<size_t>(row) * c.outlier_stride;
  __m512 o0 = _mm512_setzero_ps(), o1 = _mm512_setzero_ps();
  for (int32_t i = 0; i < c.outlier_counts[row]; ++i) {
    const int32_t k = outliers[i];
    const int8_t* quads = panel + static_cast<size_t>(k / 4) * 4 * kPanelFeatures;
    const __m512 xk = _mm512_set1_ps(x[k]);
    o0 = _mm512_fmadd_ps(xk, WeightOf(quads, k), o0);
    o1 = _mm512_fmadd_ps(xk, WeightOf(quads + 64, k), o1);
  }
  const __m512i shift0 = _mm512_slli_epi32(_mm512_loadu_si512(c.weight_sums), 7);
  const __m512i shift1 = _mm512_slli_epi32(_mm512_loadu_si512(c.weight_sums + 16), 7);
  const __m512 scale = _mm512_set1_ps(c.x_scales[row]);
  o0 = _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(_mm512_sub_epi32(low, shift0)), o0);
  o1 = _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(_mm512_sub_epi32(high, shift1)), o1);

  const Masks masks = MasksOf(c.panel.width);
  float* out = c.panel.out + static_cast<size_t>(row) * c.panel.out_stride;
  const __m512 w0 = _mm512_loadu_ps(c.weight_scales), w1 = _mm512_loadu_ps(c.weight_scales + 16);
  if (c.panel.add) {
    o0 = _mm512_fmadd_ps(w0, o0, _mm512_maskz_loadu_ps(masks.low, out));
    o1 = _mm512_fmadd_ps(w1, o1, _mm512_maskz_loadu_ps(masks.high, out + 16));
  } else {
    o0 = _mm512_mul_ps(w0, o0);
    o1 = _mm512_mul_ps(w1, o1);
  }
  _mm512_mask_storeu_ps(out, masks.low, o0);
  _mm512_mask_storeu_ps(out + 16, masks.high, o1);
}

template <int R>
void Int8Block(const Int8Call& c, int32_t row) {
  __m512i acc[R][2];
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
    acc[r][0] = acc[r][1] = _mm512_setzero_si512();
  }
  const auto* w = static_cast<const int8_t*>(c.panel.panel);
  const auto* x = static_cast<const uint8_t*>(c.panel.x) + static_cast<size_t>(row) * c.panel.cols;
  for (int32_t k = 0; k < c.panel.cols; k += 4, w += 4 * kPanelFeatures, x += 4 * R) {
    const __m512i low = _mm512_load_si512(w), high = _mm512_load_si512(w + 64);
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
      int32_t quad;
      std::memcpy(&quad, x + 4 * r, 4);
      const __m512i xr = _mm512_set1_epi32(quad);
      acc[r][0] = _mm512_dpbusd_epi32(acc[r][0], xr, low);
      acc[r][1] = _mm512_dpbusd_epi32(acc[r][1], xr, high);
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
    FinishInt8(c, row + r, acc[r][0], acc[r][1]);
  }
}

template <class Panel>
void FloatPanel(const PanelCall& c) {
  using Block = void (*)(const PanelCall&, int32_t);
  static constexpr Block kBlocks[kRows] = {
      FloatBlock<Panel, 1>, FloatBlock<Panel, 2>,  FloatBlock<Panel, 3>,  FloatBlock<Panel, 4>,
      FloatBlock<Panel, 5>, FloatBlock<Panel, 6>,  FloatBlock<Panel, 7>,  FloatBlock<Panel, 8>,
      FloatBlock<Panel, 9>, FloatBlock<Panel, 10>, FloatBlock<Panel, 11>, FloatBlock<Panel, 12>};
  for (int32_t row = 0; row < c.rows; row += kRows) {
    const int32_t left = c.rows - row;
    kBlocks[(left < kRows ? left : kRows) - 1](c, row);
  }
}

void Int8Panel(const Int8Call& c) {
  using Block = void (*)(const Int8Call&, int32_t);
  static constexpr Block kBlocks[kRows] = {
      Int8Block<1>, Int8Block<2>, Int8Block<3>, Int8Block<4>,  Int8Block<5>,  Int8Block<6>,
      Int8Block<7>, Int8Block<8>, Int8Block<9>, Int8Block<10>, Int8Block<11>, Int8Block<12>};
  for (int32_t row = 0; row < c.panel.rows; row += kRows) {
    const int32_t left = c.panel.rows - row;
    kBlocks[(left < kRows ? left : kRows) - 1](c, row);
  }
}

constexpr MatMulKernels kKernels = {.float_block_rows = kRows,
                                    .int8_block_rows = kRows,
                                    .int8_flip = 0x80,
                                    .f32 = FloatPanel<PanelF32>,
                                    .bf16 = FloatPanel<PanelBf16>,
                                    .int8 = Int8Panel};

}  // namespace

const MatMulKernels& MatMulAvx512() {
  return kKernels;
}

}  // namespace alcca
