#pragma once

// LLM.int8() on activations (Dettmers et al. 2022), one token at a time: features with |x| > 6.0
// are outliers and stay out of the int8 product; the rest are scaled by their absolute maximum.

#include <cstddef>
#include <cstdint>

namespace alcca {

inline constexpr float kOutlierThreshold = 6.0f;
// Below this a row counts as zero: 127 / absmax would overflow.
inline constexpr float kAbsMaxMin = 1e-30f;

struct QuantizedRow {
  float scale;       // x ~ scale * q
  int32_t outliers;  // of them
};

// x [cols] -> q [cols], rounded to nearest even, in quadruples `quad_stride` bytes apart (4: dense;
// 4 * r: a block of r rows), each byte XORed with `flip`; the last quadruple is filled with zeros.
// `outliers` [cols] takes the outlier features, ascending; NaN and infinities are among them.
QuantizedRow QuantizeRow(const float* x, int32_t cols, uint8_t flip, size_t quad_stride, uint8_t* q,
                         uint16_t* outliers);

// w [cols] -> q [cols] and its scale, absmax / 127; NaN or infinity if w holds one.
float QuantizeWeightRow(const float* w, int32_t cols, int8_t* q);

}  // namespace alcca
