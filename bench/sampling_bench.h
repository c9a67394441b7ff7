#pragma once

// Sampling of a decode step: `rows` x `vocab` logits to tokens, by what requests ask for. Logits
// are normal with a deviation of 3, flatter than a language model's: more is left for top_p to
// rank.

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "bench/device.h"
#include "benchmark/benchmark.h"
#include "kernels/backend.h"

namespace alcca {

inline constexpr int32_t kSamplingContext = 1200;  // tokens of a sequence that penalties look at

inline SamplingLimits SamplingBenchLimits(int32_t rows, int32_t vocab) {
  return {.rows = rows,
          .vocab = vocab,
          .row_ids = kSamplingContext,
          .row_alternatives = 5,
          .constrained = rows};
}

// `backend` has these limits; both outlive the run.
inline void RegisterSampling(Backend& backend, int32_t rows, int32_t vocab) {
  static std::vector<int32_t> tokens;
  for (int32_t i = 0; i < kSamplingContext; ++i) {
    tokens.push_back(static_cast<int32_t>(i * 7919ll % vocab));
  }
  const std::span<const int32_t> prompt = std::span(tokens).first(1000);
  const std::span<const int32_t> output = std::span(tokens).subspan(1000);
  // As inside of a JSON string: most tokens.
  static const std::vector<uint32_t> allowed(MaskWords(vocab), 0xfffbffef);
  struct Case {
    const char* name;
    SamplingRow row;
  };
  const Case cases[] = {{"greedy", {}},
                        {"temperature", {.temperature = 1}},
                        {"top_k_top_p", {.temperature = 0.8f, .top_k = 40, .top_p = 0.95f}},
                        {"top_p", {.temperature = 1, .top_p = 0.9f}},
                        {"constrained", {.temperature = 1, .allowed = allowed}},
                        {"penalties_logprobs",
                         {.temperature = 0.8f,
                          .top_p = 0.95f,
                          .repetition_penalty = 1.1f,
                          .prompt = prompt,
                          .output = output,
                          .top_logprobs = 5}}};
  for (const auto& [name, asked] : cases) {
    const std::string label =
        "sampling/" + std::string(name) + "/" + std::to_string(rows) + "x" + std::to_string(vocab);
    benchmark::RegisterBenchmark(
        label.c_str(),
        [&backend, rows, vocab, asked = asked](benchmark::State& state) {
          const auto buffer = backend.Allocate(rows, vocab).value();
          FillRandom(backend, buffer->view(), 1, 3.0f);
          std::vector<SamplingRow> sampling(static_cast<size_t>(rows), asked);
          std::vector<SampledRow> results(sampling.size());
          int32_t step = 0;
          for (auto _ : state) {
            for (size_t i = 0; i < sampling.size(); ++i) {
              sampling[i].uniform = static_cast<double>((++step * 40503u) % 65536) / 65536;
            }
            const auto start = std::chrono::steady_clock::now();
            backend.BeginStep({});
            backend.Sample(results, buffer->view(), sampling);
            backend.EndStep({});
            const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
            state.SetIterationTime(seconds.count());
          }
        })
        ->UseManualTime()
        ->Unit(benchmark::kMicrosecond);
  }
}

}  // namespace alcca
