// Sampling on a device of choice (bench/sampling_bench.h), waiting for its tokens included.
//
//   sampling_bench [--device=cpu] [--rows=64] [--vocab=32000] [--benchmark_filter=top_p]

#include "bench/sampling_bench.h"

#include <cstdio>
#include <string>

#include "absl/strings/numbers.h"

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  alcca::BenchDevice device;
  int32_t rows = 64, vocab = 32000;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const auto number = [&](const char* name, int32_t* out) {
      return argument.starts_with(name) && *out > 0 &&
             absl::SimpleAtoi(argument.substr(std::string(name).size()), out) && *out > 0 &&
             *out <= (1 << 18);
    };
    if (argument.starts_with("--device=")) {
      device.name = argument.substr(9);
    } else if (!number("--rows=", &rows) && !number("--vocab=", &vocab)) {
      std::fprintf(stderr, "sampling_bench: unknown argument or number %s\n", argv[i]);
      return 64;
    }
  }
  const auto backend =
      alcca::MakeBenchBackend(device, rows, alcca::SamplingBenchLimits(rows, vocab));
  if (!backend.ok()) {
    std::fprintf(stderr, "sampling_bench: %s\n", backend.status().ToString().c_str());
    return 78;
  }
  benchmark::AddCustomContext("backend", (*backend)->Describe());
  alcca::RegisterSampling(**backend, rows, vocab);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
