#pragma once

// Which backend a bench runs on, by the name of a flag; and how it moves floats and waits, through
// the op interface alone.

#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "kernels/backend.h"
#include "kernels/make_backend.h"
#ifdef ALCCA_BENCH_EMULATED
#include "kernels/cuda/device_words/emulated/backend_emulated.h"
#endif

namespace alcca {

struct BenchDevice {
  std::string name = "cpu";   // cpu | cuda | emulated (the CUDA backend on the host; tests only)
  int32_t threads = 0;        // cpu: 0 is one per core
  std::string isa = "auto";   // cpu
  bool faiss_search = false;  // cuda, emulated: as in CudaOptions
  int32_t graph_rows = 16;    // the same; as alccad serves
};

inline absl::StatusOr<std::unique_ptr<Backend>> MakeBenchBackend(const BenchDevice& device,
                                                                 int32_t batch_tokens,
                                                                 SamplingLimits sampling = {}) {
  const BackendLimits limits = {.batch_tokens = batch_tokens, .sampling = sampling};
  if (device.name == "cpu") {
    return MakeCpuBackend({.threads = device.threads, .isa = device.isa, .limits = limits});
  }
  if (device.name == "cuda") {
    return MakeCudaBackend(
        {.faiss_search = device.faiss_search, .graph_rows = device.graph_rows, .limits = limits});
  }
#ifdef ALCCA_BENCH_EMULATED
  if (device.name == "emulated") {
    return MakeEmulatedCudaBackend({.memory_bytes = size_t{1} << 30,
                                    .faiss_search = device.faiss_search,
                                    .graph_rows = device.graph_rows,
                                    .limits = limits});
  }
#endif
  return absl::InvalidArgumentError(absl::StrCat("no device '", device.name, "' in this build"));
}

// Random values, near normal, written by the op that reads a table's rows.
inline void FillRandom(Backend& backend, const TensorView& out, uint64_t seed,
                       float deviation = 1.0f) {
  std::vector<float> values(static_cast<size_t>(out.rows) * static_cast<size_t>(out.cols));
  uint64_t state = seed * 0x9e3779b97f4a7c15ull + 1;
  for (float& value : values) {
    value = 0.0f;
    for (int i = 0; i < 4; ++i) {  // four uniforms in [-1/2, 1/2): variance 1/3
      state = state * 6364136223846793005ull + 1442695040888963407ull;
      value += static_cast<float>(state >> 40) / static_cast<float>(1 << 24) - 0.5f;
    }
    value *= 1.7320508f * deviation;
  }
  const HostTensor host = {reinterpret_cast<const std::byte*>(values.data()), DType::kF32, out.rows,
                           out.cols};
  const auto table = backend.MakeEmbedding(host).value();
  std::vector<int32_t> rows(static_cast<size_t>(out.rows));
  for (size_t row = 0; row < rows.size(); ++row) {
    rows[row] = static_cast<int32_t>(row);
  }
  backend.Embed(out, *table, rows);
  std::vector<float> first(static_cast<size_t>(out.cols));
  backend.Download(first, out.Head(1));  // `table` may go
}

// RoPE's, of base 10,000.
inline std::unique_ptr<Buffer> MakeFrequencies(Backend& backend, int32_t head_dim) {
  std::vector<float> values(static_cast<size_t>(head_dim / 2));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = 1.0f / std::pow(1e4f, static_cast<float>(2 * i) / static_cast<float>(head_dim));
  }
  return backend
      .MakeVector({reinterpret_cast<const std::byte*>(values.data()), DType::kF32, 1, head_dim / 2})
      .value();
}

// Until everything enqueued is done: the op interface's own way to wait.
inline void Wait(Backend& backend, const TensorView& any) {
  std::vector<float> row(static_cast<size_t>(any.cols));
  backend.Download(row, any.Head(1));
}

}  // namespace alcca
