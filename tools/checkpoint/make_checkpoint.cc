// alcca-make-checkpoint: a model folder of random weights, in any shape, for tests and load tests.
//
//   alcca-make-checkpoint --out /tmp/m7b --preset mistral-7b --dtype bf16 --shards 3
//   alcca-make-checkpoint --out /tmp/tiny --preset tiny --layers 4 --tokenizer tokenizer.model
//
// It says nothing sensible, but costs exactly what a trained model of the shape costs.

#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <map>
#include <optional>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "base/files.h"
#include "base/status_macros.h"
#include "engine/model/model_config.h"
#include "tools/checkpoint/safetensors_writer.h"

namespace alcca {
namespace {

ModelConfig Mistral7B() {  // Mistral-7B-Instruct-v0.3.
  ModelConfig config;
  config.hidden_size = 4096;
  config.intermediate_size = 14336;
  config.num_layers = 32;
  config.num_heads = 32;
  config.num_kv_heads = 8;
  config.head_dim = 128;
  config.vocab_size = 32768;
  config.max_position_embeddings = 32768;
  config.rope_theta = 1e6;
  config.rms_norm_eps = 1e-5;
  config.bos_token_id = 1;
  config.eos_token_ids = {2};
  config.architecture = "MistralForCausalLM";
  return config;
}

ModelConfig Tiny() {  // Every dimension small and different, so that a mix-up shows.
  ModelConfig config = Mistral7B();
  config.hidden_size = 64;
  config.intermediate_size = 176;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 16;
  config.vocab_size = 512;
  config.max_position_embeddings = 2048;
  config.rope_theta = 1e4;
  return config;
}

struct Flags {
  std::string out;
  std::string preset = "tiny";
  std::string dtype = "bf16";
  std::string tokenizer;
  int shards = 1;
  uint64_t seed = 0;
  double stddev = 0.0;
  bool tied = false;
  // Each overrides the preset.
  std::optional<int64_t> hidden, intermediate, layers, heads, kv_heads, head_dim, vocab, positions;
  std::optional<int64_t> sliding_window;
  std::optional<double> rope_theta, rms_norm_eps;
};

void AddFlags(CLI::App& app, Flags& flags) {
  app.add_option("--out", flags.out, "Folder to write (made if absent)")->required();
  app.add_option("--preset", flags.preset, "Shape to start from")
      ->check(CLI::IsMember({"mistral-7b", "tiny"}))
      ->capture_default_str();
  app.add_option("--dtype", flags.dtype, "Element type of the weights")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}))
      ->capture_default_str();
  app.add_option("--shards", flags.shards, "Number of weight files")->capture_default_str();
  app.add_option("--seed", flags.seed, "Of the weights")->capture_default_str();
  app.add_option("--stddev", flags.stddev, "Of the matrices; 0 = 1/sqrt(columns)")
      ->capture_default_str();
  app.add_option("--tokenizer", flags.tokenizer, "Tokenizer file to copy into the folder");
  app.add_flag("--tied", flags.tied, "Share the embedding with the output head");
  app.add_option("--hidden", flags.hidden, "hidden_size");
  app.add_option("--intermediate", flags.intermediate, "intermediate_size");
  app.add_option("--layers", flags.layers, "num_hidden_layers");
  app.add_option("--heads", flags.heads, "num_attention_heads");
  app.add_option("--kv-heads", flags.kv_heads, "num_key_value_heads");
  app.add_option("--head-dim", flags.head_dim, "head_dim (default hidden / heads)");
  app.add_option("--vocab", flags.vocab, "vocab_size");
  app.add_option("--positions", flags.positions, "max_position_embeddings");
  app.add_option("--sliding-window", flags.sliding_window, "sliding_window in tokens, 0 = none");
  app.add_option("--rope-theta", flags.rope_theta, "rope_theta");
  app.add_option("--rms-norm-eps", flags.rms_norm_eps, "rms_norm_eps");
}

RandomCheckpointOptions Options(const Flags& flags) {
  RandomCheckpointOptions options;
  ModelConfig& config = options.config;
  config = flags.preset == "tiny" ? Tiny() : Mistral7B();
  config.hidden_size = flags.hidden.value_or(config.hidden_size);
  config.intermediate_size = flags.intermediate.value_or(config.intermediate_size);
  config.num_layers = flags.layers.value_or(config.num_layers);
  config.num_heads = flags.heads.value_or(config.num_heads);
  config.num_kv_heads = flags.kv_heads.value_or(config.num_kv_heads);
  if ((flags.hidden || flags.heads) && config.num_heads > 0) {
    config.head_dim = config.hidden_size / config.num_heads;
  }
  config.head_dim = flags.head_dim.value_or(config.head_dim);
  config.vocab_size = flags.vocab.value_or(config.vocab_size);
  config.max_position_embeddings = flags.positions.value_or(config.max_position_embeddings);
  config.sliding_window = flags.sliding_window.value_or(config.sliding_window);
  config.rope_theta = flags.rope_theta.value_or(config.rope_theta);
  config.rms_norm_eps = flags.rms_norm_eps.value_or(config.rms_norm_eps);
  config.tie_word_embeddings = flags.tied;
  const std::map<std::string, DType> dtypes = {
      {"f32", DType::kF32}, {"f16", DType::kF16}, {"bf16", DType::kBF16}};
  options.dtype = dtypes.at(flags.dtype);
  options.shards = flags.shards;
  options.seed = flags.seed;
  options.stddev = flags.stddev;
  return options;
}

// At most ten lines a second, each over the last; nothing when stderr is not a terminal.
class ProgressLine {
 public:
  void Show(uint64_t done, uint64_t total) {
    const auto now = std::chrono::steady_clock::now();
    if (!is_terminal_ || (done < total && now - last_ < std::chrono::milliseconds(100))) {
      return;
    }
    last_ = now;
    const double seconds = std::chrono::duration<double>(now - start_).count();
    std::fprintf(stderr, "\r%5.1f %%  %.2f of %.2f GB  %.0f MB/s ",
                 100.0 * static_cast<double>(done) / static_cast<double>(total),
                 static_cast<double>(done) * 1e-9, static_cast<double>(total) * 1e-9,
                 static_cast<double>(done) * 1e-6 / (seconds + 1e-9));
    if (done == total) {
      std::fputc('\n', stderr);
    }
  }

 private:
  const bool is_terminal_ = isatty(STDERR_FILENO) != 0;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point last_ = start_;
};

absl::Status Run(const Flags& flags) {
  ProgressLine progress;
  RETURN_IF_ERROR(WriteRandomCheckpoint(
      flags.out, Options(flags),
      [&progress](uint64_t done, uint64_t total) { progress.Show(done, total); }));
  if (flags.tokenizer.empty()) {
    return absl::OkStatus();
  }
  constexpr uint64_t kMaxTokenizerBytes = uint64_t{256} << 20;
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(flags.tokenizer, kMaxTokenizerBytes));
  const bool is_json = absl::EndsWith(flags.tokenizer, ".json");
  return WriteTextFile(flags.out + (is_json ? "/tokenizer.json" : "/tokenizer.model"), text);
}

}  // namespace
}  // namespace alcca

int main(int argc, char** argv) {
  CLI::App app("Writes a Mistral checkpoint folder of random weights.", "alcca-make-checkpoint");
  alcca::Flags flags;
  alcca::AddFlags(app, flags);
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = alcca::Run(flags);
  if (status.ok()) {
    return 0;
  }
  std::fprintf(stderr, "alcca-make-checkpoint: %s\n", std::string(status.message()).c_str());
  return 1;
}
