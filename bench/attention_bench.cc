// Attention of one layer at the shape of Mistral-7B (32 query heads, 8 KV heads of 128), by mode
// and context length: one decoded token, and a prompt chunk of 256. `Time` is per call; `GBps` what
// the mode says it read of the cache. Compare rows of one run: dense is the peer of every other
// mode. `build_us` is what an index cost per token of the context, merges of clusters included;
// time holds only what grew during the run.
//
//   attention_bench [--device=cpu] [--contexts=1024,8192,32768,131072] [--shape=mistral-7b|tiny]
//                   [--benchmark_filter=decode]
//
// `alcca_faiss` is alcca_exact with its neighbours from FAISS (CudaOptions::faiss_search); not on a
// CPU, whose exact search is FAISS' already.
//
// On a GPU a step has 16 such layers, between two waits, and they share its time.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "bench/device.h"
#include "benchmark/benchmark.h"
#include "kernels/backend.h"
#include "kernels/make_backend.h"

namespace alcca {
namespace {

constexpr int32_t kChunk = 256;

struct Setting {
  BenchDevice device;
  AttentionShape shape = {.heads = 32, .kv_heads = 8, .head_dim = 128};
  std::vector<int32_t> contexts = {1024, 8192, 32768, 131072};
  int32_t layers = 1;  // of a step, between two waits
};

// A sequence filled to `context` tokens, and the rows of its next step.
class Filled {
 public:
  Filled(const Setting& setting, const AttentionParams& attention, int32_t context, int32_t rows)
      : shape_(setting.shape) {
    auto backend = MakeBenchBackend(setting.device, kChunk);
    status_ = backend.status();
    if (!status_.ok()) {
      return;
    }
    backend_ = *std::move(backend);
    const KvShape kv = {.layers = setting.layers,
                        .kv_heads = shape_.kv_heads,
                        .head_dim = shape_.head_dim,
                        .page_tokens = 64,
                        .pages = (context + 63) / 64 + 1024};
    cache_ = backend_->MakeKvCache(kv).value();
    for (int32_t page = 0; page < kv.pages; ++page) {
      pages_.push_back(page);
    }
    auto state = backend_->MakeAttentionState(kv, attention);
    status_ = state.status();
    if (!status_.ok()) {
      return;
    }
    state_ = *std::move(state);
    qkv_ = backend_->Allocate(kChunk, shape_.qkv_cols()).value();
    out_ = backend_->Allocate(kChunk, shape_.heads * shape_.head_dim).value();
    FillRandom(*backend_, qkv_->view(), 1);
    frequencies_ = MakeFrequencies(*backend_, shape_.head_dim);
    // Filling writes keys; ALCCA's and multipole's state follows every token, by the cheapest
    // answers: all queries near, no cluster opened.
    AttentionParams filling = attention;
    filling.theta = 1e9f;
    filling.mass = 0;
    filling.dense_below = 0;
    const bool attends = TraitsOf(attention.mode).keeps_state;
    while (length_ < context) {
      // FAISS searches near queries too, a million calls for 131,072 tokens: its sums stay those of
      // the first chunk, which changes no time.
      const bool follows = attends && (length_ == 0 || !setting.device.faiss_search);
      Step(filling, std::min(kChunk, context - length_), follows);
    }
    Finish();
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
                               .attention = &attention,
                               .state = state_.get(),
                               .counters = &counters_});
    const TensorView qkv = qkv_->view().Head(rows);
    backend_->BeginStep(batch);
    for (int32_t layer = 0; layer < cache_->shape().layers; ++layer) {
      backend_->RopeAndStore(qkv, *cache_, layer, batch, shape_, *frequencies_);
      if (attends) {
        backend_->Attention(out_->view().Head(rows), qkv, *cache_, layer, batch, shape_);
      }
    }
    backend_->EndStep(batch);
  }
  void Finish() { Wait(*backend_, out_->view()); }
  const absl::Status& status() const { return status_; }
  double build_seconds() const { return build_seconds_; }
  bool Full() const { return length_ + rows_ > int32_t(pages_.size()) * 64; }
  const AttentionCounters& counters() const { return counters_; }

 private:
  AttentionShape shape_;
  absl::Status status_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<KvCache> cache_;
  std::unique_ptr<AttentionState> state_;
  std::unique_ptr<Buffer> qkv_, out_, frequencies_;
  std::vector<int32_t> pages_;
  AttentionCounters counters_;
  int32_t length_ = 0, rows_ = 0;
  double build_seconds_ = 0;
};

