#pragma once

// Runs one sequence through a model without the scheduler: what golden and determinism tests need.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/model.h"

namespace alcca::testing {

// Loads a Hugging Face folder on the CPU backend ("auto", "avx2", "portable", ...) or the emulated
// CUDA one ("cuda_emulated", "cuda_emulated_exact": tests/conformance/backends.h; the latter with
// "_unrecorded": without CUDA graphs), 512 tokens.
std::unique_ptr<Model> LoadModel(const std::string& dir, WeightDType dtype,
                                 const std::string& isa = "auto", int32_t threads = 1);

class ModelRunner {
 public:
  // Pages are taken in a scattered order, so that a backend that ignores page ids fails.
  ModelRunner(Model& model, const AttentionParams& attention);

  // Logits of every token fed, in chunks of at most `chunk`: [tokens, vocab].
  std::vector<float> Feed(std::span<const int32_t> tokens, int32_t chunk);
  const PhaseCounters& counters() const { return counters_; }

 private:
  Model& model_;
  AttentionParams attention_;
  std::unique_ptr<AttentionState> state_;
  PhaseCounters counters_{};
  std::vector<int32_t> pages_;
  int32_t length_ = 0;
};

// log_softmax in double of each row of [rows, vocab].
std::vector<float> LogSoftmax(std::span<const float> logits, int32_t vocab);
int32_t ArgMax(std::span<const float> row);
// The `count` tokens that greedy decoding continues `prompt` with.
std::vector<int32_t> Greedy(Model& model, const AttentionParams& attention,
                            const std::vector<int32_t>& prompt, int32_t count, int32_t chunk);

}  // namespace alcca::testing
