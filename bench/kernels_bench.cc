// MatMul at the shapes of a 7B layer, beside what the machine can do. Every iteration first reads a
// buffer larger than the caches (the memory roof, and a cold start for the weights) and spins a
// register-only multiply-add loop (the compute roof). Counters are medians over iterations, by wall
// clock: GBps of weights read, GOPS (a multiply-add is two) and the two roofs. `share_percent` is
// what the kernel reached of the nearer roof, taken in the same iteration: on a shared machine the
// roofs move.
//
// And sampling, 64 rows of 32,000 logits (bench/sampling_bench.h), without a roof.
//
//   kernels_bench [--threads=N] [--isa=auto] [--benchmark_filter=int8]

#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "bench/memory_roof.h"
#include "bench/sampling_bench.h"
#include "benchmark/benchmark.h"
#include "kernels/backend.h"
#include "kernels/cpu/cpu_features.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/host/host_memory.h"
#include "kernels/make_backend.h"

namespace alcca {
namespace {

constexpr size_t kStreamBytes = size_t{96} << 20;
constexpr int64_t kPeakLoops = 200000;  // about a millisecond
constexpr int kChains = 24;             // independent accumulators of the compute roof

double Seconds(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double Median(std::vector<double> values) {
  ALCCA_CHECK(!values.empty());
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

// --- Roofs -----------------------------------------------------------------------------------

// Each loop: kChains multiply-adds of one register, none of which waits for another.
[[gnu::target("avx512f,avx512vnni")]] void SpinVnni512() {
  __m512i acc[kChains];
#pragma GCC unroll 24
  for (auto& a : acc) {
    a = _mm512_setzero_si512();
    asm volatile("" : "+v"(a));  // or equal chains become one
  }
  __m512i x = _mm512_set1_epi32(1), w = _mm512_set1_epi32(3);
  for (int64_t i = 0; i < kPeakLoops; ++i) {
    asm volatile("" : "+v"(x), "+v"(w));
#pragma GCC unroll 24
    for (auto& a : acc) {
      a = _mm512_dpbusd_epi32(a, x, w);
    }
  }
#pragma GCC unroll 24
  for (auto& a : acc) {
    asm volatile("" : : "v"(a));
  }
}

[[gnu::target("avx512f")]] void SpinFma512() {
  __m512 acc[kChains];
#pragma GCC unroll 24
  for (auto& a : acc) {
    a = _mm512_setzero_ps();
    asm volatile("" : "+v"(a));  // or equal chains become one
  }
  __m512 x = _mm512_set1_ps(0.5f), w = _mm512_set1_ps(0.25f);
  for (int64_t i = 0; i < kPeakLoops; ++i) {
    asm volatile("" : "+v"(x), "+v"(w));
#pragma GCC unroll 24
    for (auto& a : acc) {
      a = _mm512_fmadd_ps(x, w, a);
    }
  }
#pragma GCC unroll 24
  for (auto& a : acc) {
    asm volatile("" : : "v"(a));
  }
}

constexpr int kChains256 = 12;
[[gnu::target("avx2,fma")]] void SpinFma256() {
  __m256 acc[kChains256];
#pragma GCC unroll 12
  for (auto& a : acc) {
    a = _mm256_setzero_ps();
    asm volatile("" : "+x"(a));
  }
  __m256 x = _mm256_set1_ps(0.5f), w = _mm256_set1_ps(0.25f);
  for (int64_t i = 0; i < kPeakLoops; ++i) {
    asm volatile("" : "+x"(x), "+x"(w));
#pragma GCC unroll 12
    for (auto& a : acc) {
      a = _mm256_fmadd_ps(x, w, a);
    }
  }
#pragma GCC unroll 12
  for (auto& a : acc) {
    asm volatile("" : : "x"(a));
  }
}

class Roofs {
 public:
  Roofs(int32_t threads, CpuIsa isa)
      : pool_(threads), isa_(isa), stream_(AllocateHost(kStreamBytes)) {
    ALCCA_CHECK(stream_ != nullptr);
    std::fill_n(stream_.get(), kStreamBytes, std::byte{1});
  }

  // Billions of bytes a second.
  double Stream() {
    const size_t shares = static_cast<size_t>(pool_.threads()) * 16;
    const size_t bytes = kStreamBytes / shares / 64 * 64;
    return 1e-9 * static_cast<double>(bytes * shares) / Seconds([&] {
             pool_.ParallelFor(static_cast<int32_t>(shares), [&](int32_t share) {
               benchmark::DoNotOptimize(ReadPlain(stream_.get() + bytes * share, bytes));
             });
           });
  }

  // Billions of operations a second in registers alone; for int8 without VNNI there is no figure,
  // and 0 says so.
  double Peak(WeightDType dtype) {
    const bool int8 = dtype == WeightDType::kInt8, wide = isa_ == CpuIsa::kAvx512;
    if (isa_ == CpuIsa::kPortable || (int8 && !wide)) {
      return {};
    }
    const auto spin = int8 ? SpinVnni512 : wide ? SpinFma512 : SpinFma256;
    const double ops = 2.0 * (int8 ? 64 * kChains : wide ? 16 * kChains : 8 * kChains256);
    return 1e-9 * ops * kPeakLoops * pool_.threads() /
           Seconds([&] { pool_.ParallelFor(pool_.threads(), [&](int32_t) { spin(); }); });
  }

 private:
  ThreadPool pool_;
  CpuIsa isa_;
  HostMemory stream_;
};

// --- MatMul ----------------------------------------------------------------------------------

struct Setup {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Roofs> roofs;
  // The weights of the last case; the next often wants the same.
  std::string matrix_name;
  std::unique_ptr<Matrix> matrix;
};

struct Case {
  const char* name;
  int32_t features, cols;
  WeightDType dtype;
};

const Matrix& WeightsFor(Setup& setup, const Case& c) {
  const std::string name = std::string(c.name) + FormatOf(c.dtype).name;
  if (setup.matrix_name != name) {
    constexpr int32_t kPartRows = 512;  // one random part, stacked as often as needed
    std::vector<uint16_t> part(static_cast<size_t>(kPartRows) * static_cast<size_t>(c.cols));
    uint32_t state = 1;
    for (uint16_t& value : part) {
      state = state * 1664525u + 1013904223u;
      value = static_cast<uint16_t>((state >> 16 & 0x807fu) | 0x3c00u);  // bf16, +-[2^-7, 2^-6)
    }
    const std::vector<HostTensor> parts(
        static_cast<size_t>(c.features / kPartRows),
        {reinterpret_cast<const std::byte*>(part.data()), DType::kBF16, kPartRows, c.cols});
    setup.matrix.reset();
    setup.matrix = setup.backend->MakeMatrix(parts, c.dtype).value();
    setup.matrix_name = name;
  }
  return *setup.matrix;
}

void MatMul(benchmark::State& state, Setup& setup, const Case& c) {
  const int32_t rows = static_cast<int32_t>(state.range(0));
  const Matrix& weight = WeightsFor(setup, c);
  const auto x = setup.backend->Allocate(rows, c.cols).value();
  const auto y = setup.backend->Allocate(rows, c.features).value();
  for (size_t i = 0; i < static_cast<size_t>(rows) * static_cast<size_t>(c.cols); ++i) {
    x->view().f32()[i] = static_cast<float>(i * 7919 % 1000) * 1e-3f - 0.5f;
  }
  const double bytes = static_cast<double>(weight.bytes());
  const double ops = 2.0 * rows * c.features * c.cols;
  // Touches the pages of y and grows the workspace.
  setup.backend->MatMul(y->view(), x->view(), weight, Accumulate::kOverwrite);
  std::vector<double> gbps, gops, stream_roof, peak_roof, share;
  for (auto _ : state) {
    const double peak = setup.roofs->Peak(c.dtype), stream = setup.roofs->Stream();
    const double seconds = Seconds(
        [&] { setup.backend->MatMul(y->view(), x->view(), weight, Accumulate::kOverwrite); });
    state.SetIterationTime(seconds);
    const double read = 1e-9 * bytes / seconds, done = 1e-9 * ops / seconds;
    gbps.push_back(read);
    gops.push_back(done);
    stream_roof.push_back(stream);
    peak_roof.push_back(peak);
    share.push_back(100.0 * std::max(read / stream, peak > 0.0 ? done / peak : 0.0));
  }
  state.counters["GBps"] = Median(gbps);
  state.counters["GBps_roof"] = Median(stream_roof);
  state.counters["GOPS"] = Median(gops);
  state.counters["GOPS_roof"] = Median(peak_roof);
  state.counters["share_percent"] = Median(share);
}

void Register(Setup& setup) {
  for (const WeightFormat& format : kWeightFormats) {
    if (!format.on_cpu) {
      continue;
    }
    const WeightDType dtype = format.dtype;
    for (const Case& c : {Case{"qkv", 6144, 4096, dtype}, Case{"o", 4096, 4096, dtype},
                          Case{"gate_up", 28672, 4096, dtype}, Case{"down", 4096, 14336, dtype}}) {
      const std::string name = std::string("matmul/") + format.name + "/" + c.name;
      benchmark::RegisterBenchmark(
          name.c_str(), [&setup, c](benchmark::State& state) { MatMul(state, setup, c); })
          ->Arg(1)
          ->Arg(8)
          ->Arg(64)
          ->Arg(512)
          ->UseManualTime()
          ->Unit(benchmark::kMillisecond)
          ->MinTime(0.5);
    }
  }
}

int Main(int argc, char** argv) {
  constexpr int32_t kSampledRows = 64, kVocab = 32000;
  CpuOptions options = {
      .threads = 0,
      .isa = "auto",
      .limits = {.batch_tokens = 512, .sampling = SamplingBenchLimits(kSampledRows, kVocab)}};
  benchmark::Initialize(&argc, argv);
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg.starts_with("--threads=")) {
      options.threads = std::atoi(arg.c_str() + 10);
    } else if (arg.starts_with("--isa=")) {
      options.isa = arg.substr(6);
    } else {
      std::fprintf(stderr, "unknown argument %s\n", arg.c_str());
      return 64;
    }
  }
  auto backend = MakeCpuBackend(options);
  if (!backend.ok()) {
    std::fprintf(stderr, "%s\n", backend.status().ToString().c_str());
    return 78;
  }
  const std::string described = (*backend)->Describe();
  benchmark::AddCustomContext("backend", described);
  const int32_t cores = static_cast<int32_t>(std::thread::hardware_concurrency());
  Setup setup;
  setup.roofs = std::make_unique<Roofs>(options.threads > 0 ? options.threads : std::max(cores, 1),
                                        ChooseCpuIsa(options.isa).value());
  setup.backend = *std::move(backend);
  Register(setup);
  RegisterSampling(*setup.backend, kSampledRows, kVocab);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace alcca

int main(int argc, char** argv) {
  return alcca::Main(argc, argv);
}
