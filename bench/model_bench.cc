// Prefill and decode speed of a checkpoint, without the network: the figures that llama-bench
// calls pp and tg, so that the two can stand side by side.
//
//   build/release/bin/model_bench --model DIR [--weight-dtype int8] [--prompt 512] [--decode 32]
//
// Prints per repetition and the median: tokens/s, and for decode GB/s of weights read beside the
// machine's measured read ceiling.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "bench/memory_roof.h"
#include "engine/mistral_model.h"
#include "kernels/cpu/host_memory.h"

namespace alcca {
namespace {

using BenchClock = std::chrono::steady_clock;

double SecondsSince(BenchClock::time_point start) {
  return std::chrono::duration<double>(BenchClock::now() - start).count();
}

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "model_bench: %s\n", value.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(value);
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double ResidentGiB() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmHWM:", 0) == 0) {
      return std::atof(line.c_str() + 6) / (1 << 20);
    }
  }
  return 0;
}

// Bytes per second that `threads` threads read from memory: the roof of batch-1 decode.
double ReadCeiling(int32_t threads) {
  constexpr size_t kBytes = size_t{1} << 30;  // far beyond any cache
  const HostMemory data = AllocateHost(kBytes);
  if (data == nullptr) {
    std::fprintf(stderr, "model_bench: no memory for the read ceiling\n");
    std::exit(1);
  }
  std::fill_n(data.get(), kBytes, std::byte{1});
  const size_t share = kBytes / threads / 64 * 64;
  double best = 0;
  for (int round = 0; round < 5; ++round) {
    const auto start = BenchClock::now();
    std::vector<std::thread> readers;
    std::vector<uint64_t> sums(threads);
    for (int32_t t = 0; t < threads; ++t) {
      readers.emplace_back([&, t] { sums[t] = ReadPlain(data.get() + share * t, share); });
    }
    for (std::thread& reader : readers) {
      reader.join();
    }
    if (std::count(sums.begin(), sums.end(), 0) == 0) {  // keeps the loop from being removed
      best = std::max(best, share * threads / SecondsSince(start));
    }
  }
  return best;
}

struct Args {
  std::string model, dtype = "int8", isa = "auto", mode = "dense";
  int32_t prompt = 512, decode = 32, repeat = 3;
  int32_t threads = static_cast<int32_t>(std::thread::hardware_concurrency());
};

// One sequence: a prompt in one chunk, then single tokens.
class Run {
 public:
  Run(Model& model, const AttentionParams& attention, int32_t capacity)
      : model_(model), attention_(attention), state_(Must(model.MakeAttentionState(attention))) {
    for (int32_t i = 0; i * model.kv_shape().page_tokens < capacity; ++i) {
      pages_.push_back(i);
    }
  }
  double Feed(int32_t tokens) {
    Batch batch;
    for (int32_t i = 0; i < tokens; ++i) {
      batch.token_ids.push_back((length_ + i) * 7919 % model_.vocab_size());
      batch.positions.push_back(length_ + i);
    }
    length_ += tokens;
    batch.logit_rows = {tokens - 1};
    batch.sequences.push_back({.query_start = 0,
                               .query_count = tokens,
                               .kv_len = length_,
                               .pages = pages_.data(),
                               .attention = attention_,
                               .state = state_.get(),
                               .counters = &counters_});
    const auto start = BenchClock::now();
    model_.Forward(batch);
    return SecondsSince(start);
  }

 private:
  Model& model_;
  AttentionParams attention_;
  std::unique_ptr<AttentionState> state_;
  AttentionCounters counters_;
  std::vector<int32_t> pages_;
  int32_t length_ = 0;
};

int Main(const Args& args) {
  const ModelConfig config = Must(LoadModelConfig(args.model));
  const auto checkpoint = Must(Checkpoint::Open(args.model));
  if (const absl::Status valid = checkpoint->Validate(config); !valid.ok()) {
    std::fprintf(stderr, "model_bench: %s\n", valid.ToString().c_str());
    return 1;
  }
  const int32_t capacity = args.prompt + args.decode;
  const auto load_start = BenchClock::now();
  auto model = Must(MistralModel::Load(
      *checkpoint, config,
      Must(MakeCpuBackend({.threads = args.threads,
                           .isa = args.isa,
                           .limits = {.batch_tokens = std::max(1, args.prompt)}})),
      {.weight_dtype = args.dtype == "f32"    ? WeightDType::kF32
                       : args.dtype == "bf16" ? WeightDType::kBF16
                                              : WeightDType::kInt8,
       .max_batch_tokens = std::max(1, args.prompt),
       .max_logit_rows = 1,
       .page_tokens = 64,
       .kv_pages = (capacity + 63) / 64},
      nullptr));
  std::printf("%s, %s weights %.2f GiB, loaded in %.1f s\n", model->backend().Describe().c_str(),
              args.dtype.c_str(), model->weight_bytes() / double{1 << 30},
              SecondsSince(load_start));

  const AttentionParams attention{.mode = args.mode == "alcca" ? AttentionMode::kAlcca
                                                               : AttentionMode::kDense};
  std::vector<double> prefill, decode;
  for (int32_t r = 0; r <= args.repeat; ++r) {  // the first is a warm-up
    Run run(*model, attention, capacity);
    const double prompt_seconds = run.Feed(args.prompt);
    double decode_seconds = 0;
    for (int32_t i = 0; i < args.decode; ++i) {
      decode_seconds += run.Feed(1);
    }
    if (r > 0) {
      prefill.push_back(args.prompt / prompt_seconds);
      decode.push_back(args.decode / decode_seconds);
      std::printf("  pp%d %.1f tok/s   tg%d %.2f tok/s\n", args.prompt, prefill.back(), args.decode,
                  decode.back());
    }
  }
  const double resident = ResidentGiB();
  const double ceiling = ReadCeiling(args.threads);  // now, not minutes ago: machines are shared
  // A decode step reads every matrix once, but only one row of the embedding table.
  const double step_bytes =
      model->weight_bytes() - double(config.vocab_size) * config.hidden_size * 2;
  std::printf(
      "median: prefill %.1f tok/s, decode %.2f tok/s = %.1f GB/s, %.0f %% of the read ceiling "
      "of %.1f GB/s; peak resident %.2f GiB\n",
      Median(prefill), Median(decode), Median(decode) * step_bytes / 1e9,
      100 * Median(decode) * step_bytes / ceiling, ceiling / 1e9, resident);
  return 0;
}

}  // namespace
}  // namespace alcca

int main(int argc, char** argv) {
  alcca::Args args;
  CLI::App app("Prefill and decode speed of a checkpoint");
  app.add_option("--model", args.model, "Hugging Face folder")->required();
  app.add_option("--weight-dtype", args.dtype)->check(CLI::IsMember({"f32", "bf16", "int8"}));
  app.add_option("--isa", args.isa)->check(CLI::IsMember({"auto", "avx512", "avx2", "portable"}));
  app.add_option("--mode", args.mode)->check(CLI::IsMember({"dense", "alcca"}));
  app.add_option("--prompt", args.prompt, "tokens of the prompt")->check(CLI::Range(1, 65536));
  app.add_option("--decode", args.decode, "tokens to decode")->check(CLI::Range(1, 65536));
  app.add_option("--repeat", args.repeat)->check(CLI::Range(1, 100));
  app.add_option("--threads", args.threads)->check(CLI::Range(1, 1024));
  CLI11_PARSE(app, argc, argv);
  return alcca::Main(args);
}
