// Prefill and decode speed of a checkpoint, without the network: the figures that llama-bench
// calls pp and tg, so that the two can stand side by side.
//
//   build/release/bin/model_bench --model DIR [--device cpu] [--weight-dtype int8] [--prompt 512]
//                                 [--decode 32] [--batch 1,8,64] [--json FILE]
//
// Prints per repetition and the median: tokens/s, and for decode GB/s of weights read beside the
// machine's measured read ceiling (on a CPU; a GPU's is bench/gpu/roof.cu). --prompt and --batch
// take lists: each prompt length alone, then decoding that many sequences at once, each of
// --context tokens before. --json appends one object a line for each figure.

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
#include "absl/strings/str_format.h"
#include "bench/device.h"
#include "bench/load_model.h"
#include "bench/memory_roof.h"
#include "engine/model/tensor_table.h"
#include "kernels/host/host_memory.h"
#include "kernels/make_backend.h"

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
  std::string model, dtype = "int8", mode = "dense", json;
  BenchDevice device = {.threads = static_cast<int32_t>(std::thread::hardware_concurrency())};
  std::vector<int32_t> prompts = {512}, batches = {1};
  int32_t decode = 32, repeat = 3, chunk = 8192;
  int32_t context = 0;  // 0: the longest prompt
  int32_t longest() const { return *std::max_element(prompts.begin(), prompts.end()); }
  int32_t widest() const { return *std::max_element(batches.begin(), batches.end()); }
};

// Sequences in step: each a prompt in chunks, then single tokens, all at once.
class Run {
 public:
  Run(Model& model, const AttentionParams& attention, int32_t sequences, int32_t capacity)
      : model_(model), attention_(attention) {
    const int32_t page_tokens = model.kv_shape().page_tokens;
    const int32_t pages = (capacity + page_tokens - 1) / page_tokens;
    for (int32_t s = 0; s < sequences; ++s) {
      sequences_.push_back({.state = Must(model.MakeAttentionState(attention))});
      for (int32_t i = 0; i < pages; ++i) {
        sequences_.back().pages.push_back(s * pages + i);
      }
    }
  }
  // The next `tokens` of one sequence, in steps of at most `chunk`; seconds.
  double Prefill(int32_t sequence, int32_t tokens, int32_t chunk) {
    double seconds = 0;
    for (int32_t done = 0; done < tokens; done += chunk) {
      Batch batch;
      Append(&batch, sequences_[sequence], std::min(chunk, tokens - done));
      batch.logit_rows = {batch.tokens() - 1};
      seconds += Forward(batch);
    }
    return seconds;
  }
  // One token of every sequence.
  double Decode() {
    Batch batch;
    for (Sequence& sequence : sequences_) {
      Append(&batch, sequence, 1);
      batch.logit_rows.push_back(batch.tokens() - 1);
    }
    return Forward(batch);
  }

 private:
  struct Sequence {
    std::unique_ptr<AttentionState> state;
    AttentionCounters counters = {};
    std::vector<int32_t> pages = {};
    int32_t length = 0;
  };
  void Append(Batch* batch, Sequence& sequence, int32_t tokens) {
    std::vector<int32_t> ids;
    for (int32_t i = 0; i < tokens; ++i) {
      // 64 bits: --prompt allows lengths at which 32 overflow.
      ids.push_back(
          static_cast<int32_t>((int64_t{sequence.length} + i) * 7919 % model_.vocab_size()));
    }
    batch->Append(ids, sequence.length, sequence.pages.data(), &attention_, sequence.state.get(),
                  &sequence.counters);
    sequence.length += tokens;
  }
  double Forward(const Batch& batch) {
    rows_.assign(batch.logit_rows.size(), SamplingRow());  // greedy
    const auto start = BenchClock::now();
    model_.Forward(batch, rows_, [] {});  // comes back with tokens
    return SecondsSince(start);
  }

  Model& model_;
  AttentionParams attention_;
  std::vector<Sequence> sequences_;
  std::vector<SamplingRow> rows_;
};

// A figure as a line of JSON, for whoever collects them. `macs_per_token`: multiply-accumulate
// operations of the matrices for one token, attention's not counted.
void Write(const Args& args, const std::string& what, int32_t size, double seconds,
           double bytes_per_step, double macs_per_token) {
  if (args.json.empty()) {
    return;
  }
  std::ofstream(args.json, std::ios::app) << absl::StrFormat(
      R"({"what": "%s", "device": "%s", "dtype": "%s", "mode": "%s", "size": %d, )"
      R"("context": %d, "seconds": %.6g, "bytes": %.6g, "macs_per_token": %.9g})"
      "\n",
      what, args.device.name, args.dtype, args.mode, size, what == "decode" ? args.context : size,
      seconds, bytes_per_step, macs_per_token);
}

double MedianPrefill(Model& model, const AttentionParams& attention, const Args& args,
                     int32_t prompt) {
  std::vector<double> seconds;
  for (int32_t r = 0; r <= args.repeat; ++r) {  // the first is a warm-up
    Run run(model, attention, 1, prompt);
    const double once = run.Prefill(0, prompt, args.chunk);
    if (r > 0) {
      seconds.push_back(once);
    }
  }
  return Median(seconds);
}

