#pragma once

// What every conformance test shares: the backends to run over, the reference beside them, and
// moving floats in and out through the op interface alone, so that a device backend fits too.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/backend.h"
#include "kernels/cuda/device_words/emulated/backend_emulated.h"
#include "kernels/make_backend.h"

namespace alcca {

// A CPU instruction set and its threads, or CUDA on the card or the emulated device in two guises:
// as it serves ("cuda", "cuda_emulated": bf16 keys and values, cuBLASLt's products), and "exact"
// (f32 keys and values, our own products alone; on the emulator threads in shuffled order). For
// `alcca` also "faiss": exact, and CudaOptions::faiss_search.
struct BackendCase {
  std::string isa;
  int32_t threads;

  bool is_cuda() const { return isa.rfind("cuda", 0) == 0; }
  bool is_emulated() const { return isa.find("emulated") != std::string::npos; }
  bool is_faiss() const { return isa.find("faiss") != std::string::npos; }
  bool is_exact() const {
    return !is_cuda() || is_faiss() || isa.find("exact") != std::string::npos;
  }
};
inline void PrintTo(const BackendCase& c, std::ostream* os) {
  *os << c.isa << c.threads;
}
inline std::string BackendCaseName(const BackendCase& c) {
  return c.is_cuda() ? c.isa : c.isa + "_" + std::to_string(c.threads) + "threads";
}

inline std::vector<BackendCase> CpuCases() {
  return {{"avx512", 1}, {"avx512", 2}, {"avx2", 1}, {"avx2", 2}, {"portable", 1}, {"portable", 2}};
}
inline std::vector<BackendCase> BackendCases() {
  std::vector<BackendCase> cases = CpuCases();
  for (const char* isa : {"cuda_emulated", "cuda_emulated_exact", "cuda", "cuda_exact"}) {
    cases.push_back({isa, 1});
  }
  return cases;
}

// Those that compute in f32 throughout, as the tolerances of attention's tests assume.
inline std::vector<BackendCase> ExactCases() {
  std::vector<BackendCase> cases = BackendCases();
  std::erase_if(cases, [](const BackendCase& c) { return !c.is_exact(); });
  return cases;
}

// For tests of exact search alone, because the choice of the searcher concerns nothing else.
inline std::vector<BackendCase> ExactSearchCases() {
  std::vector<BackendCase> cases = ExactCases();
  for (const char* isa : {"cuda_emulated_faiss", "cuda_faiss"}) {
    cases.push_back({isa, 1});
  }
  return cases;
}

// FAILED_PRECONDITION or UNIMPLEMENTED: not on this machine, or not in this build.
inline absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(const BackendCase& c,
                                                            int32_t batch_tokens = 64,
                                                            SamplingLimits sampling = {}) {
  const BackendLimits limits = {.batch_tokens = batch_tokens, .sampling = sampling};
  if (!c.is_cuda()) {
    return MakeCpuBackend({.threads = c.threads, .isa = c.isa, .limits = limits});
  }
  CudaOptions options = {.limits = limits};
  if (c.is_exact()) {
    options.kv_dtype = DType::kF32;
    options.row_independent = true;
  }
  options.faiss_search = c.is_faiss();
  if (c.isa.find("emulated") == std::string::npos) {
    return MakeCudaBackend(options);
  }
  options.memory_bytes = size_t{1} << 30;
  return MakeEmulatedCudaBackend(options, c.is_exact() ? 1 : 0);
}

// A matrix of floats on the host; a vector is one row.
struct Host {
  int32_t rows = 0, cols = 0;
  std::vector<float> values;

