// The parts below the MatMul op: number formats, quantisation, packing.

#include "kernels/cpu/matmul.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/quantize.h"
#include "kernels/half.h"

namespace alcca {
namespace {

TEST(HalfTest, EveryHalfIsExact) {
  for (uint32_t h = 0; h < 65536; ++h) {
    const int exponent = (h >> 10) & 31, mantissa = h & 1023;
    const float sign = h & 0x8000 ? -1.0f : 1.0f;
    const float value = HalfToFloat(static_cast<uint16_t>(h));
    if (exponent == 31) {
      EXPECT_TRUE(mantissa == 0 ? value == sign * INFINITY : std::isnan(value)) << h;
    } else {
      const float expected = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                                           : std::ldexp(1024.0f + mantissa, exponent - 25);
      EXPECT_EQ(std::bit_cast<uint32_t>(value), std::bit_cast<uint32_t>(sign * expected)) << h;
    }
  }
}

TEST(HalfTest, BFloat16RoundsToNearestEven) {
  for (uint32_t h = 0; h < 65536; ++h) {
    const float value = BFloat16ToFloat(static_cast<uint16_t>(h));
    if (!std::isnan(value)) {
      EXPECT_EQ(FloatToBFloat16(value), h);
    }
  }
  const auto round = [](uint32_t bits) { return FloatToBFloat16(std::bit_cast<float>(bits)); };
  EXPECT_EQ(round(0x3f808000), 0x3f80);  // a tie, to even
  EXPECT_EQ(round(0x3f818000), 0x3f82);
  EXPECT_EQ(round(0x3f808001), 0x3f81);
  EXPECT_EQ(round(0x7f7fffff), 0x7f80);  // overflows to infinity
  EXPECT_TRUE(std::isnan(BFloat16ToFloat(round(0x7f800001))));
}

TEST(QuantizeTest, RoundsScalesAndSetsOutliersApart) {
  std::vector<float> x(261, 0.0f);
  x[0] = 6.0f;                        // not an outlier: the absmax
  x[1] = -3.0f;                       // -63.5, a tie, to even: -64
  x[2] = std::nextafter(6.0f, 7.0f);  // outlier
  x[3] = 6.0f * 2.5f / 127.0f;        // 2.5 or next to it
  x[257] = -100.0f;                   // outlier in the second chunk
  x[258] = NAN;
  x[259] = -INFINITY;
  x[260] = 1.0f;
  for (const uint8_t flip : {uint8_t{0}, uint8_t{0x80}}) {
    std::vector<uint8_t> q(264, 0x55);
    std::vector<uint16_t> outliers(261);
    const QuantizedRow row = QuantizeRow(x.data(), 261, flip, 4, q.data(), outliers.data());
    EXPECT_EQ(row.scale, 6.0f / 127.0f);
    ASSERT_EQ(row.outliers, 4);
    EXPECT_EQ(std::vector<uint16_t>(outliers.begin(), outliers.begin() + 4),
              (std::vector<uint16_t>{2, 257, 258, 259}));
    const auto at = [&](size_t k) { return static_cast<int8_t>(q[k] ^ flip); };
    EXPECT_EQ(at(0), 127);
    EXPECT_EQ(at(1), -64);
    EXPECT_EQ(at(260), 21);
    for (const size_t k : {2, 4, 257, 258, 259, 261, 262, 263}) {
      EXPECT_EQ(at(k), 0) << k;  // outliers, zeros and padding
    }
  }
}

TEST(QuantizeTest, BlocksInterleaveQuadruples) {
  const std::vector<float> x = {1.0f, 2.0f, 3.0f, 4.0f, -4.0f, 7.0f};
  std::vector<uint8_t> q(24, 0x55);
  std::vector<uint16_t> outliers(6);
  QuantizeRow(x.data(), 6, 0, 12, q.data() + 4, outliers.data());  // row 1 of a block of 3
  EXPECT_EQ(q[3], 0x55);
  EXPECT_EQ(q[7], 127);
  EXPECT_EQ(q[8], 0x55);
  EXPECT_EQ(static_cast<int8_t>(q[16]), -127);
  EXPECT_EQ(q[17], 0);  // the outlier
  EXPECT_EQ(q[19], 0);  // padding
  EXPECT_EQ(q[20], 0x55);
}

TEST(QuantizeTest, TinyRowsAreZero) {
  const std::vector<float> x = {1e-38f, -1e-31f, 0.0f, -0.0f};
  uint8_t q[4];
  uint16_t outliers[4];
  EXPECT_EQ(QuantizeRow(x.data(), 4, 0x80, 4, q, outliers).scale, 0.0f);
  EXPECT_EQ(std::vector<uint8_t>(q, q + 4), std::vector<uint8_t>(4, 0x80));
  int8_t w[4];
  EXPECT_EQ(QuantizeWeightRow(x.data(), 4, w), 0.0f);
  EXPECT_EQ(std::vector<int8_t>(w, w + 4), std::vector<int8_t>(4, 0));
  const std::vector<float> bad = {1.0f, NAN, 2.0f, 3.0f};
  EXPECT_FALSE(std::isfinite(QuantizeWeightRow(bad.data(), 4, w)));
}

HostTensor Tensor(const std::vector<float>& values, int32_t rows, int32_t cols) {
  return {reinterpret_cast<const std::byte*>(values.data()), DType::kF32, rows, cols};
}

TEST(PackTest, PanelsHoldEveryWeightOnceAndZerosBeside) {
  ThreadPool pool(2);
  const int32_t rows = 35, cols = 6;
  std::vector<float> w(rows * cols);
  for (size_t i = 0; i < w.size(); ++i) {
    w[i] = static_cast<float>(static_cast<int>(i % 255) - 127);  // all bf16 and int8 can hold
  }
  for (int32_t r = 0; r < rows; ++r) {
    w[static_cast<size_t>(r * cols)] = 127.0f;  // absmax 127: scale 1
  }
  const HostTensor tensor = Tensor(w, rows, cols);
  const auto f32 = PackedMatrix::Pack(pool, {&tensor, 1}, WeightDType::kF32).value();
  const auto bf16 = PackedMatrix::Pack(pool, {&tensor, 1}, WeightDType::kBF16).value();
  const auto int8 = PackedMatrix::Pack(pool, {&tensor, 1}, WeightDType::kInt8).value();
  ASSERT_EQ(int8->panels(), 2);
  EXPECT_EQ(int8->panel_width(1), 3);
  EXPECT_EQ(f32->panel_bytes(), 6u * 32 * 4);
  EXPECT_EQ(bf16->panel_bytes(), 6u * 32 * 2);
  EXPECT_EQ(int8->panel_bytes(), 8u * 32);
  for (int32_t r = 0; r < 64; ++r) {
    const int32_t p = r / 32, slot = r % 32;
    int32_t sum = 0;
    for (int32_t k = 0; k < 8; ++k) {
      const float expected = r < rows && k < cols ? w[static_cast<size_t>(r * cols + k)] : 0.0f;
      sum += static_cast<int32_t>(expected);
      if (k < cols) {
        EXPECT_EQ(reinterpret_cast<const float*>(f32->panel(p))[k * 32 + slot], expected);
        const auto* pairs = reinterpret_cast<const uint32_t*>(bf16->panel(p));
        const uint32_t pair = pairs[k * 16 + slot % 16];
        EXPECT_EQ(std::bit_cast<float>(slot < 16 ? pair << 16 : pair & 0xffff0000u), expected);
      }
      EXPECT_EQ(reinterpret_cast<const int8_t*>(int8->panel(p))[(k / 4 * 32 + slot) * 4 + k % 4],
                static_cast<int8_t>(expected));
    }
    EXPECT_EQ(int8->sums(p)[slot], sum);
    EXPECT_EQ(int8->scales(p)[slot], r < rows ? 1.0f : 0.0f);
  }
}

TEST(PackTest, RefusesColumnsThatOverflow) {
  ThreadPool pool(1);
  const std::vector<float> w(kMatMulColsMax + 1, 1.0f);
  const HostTensor wide = Tensor(w, 1, kMatMulColsMax + 1), fits = Tensor(w, 1, kMatMulColsMax);
  EXPECT_FALSE(PackedMatrix::Pack(pool, {&wide, 1}, WeightDType::kInt8).ok());
  // The widest row at its largest: 65536 * 127 * 127 = 1,057,030,144.
  const auto matrix = PackedMatrix::Pack(pool, {&fits, 1}, WeightDType::kInt8).value();
  std::vector<float> x(kMatMulColsMax, -6.0f);
  float y = 0.0f;
  for (const CpuIsa isa : {CpuIsa::kAvx512, CpuIsa::kAvx2, CpuIsa::kPortable}) {
    if (!CpuHas(isa)) {
      continue;
    }
    MatMulWorkspace workspace;
    MatMulCpu(pool, MatMulKernelsFor(isa), workspace, {&y, DType::kF32, 1, 1},
              {x.data(), DType::kF32, 1, kMatMulColsMax}, *matrix, Accumulate::kOverwrite);
    EXPECT_FLOAT_EQ(y, -6.0f * kMatMulColsMax) << CpuIsaName(isa);
  }
}

TEST(MatMulTest, WorkspaceIsReservedOnce) {
  ThreadPool pool(1);
  const std::vector<float> w(40 * 100, 0.5f);
  const HostTensor tensor = Tensor(w, 40, 100);
  const auto matrix = PackedMatrix::Pack(pool, {&tensor, 1}, WeightDType::kInt8).value();
  MatMulWorkspace workspace;
  workspace.Reserve(20, 100, WeightDType::kInt8);
  const std::byte* packed = workspace.packed();
  std::vector<float> x(20 * 100, 1.0f), y(20 * 40);
  for (const int32_t rows : {1, 20, 7}) {
    MatMulCpu(pool, MatMulPortable(), workspace, {y.data(), DType::kF32, rows, 40},
              {x.data(), DType::kF32, rows, 100}, *matrix, Accumulate::kOverwrite);
    EXPECT_EQ(workspace.packed(), packed);
    EXPECT_NEAR(y[0], 50.0f, 1e-4f);
  }
}

TEST(CpuFeaturesTest, ChoosesOrSaysWhyNot) {
  EXPECT_TRUE(ChooseCpuIsa("auto").ok());
  EXPECT_EQ(*ChooseCpuIsa("portable"), CpuIsa::kPortable);
  EXPECT_TRUE(absl::IsInvalidArgument(ChooseCpuIsa("AVX512").status()));
  for (const CpuIsa isa : {CpuIsa::kAvx2, CpuIsa::kAvx512}) {
    const auto chosen = ChooseCpuIsa(CpuIsaName(isa));
    EXPECT_EQ(chosen.ok(), CpuHas(isa));
    EXPECT_EQ(absl::IsFailedPrecondition(chosen.status()), !CpuHas(isa));
  }
}

}  // namespace
}  // namespace alcca