// Seconds of a step in which each of `batch` sequences gains a token.
double MedianDecode(Model& model, const AttentionParams& attention, const Args& args,
                    int32_t batch) {
  const int32_t steps = std::max(args.decode, 1);
  Run run(model, attention, batch, args.context + (args.repeat + 1) * steps);
  for (int32_t s = 0; s < batch && args.context > 0; ++s) {
    run.Prefill(s, args.context, args.chunk);
  }
  std::vector<double> seconds;
  for (int32_t r = 0; r <= args.repeat; ++r) {
    double sum = 0;
    for (int32_t i = 0; i < steps; ++i) {
      sum += run.Decode();
    }
    if (r > 0) {
      seconds.push_back(sum / steps);
    }
  }
  return Median(seconds);
}

std::unique_ptr<Model> Load(const ModelFolder& folder, const Args& args, int32_t kv_pages) {
  const int32_t rows = std::max({1, std::min(args.longest(), args.chunk), args.widest()});
  const SamplingLimits sampling = {.rows = args.widest(),
                                   .vocab = static_cast<int32_t>(folder.config.vocab_size)};
  return Must(LoadBenchModel(folder, args.device,
                             {.weight_dtype = *WeightDTypeOf(args.dtype),
                              .max_batch_tokens = rows,
                              .max_logit_rows = args.widest(),
                              .page_tokens = 64,
                              .kv_pages = kv_pages},
                             sampling));
}

int Main(Args args) {
  const ModelFolder folder = Must(ModelFolder::OpenWeights(args.model));
  const ModelConfig& config = folder.config;
  args.chunk = std::max(args.chunk, 1);
  if (args.context == 0) {
    args.context = args.longest();
  }
  const int32_t decoded = args.context + (args.repeat + 1) * std::max(args.decode, 1);
  const int32_t kv_pages =
      std::max((args.longest() + 63) / 64, args.widest() * ((decoded + 63) / 64));
  const auto load_start = BenchClock::now();
  const auto model = Load(folder, args, kv_pages);
  std::printf("%s, %s weights %.2f GiB, loaded in %.1f s\n", model->Describe().c_str(),
              args.dtype.c_str(), model->weight_bytes() / double{1 << 30},
              SecondsSince(load_start));
  // A decode step reads every matrix once, but only one row of the embedding table, and the keys
  // and values of every sequence.
  const double weights = model->weight_bytes() - double(HeadElements(config)) * 2;
  const double layers = double(config.num_layers) * double(LayerElements(config));
  const double head = double(HeadElements(config));
  const AttentionParams attention = {{.mode = *ModeOf(args.mode)}};
  for (const int32_t prompt : args.prompts) {
    const double seconds = MedianPrefill(*model, attention, args, prompt);
    std::printf("prefill %d: %.1f tok/s\n", prompt, prompt / seconds);
    // Of each chunk the head multiplies one row.
    const int32_t chunks = (prompt - 1) / args.chunk + 1;
    Write(args, "prefill", prompt, seconds, weights, layers + head * chunks / prompt);
  }
  double step = 0;
  for (const int32_t batch : args.decode > 0 ? args.batches : std::vector<int32_t>()) {
    step = MedianDecode(*model, attention, args, batch);
    const double cache = double(model->kv_bytes()) / model->kv_shape().pages / 64 * args.context;
    std::printf("decode, batch %d at %d tokens: %.3f ms, %.2f tok/s, %.1f GB/s of weights\n", batch,
                args.context, 1e3 * step, batch / step, weights / step / 1e9);
    Write(args, "decode", batch, step, weights + batch * cache, layers + head);
  }
  if (args.device.name == "cpu" && step > 0) {
    const double resident = ResidentGiB();
    const double ceiling = ReadCeiling(args.device.threads);  // now: machines are shared
    std::printf("weights at %.0f %% of the read ceiling of %.1f GB/s; peak resident %.2f GiB\n",
                100 * weights / step / ceiling, ceiling / 1e9, resident);
  }
  return 0;
}

}  // namespace
}  // namespace alcca

int main(int argc, char** argv) {
  alcca::Args args;
  CLI::App app("Prefill and decode speed of a checkpoint");
  app.add_option("--model", args.model, "Hugging Face folder")->required();
  app.add_option("--device", args.device.name)
      ->check(CLI::IsMember({"cpu", "cuda", "emulated"}))
      ->capture_default_str();
  app.add_option("--graph-rows", args.device.graph_rows, "CUDA graphs up to this; 0: none")
      ->check(CLI::Range(0, alcca::kGraphRowsMax));
  app.add_option("--weight-dtype", args.dtype)->check(CLI::IsMember(alcca::WeightFormatNames()));
  app.add_option("--isa", args.device.isa)
      ->check(CLI::IsMember({"auto", "avx512", "avx2", "portable"}));
  app.add_option("--mode", args.mode)->check(CLI::IsMember(alcca::AttentionModeNames()));
  app.add_option("--prompt", args.prompts, "tokens of each prompt, a list")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--decode", args.decode, "tokens to decode; 0: none")->check(CLI::Range(0, 65536));
  app.add_option("--batch", args.batches, "sequences decoded at once, a list")
      ->delimiter(',')
      ->check(CLI::Range(1, 4096));
  app.add_option("--context", args.context, "tokens before decoding; 0: the longest prompt")
      ->check(CLI::Range(0, 1 << 20));
  app.add_option("--chunk", args.chunk, "rows of a prefill step")->check(CLI::Range(1, 1 << 20));
  app.add_option("--repeat", args.repeat)->check(CLI::Range(1, 100));
  app.add_option("--threads", args.device.threads)->check(CLI::Range(1, 1024));
  app.add_option("--json", args.json, "file to append figures to");
  CLI11_PARSE(app, argc, argv);
  return alcca::Main(args);
}