void Run(benchmark::State& state, const Setting& setting, const AttentionParams& attention,
         int32_t context, int32_t rows) {
  Filled filled(setting, attention, context, rows);
  if (!filled.status().ok()) {  // a mode that the backend does not have, or has no memory for
    state.SkipWithError(std::string(filled.status().message()).c_str());
    return;
  }
  for (auto _ : state) {
    if (filled.Full()) {
      state.SkipWithError("the cache is full; lower --benchmark_min_time");
      break;
    }
    const auto start = std::chrono::steady_clock::now();
    filled.Step(attention, rows);
    filled.Finish();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    state.SetIterationTime(seconds.count() / setting.layers);
  }
  state.counters["GBps"] = benchmark::Counter(
      double(filled.counters().kv_bytes_read) / 1e9 / setting.layers, benchmark::Counter::kIsRate);
  state.counters["build_us"] = 1e6 * filled.build_seconds() / context / setting.layers;
  state.counters["of_dense"] =
      double(filled.counters().performed()) / double(filled.counters().dense_equivalent());
}

// False, having said why, for an argument that is not one of ours.
bool ReadArgument(const std::string& argument, Setting* setting) {
  if (argument.starts_with("--device=")) {
    setting->device.name = argument.substr(9);
    return true;
  }
  if (argument == "--shape=tiny") {
    setting->shape = {.heads = 4, .kv_heads = 2, .head_dim = 32};
    return true;
  }
  if (argument.starts_with("--contexts=")) {
    setting->contexts.clear();
    for (const auto& part : absl::StrSplit(argument.substr(11), ',')) {
      int32_t context = 0;
      if (!absl::SimpleAtoi(part, &context) || context < 2 || context > (1 << 20)) {
        std::fprintf(stderr, "attention_bench: --contexts: 2..1048576, found '%s'\n",
                     std::string(part).c_str());
        return false;
      }
      setting->contexts.push_back(context);
    }
    return true;
  }
  if (argument == "--shape=mistral-7b") {
    return true;
  }
  std::fprintf(stderr, "attention_bench: unknown argument %s\n", argument.c_str());
  return false;
}

void Register(const Setting& setting) {
  struct Mode {
    const char* name;
    AttentionParams params;
    bool faiss_search = false;
  };
  const Mode modes[] = {
      {"dense", {{.mode = AttentionMode::kDense}}},
      {"alcca_exact", {{.mode = AttentionMode::kAlcca, .epsilon = 0.05f}}},
      {"alcca_faiss", {{.mode = AttentionMode::kAlcca, .epsilon = 0.05f}}, /*faiss_search=*/true},
      {"alcca_tree",
       {{.mode = AttentionMode::kAlcca, .search = KeySearch::kTree, .epsilon = 0.05f}}},
      {"multipole", {{.mode = AttentionMode::kMultipole}}},
      {"window", {{.mode = AttentionMode::kWindow}}},
      {"topk", {{.mode = AttentionMode::kTopK}}},
      {"alcca_all_near", {{.mode = AttentionMode::kAlcca, .theta = 1e9f}}}};
  for (const int32_t rows : {1, kChunk}) {
    for (const int32_t context : setting.contexts) {
      if (rows > 1 && (context > 32768 || context < kChunk)) {
        continue;  // minutes of dense; no room for a chunk
      }
      for (const auto& [name, params, faiss_search] : modes) {
        if (faiss_search && setting.device.name == "cpu") {
          continue;
        }
        Setting own = setting;
        own.device.faiss_search = faiss_search;
        const std::string label = std::string(rows == 1 ? "decode/" : "prefill256/") + name + "/" +
                                  std::to_string(context);
        benchmark::RegisterBenchmark(
            label.c_str(), [own, params = params, context, rows](
                               benchmark::State& state) { Run(state, own, params, context, rows); })
            ->Iterations(setting.shape.head_dim < 128 ? 1
                         : rows == 1                  ? 60
                                                      : 3)
            ->UseManualTime();
      }
    }
  }
}

}  // namespace
}  // namespace alcca

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  alcca::Setting setting;
  for (int i = 1; i < argc; ++i) {
    if (!alcca::ReadArgument(argv[i], &setting)) {
      return 64;
    }
  }
  // A layer on a GPU is shorter than a wait for it.
  setting.layers = setting.device.name == "cpu" ? 1 : setting.device.name == "cuda" ? 16 : 2;
  if (const auto backend = alcca::MakeBenchBackend(setting.device, 1); backend.ok()) {
    benchmark::AddCustomContext("backend", (*backend)->Describe());
  } else {
    std::fprintf(stderr, "attention_bench: %s\n", backend.status().ToString().c_str());
    return 78;
  }
  alcca::Register(setting);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
