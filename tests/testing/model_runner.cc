#include "tests/testing/model_runner.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "engine/model/model_folder.h"
#include "kernels/cuda/device_words/emulated/backend_emulated.h"
#include "kernels/make_backend.h"

namespace alcca::testing {
namespace {

constexpr int32_t kContext = 512;
constexpr int32_t kPageTokens = 16;

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
    std::abort();
  }
  return *std::move(value);
}

absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(const std::string& isa, int32_t threads) {
  const BackendLimits limits = {
      .batch_tokens = kContext,
      .sampling = {.rows = 64, .vocab = 4096, .row_ids = kContext, .row_alternatives = 20}};
  const bool unrecorded = isa == "cuda_emulated_exact_unrecorded";
  const bool exact = isa == "cuda_emulated_exact" || unrecorded;
  if (exact || isa == "cuda_emulated") {
    return MakeEmulatedCudaBackend({.memory_bytes = size_t{1} << 30,
                                    .kv_dtype = exact ? DType::kF32 : DType::kBF16,
                                    .row_independent = exact,
                                    .graph_rows = unrecorded ? 0 : 8,
                                    .limits = limits});
  }
  return MakeCpuBackend({.threads = threads, .isa = isa, .limits = limits});
}

}  // namespace

std::unique_ptr<Model> LoadModel(const std::string& dir, WeightDType dtype, const std::string& isa,
                                 int32_t threads) {
  return Must(alcca::LoadModel(Must(ModelFolder::OpenWeights(dir)), Must(MakeBackend(isa, threads)),
                               {.weight_dtype = dtype,
                                .max_batch_tokens = kContext,
                                .max_logit_rows = kContext,
                                .page_tokens = kPageTokens,
                                .kv_pages = kContext / kPageTokens},
                               nullptr));
}

ModelRunner::ModelRunner(Model& model, const AttentionParams& attention)
    : model_(model), attention_(attention), state_(Must(model.MakeAttentionState(attention))) {
  const int32_t count = model.kv_shape().pages;
  for (int32_t i = 0; i < count; ++i) {
    pages_.push_back((i * 7 + 3) % count);  // a permutation: 7 and a power of two share no factor
  }
}

std::vector<float> ModelRunner::Feed(std::span<const int32_t> tokens, int32_t chunk) {
  std::vector<float> logits;
  Batch batch;
  for (size_t begin = 0; begin < tokens.size(); begin += chunk) {
    const auto part = tokens.subspan(begin, std::min<size_t>(chunk, tokens.size() - begin));
    batch.Clear();
    batch.Append(part, length_, pages_.data(), &attention_, state_.get(),
                 &counters_[static_cast<int>(Phase::kPrefill)]);
    for (int32_t row = 0; row < batch.tokens(); ++row) {
      batch.logit_rows.push_back(row);
    }
    length_ += batch.tokens();
    const auto rows = model_.Logits(batch);
    logits.insert(logits.end(), rows.begin(), rows.end());
  }
  return logits;
}

std::vector<float> LogSoftmax(std::span<const float> logits, int32_t vocab) {
  std::vector<float> out(logits.size());
  for (size_t row = 0; row < logits.size(); row += vocab) {
    const float top = *std::max_element(&logits[row], &logits[row] + vocab);
    double sum = 0;
    for (int32_t i = 0; i < vocab; ++i) {
      sum += std::exp(double{logits[row + i]} - top);
    }
    for (int32_t i = 0; i < vocab; ++i) {
      out[row + i] = static_cast<float>(double{logits[row + i]} - top - std::log(sum));
    }
  }
  return out;
}

int32_t ArgMax(std::span<const float> row) {
  return static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

std::vector<int32_t> Greedy(Model& model, const AttentionParams& attention,
                            const std::vector<int32_t>& prompt, int32_t count, int32_t chunk) {
  ModelRunner runner(model, attention);
  const size_t vocab = model.vocab_size();
  std::vector<float> logits = runner.Feed(prompt, chunk);
  std::vector<int32_t> tokens;
  while (true) {
    tokens.push_back(ArgMax(std::span(logits).last(vocab)));
    if (static_cast<int32_t>(tokens.size()) == count) {
      return tokens;
    }
    logits = runner.Feed(std::span(&tokens.back(), 1), 1);
  }
}

}  // namespace alcca::testing
