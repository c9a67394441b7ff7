// Attention of one layer at the shape of Mistral-7B (32 query heads, 8 KV heads of 128), by mode
// and context length: one decoded token, and a prompt chunk of 256. `Time` is per call; `GBps` what
// the mode says it read of the cache. Compare rows of one run: dense is the peer of every other
// mode. `build_us` is what an index cost per token of the context, merges of clusters included;
// time holds only what grew during the run.
//
//   attention_bench [--benchmark_filter=decode]

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "kernels/backend.h"

namespace alcca {
namespace {

constexpr AttentionShape kShape = {.heads = 32, .kv_heads = 8, .head_dim = 128};
constexpr int32_t kChunk = 256;

// A sequence filled to `context` tokens, and the rows of its next step.
class Filled {
 public:
  Filled(const AttentionParams& attention, int32_t context, int32_t rows)
      : backend_(MakeCpuBackend({.threads = 0, .limits = {.batch_tokens = kChunk}}).value()) {
    const KvShape kv = {.layers = 1,
                        .kv_heads = kShape.kv_heads,
                        .head_dim = kShape.head_dim,
                        .page_tokens = 64,
                        .pages = (context + 63) / 64 + 1024};
    cache_ = backend_->MakeKvCache(kv).value();
    for (int32_t page = 0; page < kv.pages; ++page) {
      pages_.push_back(page);
    }
    state_ = backend_->MakeAttentionState(kv, attention).value();
    qkv_ = backend_->Allocate(kChunk, kShape.qkv_cols()).value();
    out_ = backend_->Allocate(kChunk, kShape.heads * kShape.head_dim).value();
    Randomise();
    // Filling writes keys; ALCCA's and multipole's state follows every token, by the cheapest
    // answers: all queries near, no cluster opened.
    AttentionParams filling = attention;
    filling.theta = 1e9f;
    filling.mass = 0;
    filling.dense_below = 0;
    const bool attends =
        attention.mode == AttentionMode::kAlcca || attention.mode == AttentionMode::kMultipole;
    while (length_ < context) {
      Step(filling, std::min(kChunk, context - length_), attends);
    }
    build_seconds_ = state_->build_seconds();
    counters_ = {};
    rows_ = rows;
  }

  // The next `rows` tokens. The context grows by them.
  void Step(const AttentionParams& attention, int32_t rows, bool attends = true) {
    Batch batch;
    batch.token_ids.resize(size_t(rows));
    for (int32_t i = 0; i < rows; ++i) {
      batch.positions.push_back(length_ + i);
    }
    length_ += rows;
    batch.sequences.push_back({.query_start = 0,
                               .query_count = rows,
                               .kv_len = length_,
                               .pages = pages_.data(),
                               .attention = attention,
                               .state = state_.get(),
                               .counters = &counters_});
    const TensorView qkv = qkv_->view().Head(rows);
    backend_->RopeAndStore(qkv, *cache_, 0, batch, kShape, {});
    if (attends) {
      backend_->Attention(out_->view().Head(rows), qkv, *cache_, 0, batch, kShape);
    }
  }
  double build_seconds() const { return build_seconds_; }
  bool Full() const { return length_ + rows_ > int32_t(pages_.size()) * 64; }
  const AttentionCounters& counters() const { return counters_; }

 private:
  void Randomise() {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    float* x = qkv_->view().f32();
    std::generate_n(x, size_t(kChunk) * kShape.qkv_cols(), [&] { return normal(random); });
  }

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<KvCache> cache_;
  std::unique_ptr<AttentionState> state_;
  std::unique_ptr<Buffer> qkv_, out_;
  std::vector<int32_t> pages_;
  AttentionCounters counters_;
  int32_t length_ = 0, rows_ = 0;
  double build_seconds_ = 0;
};

void Run(benchmark::State& state, const AttentionParams& attention, int32_t context, int32_t rows) {
  Filled filled(attention, context, rows);
  for (auto _ : state) {
    if (filled.Full()) {
      state.SkipWithError("the cache is full; lower --benchmark_min_time");
      break;
    }
    filled.Step(attention, rows);
  }
  state.counters["GBps"] = benchmark::Counter(double(filled.counters().kv_bytes_read) / 1e9,
                                              benchmark::Counter::kIsRate);
  state.counters["build_us"] = 1e6 * filled.build_seconds() / context;
  state.counters["of_dense"] =
      double(filled.counters().performed()) / double(filled.counters().dense_equivalent());
}

}  // namespace
}  // namespace alcca

int main(int argc, char** argv) {
  using alcca::AttentionMode;
  using alcca::AttentionParams;
  using alcca::KeySearch;
  const std::pair<const char*, AttentionParams> modes[] = {
      {"dense", {.mode = AttentionMode::kDense}},
      {"alcca_exact", {.mode = AttentionMode::kAlcca, .epsilon = 0.05f}},
      {"alcca_tree", {.mode = AttentionMode::kAlcca, .search = KeySearch::kTree, .epsilon = 0.05f}},
      {"multipole", {.mode = AttentionMode::kMultipole}},
      {"window", {.mode = AttentionMode::kWindow}},
      {"topk", {.mode = AttentionMode::kTopK}},
      {"alcca_all_near", {.mode = AttentionMode::kAlcca, .theta = 1e9f}}};
  for (const int32_t rows : {1, alcca::kChunk}) {
    for (const int32_t context : {1024, 8192, 32768, 131072}) {
      if (rows > 1 && context > 32768) {
        continue;  // minutes of dense
      }
      for (const auto& [name, params] : modes) {
        const std::string label = std::string(rows == 1 ? "decode/" : "prefill256/") + name + "/" +
                                  std::to_string(context);
        benchmark::RegisterBenchmark(
            label.c_str(),
            [=](benchmark::State& state) { alcca::Run(state, params, context, rows); })
            ->Iterations(rows == 1 ? 60 : 3)
            ->UseRealTime();
      }
    }
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
