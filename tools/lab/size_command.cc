// size: what a model and a load take, from config.json alone.

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "CLI/CLI.hpp"
#include "engine/model/model_folder.h"
#include "tools/lab/commands.h"
#include "tools/lab/output.h"
#include "tools/lab/size.h"

namespace alcca::lab {
namespace {

struct SizeFlags {
  std::string dir;
  SizeQuestion question;
  int64_t context = 0;
  double bandwidth = 0, gflops = 0;
  bool json = false;
};

nlohmann::json StepJson(const StepRoof& step) {
  return {{"bytes", step.bytes},
          {"flops", step.flops},
          {"seconds", step.seconds ? nlohmann::json(*step.seconds) : nullptr},
          {"bound_by",
           step.seconds ? nlohmann::json(step.by_bandwidth ? "bandwidth" : "compute") : nullptr}};
}

// "memory" has the daemon's log line "memory plan", word for word.
nlohmann::json AnswerJson(const SizeFlags& options, const SizeAnswer& a) {
  const ModelFootprint& f = a.plan.footprint;
  const auto rate = [](const std::optional<double>& value) {
    return value ? nlohmann::json(*value) : nlohmann::json(nullptr);
  };
  return {{"memory",
           {{"weights", Gib(f.weight_bytes)},
            {"weight_dtype", FormatOf(a.plan.options.weight_dtype).name},
            {"kv_cache", Gib(f.kv_bytes)},
            {"indices", Gib(f.index_bytes)},
            {"activations", Gib(f.activation_bytes)},
            {"max_context", a.plan.max_context},
            {"kv_tokens", a.plan.kv_tokens()}}},
          {"bytes",
           {{"weights", f.weight_bytes},
            {"kv_cache", f.kv_bytes},
            {"indices", f.index_bytes},
            {"activations", f.activation_bytes},
            {"total", f.total()},
            {"kv_per_token", a.kv_bytes_per_token},
            {"indices_per_token", a.index_bytes_per_token}}},
          {"context", options.question.limits.max_context},
          {"concurrency", options.question.limits.max_num_seqs},
          {"parameters", a.parameters},
          {"decode", StepJson(a.decode)},
          {"decode_tokens_per_second", rate(a.decode_tokens_per_second)},
          {"prefill", StepJson(a.prefill)},
          {"prefill_tokens_per_second", rate(a.prefill_tokens_per_second)}};
}

void PrintStep(const char* name, const StepRoof& step, std::optional<double> rate) {
  std::printf("%-13s%10.2f GB read, %10.1f GFLOP", name, step.bytes * 1e-9, step.flops * 1e-9);
  if (step.seconds && rate) {
    const bool small = *step.seconds < 1;
    std::printf(": at best %.1f tokens/s, %.3g %s, bound by %s", *rate,
                *step.seconds * (small ? 1e3 : 1), small ? "ms" : "s",
                step.by_bandwidth ? "bandwidth" : "compute");
  }
  std::printf("\n");
}

void Print(const SizeFlags& options, const SizeAnswer& a) {
  const ModelFootprint& f = a.plan.footprint;
  const MemoryLimits& limits = options.question.limits;
  std::printf("%s, %s weights, %lld sequences of %lld tokens\n\n", options.dir.c_str(),
              FormatOf(a.plan.options.weight_dtype).name, (long long)limits.max_num_seqs,
              (long long)limits.max_context);
  std::printf("weights      %12s\n", Gib(double(f.weight_bytes)).c_str());
  std::printf("KV cache     %12s   %lld tokens, %lld bytes each\n", Gib(double(f.kv_bytes)).c_str(),
              (long long)a.plan.kv_tokens(), (long long)a.kv_bytes_per_token);
  std::printf(
      "indices      %12s   at most, %lld bytes a token: alcca with tree search, multipole\n",
      Gib(double(f.index_bytes)).c_str(), (long long)a.index_bytes_per_token);
  std::printf("activations  %12s\n", Gib(double(f.activation_bytes)).c_str());
  std::printf("total        %12s\n\n", Gib(double(f.total())).c_str());
  PrintStep("decode step", a.decode, a.decode_tokens_per_second);
  PrintStep("whole prompt", a.prefill, a.prefill_tokens_per_second);
  if (!a.decode.seconds) {
    std::printf(
        "             --bandwidth GB/s and --gflops of the machine turn these into rates\n");
  }
  std::printf(
      "\nalccad --model %s --weight-dtype %s --max-context %lld --max-num-seqs %lld "
      "--kv-cache-bytes %lld\n",
      options.dir.c_str(), FormatOf(a.plan.options.weight_dtype).name,
      (long long)limits.max_context, (long long)limits.max_num_seqs, (long long)f.kv_bytes);
}

absl::Status RunSize(SizeFlags options) {
  const auto config = ModelFolder::ReadConfig(options.dir);
  if (!config.ok()) {
    return config.status();
  }
  SizeQuestion& question = options.question;
  question.limits.max_context =
      options.context > 0 ? options.context : config->max_position_embeddings;
  question.limits.available_bytes = AvailableBytes();
  question.bytes_per_second = options.bandwidth * 1e9;
  question.flops_per_second = options.gflops * 1e9;
  const auto answer = AnswerSize(*config, question);
  if (!answer.ok()) {
    return answer.status();
  }
  if (options.json) {
    std::printf("%s\n", AnswerJson(options, *answer).dump(2).c_str());
  } else {
    Print(options, *answer);
  }
  return absl::OkStatus();
}

}  // namespace

void AddSize(CLI::App* app, Run* run) {
  CLI::App* command =
      app->add_subcommand("size", "Memory and best speed of a model and a load, from config.json");
  auto options = std::make_shared<SizeFlags>();
  SizeQuestion& q = options->question;
  q.limits.kv_cache_bytes = 0;
  q.limits.max_num_seqs = 1;
  constexpr int64_t kTokens = int64_t{1} << 24;
  command->add_option("--model", options->dir, "folder with the model's config.json, or a GGUF")
      ->required();
  command->add_option("--context", options->context, "tokens of a sequence; 0: all the model has")
      ->check(CLI::Range(int64_t{0}, kTokens));
  command->add_option("--concurrency", q.limits.max_num_seqs, "sequences at once")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command->add_option("--weight-dtype", q.limits.weight_dtype, "as alccad's")
      ->check(CLI::IsMember(WeightFormatNames({"auto"})))
      ->capture_default_str();
  command->add_option("--kv-cache-bytes", q.limits.kv_cache_bytes, "0: what all the sequences take")
      ->check(CLI::Range(int64_t{0}, int64_t{1'000'000'000'000'000}));
  command->add_option("--page-tokens", q.limits.page_tokens, "as alccad's")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command
      ->add_option("--kv-element-bytes", q.limits.kv_element_bytes,
                   "4 on a CPU; 2 where a backend keeps keys in bf16")
      ->check(CLI::IsMember({2, 4}))
      ->capture_default_str();
  command->add_option("--max-batch-tokens", q.limits.max_batch_tokens, "as alccad's")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command->add_option("--max-prefill-chunk", q.prefill_chunk, "as alccad's")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command->add_option("--bandwidth", options->bandwidth, "GB/s that the machine reads memory at")
      ->check(CLI::Range(0., 1e9));
  command->add_option("--gflops", options->gflops, "it reaches on the weights' type")
      ->check(CLI::Range(0., 1e12));
  command->add_flag("--json", options->json, "the figures as JSON");
  command->callback([options, run] { *run = [options] { return Report(RunSize(*options)); }; });
}

}  // namespace alcca::lab
