// MatMul of every backend against the reference, and the row independence that batching relies on.

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "kernels/half.h"
#include "tests/conformance/backends.h"

namespace alcca {
namespace {

std::vector<WeightDType> DTypes(const BackendCase& backend) {
  std::vector<WeightDType> dtypes;
  for (const WeightFormat& format : kWeightFormats) {
    if (backend.is_cuda() ? format.on_cuda : format.on_cpu) {
      dtypes.push_back(format.dtype);
    }
  }
  return dtypes;
}

bool SumsDependOnRows(const BackendCase& backend, WeightDType dtype) {
  return !backend.is_exact() && (dtype == WeightDType::kBF16 || dtype == WeightDType::kFp8);
}

// Whether the product rounds x to e4m3 too (kernels/cuda/matmul/matmul.h).
bool RoundsToFp8(const BackendCase& backend, WeightDType dtype, int32_t rows, int32_t features) {
  return dtype == WeightDType::kFp8 && !backend.is_exact() && rows > 96 && features % 16 == 0;
}

// x as such a product reads it: one scale a row.
Host RoundedToFp8(Host x) {
  for (int32_t t = 0; t < x.rows; ++t) {
    float absmax = 0.0f;
    for (int32_t k = 0; k < x.cols; ++k) {
      absmax = std::fmax(absmax, std::fabs(x.at(t, k)));
    }
    for (int32_t k = 0; k < x.cols && absmax > 1e-30f; ++k) {
      x.at(t, k) = Float8ToFloat(FloatToFloat8(x.at(t, k) * (448.0f / absmax))) * (absmax / 448.0f);
    }
  }
  return x;
}

// Error relative to sum |w||x|: f32 accumulation against double, operands rounded by the same rule.
// Tensor cores read x as bf16, up to 2^-8 away; those of fp8 keep about 13 bits of a sum.
double Tolerance(const BackendCase& backend, WeightDType dtype, bool fp8_sums) {
  if (fp8_sums) {
    return backend.is_emulated() ? 2e-6 : 0x1p-10;
  }
  const bool bf16_x = dtype == WeightDType::kBF16 || dtype == WeightDType::kFp8;
  return dtype == WeightDType::kInt8 ? 1e-6 : backend.is_cuda() && bf16_x ? 0x1.01p-8 : 2e-6;
}

struct Shape {
  int32_t rows, cols, features;
};
constexpr Shape kShapes[] = {{1, 1, 1},     {1, 8, 7},      {2, 33, 16},   {3, 96, 33},
                             {5, 257, 100}, {17, 8, 513},   {64, 33, 100}, {129, 96, 7},
                             {1, 1024, 33}, {12, 257, 64},  {13, 3, 32},   {23, 1024, 31},
                             {129, 5, 1},   {1, 4099, 129}, {7, 130, 513}, {99, 131, 48}};

std::string Name(WeightDType dtype, const Shape& s) {
  return std::string(FormatOf(dtype).name) + " rows " + std::to_string(s.rows) + " cols " +
         std::to_string(s.cols) + " features " + std::to_string(s.features);
}

Host MatMul(Backend& backend, const Host& x, const Matrix& weight, const Host& before,
            Accumulate mode) {
  const auto in = Upload(backend, x);
  const auto out = Upload(backend, before);
  backend.MatMul(out->view(), in->view(), weight, mode);
  return Download(backend, out->view());
}

Host MatMul(Backend& backend, const Host& x, const Matrix& weight) {
  return MatMul(backend, x, weight, Poison(x.rows, weight.rows()), Accumulate::kOverwrite);
}

std::unique_ptr<Matrix> MakeMatrix(Backend& backend, const Host& w, WeightDType dtype) {
  const HostTensor tensor = w.tensor();
  return backend.MakeMatrix({&tensor, 1}, dtype).value();
}

Host Abs(Host host) {
  for (float& v : host.values) {
    v = std::fabs(v);
  }
  return host;
}

class MatMulConformance : public ConformanceTest {
 protected:
  // Both modes, against the reference; the bound is relative to sum |w||x| (+ |before|).
  void Compare(const Host& x, const Host& w, WeightDType dtype, const std::string& what) {
    const auto tuned = MakeMatrix(*backend_, w, dtype), plain = MakeMatrix(*reference_, w, dtype);
    EXPECT_EQ(tuned->rows(), w.rows);
    EXPECT_EQ(tuned->cols(), w.cols);
    EXPECT_GT(tuned->bytes(), 0u);
    Host magnitude =
        MatMul(*reference_, Abs(x), *MakeMatrix(*reference_, Abs(w), WeightDType::kF32));
    const double absolute = 1e-30;
    const bool fp8_sums = RoundsToFp8(GetParam(), dtype, x.rows, w.rows);
    const Host read = fp8_sums ? RoundedToFp8(x) : x;
    const double tolerance = Tolerance(GetParam(), dtype, fp8_sums);
    ExpectNear(MatMul(*backend_, x, *tuned), MatMul(*reference_, read, *plain), magnitude,
               tolerance, absolute, what);
    const Host before = RandomHost(x.rows, w.rows, 99);
    for (size_t i = 0; i < magnitude.values.size(); ++i) {
      magnitude.values[i] += std::fabs(before.values[i]);
    }
    ExpectNear(MatMul(*backend_, x, *tuned, before, Accumulate::kAdd),
               MatMul(*reference_, read, *plain, before, Accumulate::kAdd), magnitude, tolerance,
               absolute, what + " add");
  }
};

TEST_P(MatMulConformance, MatchesReference) {
  for (const WeightDType dtype : DTypes(GetParam())) {
    for (const Shape& s : kShapes) {
      Compare(RandomHost(s.rows, s.cols, 1), RandomHost(s.features, s.cols, 2, 0.02f), dtype,
              Name(dtype, s));
    }
  }
}

TEST_P(MatMulConformance, OutliersFewAndMany) {
  const Host w = RandomHost(70, 203, 3, 0.02f);
  for (const int32_t outliers : {0, 1, 5, 40, 203}) {
    Host x = RandomHost(14, 203, 4);
    for (int32_t t = 0; t < x.rows; ++t) {
      for (int32_t i = 0; i < outliers; ++i) {
        x.at(t, outliers == 203 ? i : (t * 17 + i * 5) % 203) = (i % 2 == 0 ? 50.0f : -7.5f) + t;
      }
    }
    Compare(x, w, WeightDType::kInt8, "outliers " + std::to_string(outliers));
  }
}

TEST_P(MatMulConformance, ThresholdIsExclusive) {
  // 6.0 is quantised (it is the absmax: 127), the next float up is an outlier.
  Host x(3, 9, 0.25f);
  x.at(0, 4) = 6.0f;
  x.at(1, 4) = std::nextafter(6.0f, 7.0f);
  x.at(2, 4) = -6.0f;
  const Host w = RandomHost(40, 9, 5);
  Compare(x, w, WeightDType::kInt8, "threshold");
  const Host y = MatMul(*backend_, x, *MakeMatrix(*backend_, w, WeightDType::kInt8));
  bool differs = false;  // 0.25 keeps 2 % accuracy beside 6.0, but 0.4 % once 6.0 is set apart
  for (int32_t r = 0; r < 40; ++r) {
    differs |= std::fabs(y.at(0, r) - y.at(1, r)) > 1e-4f;
  }
  EXPECT_TRUE(differs);
}

TEST_P(MatMulConformance, ZeroRowsAndExtremes) {
  Host x(6, 66), w = RandomHost(37, 66, 6);
  for (int32_t k = 0; k < 66; ++k) {
    w.at(3, k) = 0.0f;                       // a feature of zeros
    w.at(4, k) = k % 2 == 0 ? 1.0f : -1.0f;  // all at +-127
    w.at(5, k) = 1e-35f;                     // below what int8 can scale
    x.at(1, k) = k % 2 == 0 ? 6.0f : -6.0f;  // all at +-127: the largest integer sums
    x.at(2, k) = 6.0f;
    x.at(3, k) = 1e-38f;
    x.at(4, k) = 1e20f;
    x.at(5, k) = -0.0f;
  }
  for (const WeightDType dtype : DTypes(GetParam())) {
    Compare(x, w, dtype, std::string("extremes ") + FormatOf(dtype).name);
  }
}

TEST_P(MatMulConformance, NonFiniteActivationsStayInTheirRow) {
  const Host w = RandomHost(48, 50, 7);
  for (const int32_t rows : {5, 99}) {
    Host x = RandomHost(rows, 50, 8), clean = x;
    x.at(1, 7) = std::numeric_limits<float>::quiet_NaN();
    x.at(3, 9) = std::numeric_limits<float>::infinity();
    for (const WeightDType dtype : DTypes(GetParam())) {
      const auto matrix = MakeMatrix(*backend_, w, dtype);
      const Host y = MatMul(*backend_, x, *matrix), expected = MatMul(*backend_, clean, *matrix);
      for (const int32_t row : {0, 2, 4}) {
        ExpectSameBits(y.RowRange(row, 1), expected.RowRange(row, 1), FormatOf(dtype).name);
      }
      EXPECT_TRUE(std::isnan(y.at(1, 0)));
      EXPECT_FALSE(std::isfinite(y.at(3, 0)));
    }
  }
}

TEST_P(MatMulConformance, EightBitsStayCloseToFloat) {
  Host x = RandomHost(20, 512, 9);
  for (int32_t t = 0; t < 20; ++t) {
    x.at(t, t * 3) = 60.0f;  // would cost 60 / 127 of accuracy if it were quantised
  }
  const Host w = RandomHost(96, 512, 10, 0.02f);
  const Host exact = MatMul(*reference_, x, *MakeMatrix(*reference_, w, WeightDType::kF32));
  for (const auto& [dtype, bound] :
       {std::pair{WeightDType::kInt8, 0.02}, std::pair{WeightDType::kBF16, 0.004},
        std::pair{WeightDType::kFp8, 0.04}}) {  // three bits of mantissa
    if (dtype == WeightDType::kFp8 && !GetParam().is_cuda()) {
      continue;
    }
    const Host y = MatMul(*backend_, x, *MakeMatrix(*backend_, w, dtype));
    double error = 0.0, power = 0.0;
    for (size_t i = 0; i < y.values.size(); ++i) {
      error += std::pow(double{y.values[i]} - exact.values[i], 2);
      power += std::pow(double{exact.values[i]}, 2);
    }
    EXPECT_LT(std::sqrt(error / power), bound) << FormatOf(dtype).name;
  }
}

TEST_P(MatMulConformance, RowsDoNotDependOnTheBatch) {
  // Wide enough that one row alone is shared out to the threads; the emulator takes its time.
  const bool emulated = GetParam().isa.find("emulated") != std::string::npos;
  const int32_t features = emulated ? 70 : 1100;
  const Host w = RandomHost(features, 259, 11, 0.05f);
  Host x = RandomHost(129, 259, 12);
  for (int32_t t = 0; t < x.rows; t += 3) {
    x.at(t, t) = 9.0f;
  }
  for (const WeightDType dtype : DTypes(GetParam())) {
    if (SumsDependOnRows(GetParam(), dtype)) {
      continue;  // docs/decisions.md, "CUDA": cuBLASLt's sums depend on the number of rows
    }
    const auto matrix = MakeMatrix(*backend_, w, dtype);
    const Host before = RandomHost(x.rows, features, 13);
    const Host all = MatMul(*backend_, x, *matrix, before, Accumulate::kAdd);
    for (const int32_t chunk : {1, 2, 3, 5, 12, 13, 64}) {
      for (int32_t first = 0; first < x.rows; first += chunk) {
        const int32_t count = std::min(chunk, x.rows - first);
        const Host part = MatMul(*backend_, x.RowRange(first, count), *matrix,
                                 before.RowRange(first, count), Accumulate::kAdd);
        ExpectSameBits(part, all.RowRange(first, count),
                       Name(dtype, {count, 259, features}) + " from row " + std::to_string(first));
      }
    }
  }
}

TEST_P(MatMulConformance, RowsDoNotDependOnThreads) {
  if (GetParam().is_cuda()) {
    GTEST_SKIP() << "a device has no threads to choose";
  }
  const Host w = RandomHost(600, 1024, 14, 0.05f), x = RandomHost(30, 1024, 15);
  for (const WeightDType dtype : DTypes(GetParam())) {
    const Host expected = MatMul(*backend_, x, *MakeMatrix(*backend_, w, dtype));
    for (const int32_t threads : {1, 2, 3, 5}) {
      const auto other = MakeBackend({GetParam().isa, threads}).value();
      ExpectSameBits(MatMul(*other, x, *MakeMatrix(*other, w, dtype)), expected,
                     std::string(FormatOf(dtype).name) + " threads " + std::to_string(threads));
    }
  }
}

TEST_P(MatMulConformance, StacksPartsOfEverySourceType) {
  const Host w = RandomHost(50, 37, 16), x = RandomHost(4, 37, 17);
  Host rounded = w;  // to values that f16 and bf16 both hold
  std::vector<uint16_t> bf16(20 * 37), f16(13 * 37);
  for (size_t i = 0; i < rounded.values.size(); ++i) {
    rounded.values[i] = std::ldexp(std::round(std::ldexp(w.values[i], 5)), -5);
  }
  for (size_t i = 0; i < bf16.size(); ++i) {
    bf16[i] = static_cast<uint16_t>(std::bit_cast<uint32_t>(rounded.values[i]) >> 16);
    rounded.values[i] = std::bit_cast<float>(uint32_t{bf16[i]} << 16);
  }
  for (size_t i = 0; i < f16.size(); ++i) {
    float& v = rounded.values[(20 + 17) * 37 + i];
    const uint32_t bits = std::bit_cast<uint32_t>(v);
    const uint32_t rebased = v == 0.0f ? 0 : ((bits & 0x7fffffffu) >> 13) - (112u << 10);
    f16[i] = static_cast<uint16_t>((bits >> 31 << 15) | rebased);
  }
  const HostTensor parts[] = {
      {reinterpret_cast<const std::byte*>(bf16.data()), DType::kBF16, 20, 37},
      {reinterpret_cast<const std::byte*>(rounded.values.data() + 20 * 37), DType::kF32, 17, 37},
      {reinterpret_cast<const std::byte*>(f16.data()), DType::kF16, 13, 37}};
  for (const WeightDType dtype : DTypes(GetParam())) {
    const Host stacked = MatMul(*backend_, x, *backend_->MakeMatrix(parts, dtype).value());
    ExpectSameBits(stacked, MatMul(*backend_, x, *MakeMatrix(*backend_, rounded, dtype)),
                   FormatOf(dtype).name);
  }
}

std::unique_ptr<Matrix> MakeBiased(Backend& backend, const Host& w, WeightDType dtype,
                                   const Host& bias) {
  const HostTensor tensor = w.tensor(), vector = bias.tensor();
  return backend.MakeMatrix({&tensor, 1}, dtype, {&vector, 1}).value();
}

// Every format, odd shapes, overwriting and adding: what the reference says, bias included.
TEST_P(MatMulConformance, BiasIsAddedOnce) {
  for (const WeightDType dtype : DTypes(GetParam())) {
    for (const Shape& s : kShapes) {
      const Host x = RandomHost(s.rows, s.cols, 31), w = RandomHost(s.features, s.cols, 32, 0.02f);
      const Host bias = RandomHost(1, s.features, 33, 3.0f);
      const auto tuned = MakeBiased(*backend_, w, dtype, bias);
      const auto plain = MakeBiased(*reference_, w, dtype, bias);
      EXPECT_GT(tuned->bytes(), MakeMatrix(*backend_, w, dtype)->bytes());
      const bool fp8_sums = RoundsToFp8(GetParam(), dtype, x.rows, w.rows);
      const Host read = fp8_sums ? RoundedToFp8(x) : x, before = RandomHost(s.rows, s.features, 34);
      Host magnitude = MatMul(*reference_, Abs(x),
                              *MakeBiased(*reference_, Abs(w), WeightDType::kF32, Abs(bias)),
                              Abs(before), Accumulate::kAdd);
      const double tolerance = Tolerance(GetParam(), dtype, fp8_sums);
      ExpectNear(MatMul(*backend_, x, *tuned), MatMul(*reference_, read, *plain), magnitude,
                 tolerance, 1e-30, Name(dtype, s));
      ExpectNear(MatMul(*backend_, x, *tuned, before, Accumulate::kAdd),
                 MatMul(*reference_, read, *plain, before, Accumulate::kAdd), magnitude, tolerance,
                 1e-30, Name(dtype, s) + " add");
    }
  }
}

// A row's bits with a bias are as independent of the batch as without.
TEST_P(MatMulConformance, BiasedRowsDoNotDependOnTheBatch) {
  const Host w = RandomHost(70, 259, 35, 0.05f), bias = RandomHost(1, 70, 36);
  const Host x = RandomHost(129, 259, 37);
  for (const WeightDType dtype : DTypes(GetParam())) {
    if (SumsDependOnRows(GetParam(), dtype)) {
      continue;
    }
    const auto matrix = MakeBiased(*backend_, w, dtype, bias);
    const Host all = MatMul(*backend_, x, *matrix);
    for (const int32_t row : {0, 12, 95, 128}) {
      ExpectSameBits(MatMul(*backend_, x.RowRange(row, 1), *matrix), all.RowRange(row, 1),
                     FormatOf(dtype).name);
    }
  }
}

TEST_P(MatMulConformance, BiasesStackAsTheirPartsDo) {
  const Host w = RandomHost(50, 37, 38), x = RandomHost(4, 37, 39), bias = RandomHost(1, 50, 40);
  Host rounded = bias;
  std::vector<uint16_t> bf16(20);
  for (size_t i = 0; i < bf16.size(); ++i) {
    bf16[i] = FloatToBFloat16(bias.values[i]);
    rounded.values[i] = BFloat16ToFloat(bf16[i]);
  }
  const auto at = [](const Host& host, int32_t row) {
    return reinterpret_cast<const std::byte*>(host.values.data() + row * host.cols);
  };
  const HostTensor parts[] = {{at(w, 0), DType::kF32, 20, 37}, {at(w, 20), DType::kF32, 30, 37}};
  const HostTensor biases[] = {
      {reinterpret_cast<const std::byte*>(bf16.data()), DType::kBF16, 1, 20},
      {reinterpret_cast<const std::byte*>(bias.values.data() + 20), DType::kF32, 1, 30}};
  for (const WeightDType dtype : DTypes(GetParam())) {
    ExpectSameBits(MatMul(*backend_, x, *backend_->MakeMatrix(parts, dtype, biases).value()),
                   MatMul(*backend_, x, *MakeBiased(*backend_, w, dtype, rounded)),
                   FormatOf(dtype).name);
  }
}

TEST_P(MatMulConformance, BadBiasesAreRefused) {
  const Host w(3, 4, 1.0f), fits(1, 3, 1.0f), narrow(1, 2, 1.0f), tall(3, 1, 1.0f);
  const HostTensor part = w.tensor();
  for (Backend* backend : {backend_.get(), reference_.get()}) {
    const auto refuses = [&](const std::vector<HostTensor>& biases) {
      return absl::IsInvalidArgument(
          backend->MakeMatrix({&part, 1}, WeightDType::kF32, biases).status());
    };
    EXPECT_TRUE(refuses({narrow.tensor()}));
    EXPECT_TRUE(refuses({tall.tensor()}));
    EXPECT_TRUE(refuses({fits.tensor(), fits.tensor()}));
    EXPECT_TRUE(refuses({{nullptr, DType::kF32, 1, 3}}));
    EXPECT_FALSE(refuses({fits.tensor()}));
  }
}

TEST_P(MatMulConformance, BadMatricesAreRefused) {
  const Host a(3, 4, 1.0f), b(3, 5, 1.0f);
  Host infinite(3, 4, 1.0f);
  infinite.at(2, 1) = std::numeric_limits<float>::infinity();
  const HostTensor unequal[] = {a.tensor(), b.tensor()}, bad = infinite.tensor();
  const HostTensor absent = {nullptr, DType::kF32, 3, 4};
  for (Backend* backend : {backend_.get(), reference_.get()}) {
    EXPECT_TRUE(absl::IsInvalidArgument(backend->MakeMatrix(unequal, WeightDType::kF32).status()));
    EXPECT_TRUE(absl::IsInvalidArgument(backend->MakeMatrix({}, WeightDType::kF32).status()));
    EXPECT_TRUE(
        absl::IsInvalidArgument(backend->MakeMatrix({&absent, 1}, WeightDType::kF32).status()));
    EXPECT_TRUE(
        absl::IsInvalidArgument(backend->MakeMatrix({&bad, 1}, WeightDType::kInt8).status()));
  }
  const HostTensor good = a.tensor();
  const absl::Status fp8 = backend_->MakeMatrix({&good, 1}, WeightDType::kFp8).status();
  EXPECT_EQ(absl::IsUnimplemented(fp8), !GetParam().is_cuda()) << fp8;
  EXPECT_TRUE(
      absl::IsInvalidArgument(reference_->MakeMatrix({&bad, 1}, WeightDType::kFp8).status()));
  if (GetParam().is_cuda()) {
    EXPECT_TRUE(
        absl::IsInvalidArgument(backend_->MakeMatrix({&bad, 1}, WeightDType::kFp8).status()));
  }
}

ALCCA_CONFORMANCE(MatMulConformance);

}  // namespace
}  // namespace alcca