  Host(int32_t r, int32_t c, float fill = 0.0f)
      : rows(r), cols(c), values(static_cast<size_t>(r) * static_cast<size_t>(c), fill) {}
  float& at(int32_t r, int32_t c) {
    return values[static_cast<size_t>(r) * static_cast<size_t>(cols) + static_cast<size_t>(c)];
  }
  float at(int32_t r, int32_t c) const { return const_cast<Host*>(this)->at(r, c); }
  HostTensor tensor() const {
    return {reinterpret_cast<const std::byte*>(values.data()), DType::kF32, rows, cols};
  }
  Host RowRange(int32_t first, int32_t count) const {
    Host out(count, cols);
    for (int32_t r = 0; r < count; ++r) {
      for (int32_t c = 0; c < cols; ++c) {
        out.at(r, c) = at(first + r, c);
      }
    }
    return out;
  }
};

// Near-normal values with a given standard deviation, the same on every machine.
inline Host RandomHost(int32_t rows, int32_t cols, uint64_t seed, float deviation = 1.0f) {
  Host host(rows, cols);
  uint64_t state = seed * 0x9e3779b97f4a7c15ull + 1;
  for (float& value : host.values) {
    double sum = 0.0;  // of four uniforms in [-1/2, 1/2), variance 1/3
    for (int i = 0; i < 4; ++i) {
      state = state * 6364136223846793005ull + 1442695040888963407ull;
      sum += static_cast<double>(state >> 40) / static_cast<double>(1 << 24) - 0.5;
    }
    value = static_cast<float>(sum * std::sqrt(3.0)) * deviation;
  }
  return host;
}

// RoPE's: 1 / theta^(2i / head_dim).
inline std::unique_ptr<Buffer> Frequencies(Backend& backend, int32_t head_dim, float theta) {
  Host frequencies(1, head_dim / 2);
  for (int32_t i = 0; i < head_dim / 2; ++i) {
    frequencies.at(0, i) =
        1.0f / std::pow(theta, static_cast<float>(2 * i) / static_cast<float>(head_dim));
  }
  return backend.MakeVector(frequencies.tensor()).value();
}

// Outputs start as NaN, so that an element an op forgets is seen.
inline Host Poison(int32_t rows, int32_t cols) {
  return Host(rows, cols, std::numeric_limits<float>::quiet_NaN());
}

inline std::unique_ptr<Buffer> Upload(Backend& backend, const Host& host) {
  auto buffer = backend.Allocate(host.rows, host.cols).value();
  const auto table = backend.MakeEmbedding(host.tensor()).value();
  std::vector<int32_t> rows(static_cast<size_t>(host.rows));
  for (int32_t r = 0; r < host.rows; ++r) {
    rows[static_cast<size_t>(r)] = r;
  }
  backend.Embed(buffer->view(), *table, rows);
  return buffer;
}

inline Host Download(Backend& backend, const TensorView& x) {
  Host host(x.rows, x.cols);
  backend.Download(host.values, x);
  return host;
}

inline void ExpectSameBits(const Host& actual, const Host& expected, const std::string& what) {
  ASSERT_EQ(actual.values.size(), expected.values.size()) << what;
  for (size_t i = 0; i < actual.values.size(); ++i) {
    ASSERT_EQ(std::memcmp(&actual.values[i], &expected.values[i], sizeof(float)), 0)
        << what << ": element " << i << " is " << actual.values[i] << ", expected "
        << expected.values[i];
  }
}

// |actual - expected| <= relative * magnitude + absolute, element by element.
inline void ExpectNear(const Host& actual, const Host& expected, const Host& magnitude,
                       double relative, double absolute, const std::string& what) {
  ASSERT_EQ(actual.values.size(), expected.values.size()) << what;
  for (size_t i = 0; i < actual.values.size(); ++i) {
    const double bound = relative * std::fabs(magnitude.values[i]) + absolute;
    ASSERT_LE(std::fabs(double{actual.values[i]} - expected.values[i]), bound)
        << what << ": element " << i << " of [" << actual.rows << ", " << actual.cols << "] is "
        << actual.values[i] << ", expected " << expected.values[i];
  }
}

// One backend and the reference. Skips if the machine lacks the backend's instruction set or card.
class ConformanceTest : public ::testing::TestWithParam<BackendCase> {
 protected:
  explicit ConformanceTest(SamplingLimits sampling = {}) : sampling_(sampling) {}

  void SetUp() override {
    auto backend = MakeBackend(GetParam(), 64, sampling_);
    if (absl::IsFailedPrecondition(backend.status()) || absl::IsUnimplemented(backend.status())) {
      GTEST_SKIP() << backend.status().message();
    }
    ASSERT_TRUE(backend.ok()) << backend.status();
    backend_ = *std::move(backend);
  }

  const SamplingLimits sampling_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Backend> reference_ = MakeReferenceBackend();
};

#define ALCCA_CONFORMANCE_OVER(suite, cases)                              \
  INSTANTIATE_TEST_SUITE_P(Backends, suite, ::testing::ValuesIn(cases()), \
                           [](const auto& test) { return BackendCaseName(test.param); })
#define ALCCA_CONFORMANCE(suite) ALCCA_CONFORMANCE_OVER(suite, BackendCases)

}  // namespace alcca
