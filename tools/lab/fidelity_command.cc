#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "base/files.h"
#include "base/status_macros.h"
#include "tools/attention_flags.h"
#include "tools/lab/commands.h"
#include "tools/lab/fidelity.h"
#include "tools/lab/output.h"

namespace alcca::lab {
namespace {

constexpr uint64_t kMaxTextBytes = uint64_t{1} << 30;

struct FidelityFlags {
  ModelOptions model;
  AttentionSettings attention;
  FidelityOptions fidelity;
  std::vector<std::string> modes = {"alcca", "tree", "window", "topk"};
  std::string text_file, separator = "<|endoftext|>", json;
};

// Left column of the tables.
int LabelWidth(const Fidelity& f) {
  size_t width = 10;
  for (const ModeFidelity& m : f.modes) {
    width = std::max(width, m.mode.label.size());
  }
  return static_cast<int>(width);
}

void PrintLossRow(int width, const std::string& label, const ModelLoss& loss) {
  std::printf("\n%-*s", width, label.c_str());
  for (const PositionLoss& part : loss.by_position) {
    std::printf(" %8.4f", part.nats_per_token);
  }
}

void Print(const Fidelity& f) {
  const int width = LabelWidth(f);
  std::printf(
      "%d windows of %d tokens; weights compared at %zu query positions of each (seed %llu)\n",
      f.windows, f.options.length, f.positions.size(),
      static_cast<unsigned long long>(f.options.seed));
  std::printf("%-*s %8s %8s %8s %8s %8s %8s %9s %7s %8s %8s\n", width, "", "overlap", "worst",
              "output", "worst", "KV", "% of", "next-tok.", "top-1", "nats/", "nats/");
  std::printf("%-*s %8s %8s %8s %8s %8s %8s %9s %7s %8s %8s\n", width, "mode", "", "head", "error",
              "head", "bytes %", "causal", "KL", "same %", "token", "byte");
  std::printf("%-*s %8s %8s %8s %8s %8s %8s %9s %7s %8.4f %8.4f\n", width, "(dense)", "", "", "",
              "", "", "", "", "", f.dense.nats_per_token, f.dense.nats_per_byte);
  for (const ModeFidelity& m : f.modes) {
    std::printf("%-*s %8.4f %8.4f %8.4f %8.4f %8.2f %8.2f %9.5f %7.2f %8.4f %8.4f\n", width,
                m.mode.label.c_str(), m.mean.overlap, m.worst.overlap, m.mean.output_error,
                m.worst.output_error, 100 * m.mean.kv_bytes_share,
                100 * double(m.counters.performed()) / double(m.counters.dense_equivalent()), m.kl,
                100 * m.top1_agreement, m.loss.nats_per_token, m.loss.nats_per_byte);
  }
  std::printf("\nnats/token by position\n%-*s", width, "from");
  for (const PositionLoss& part : f.dense.by_position) {
    std::printf(" %8d", part.begin);
  }
  PrintLossRow(width, "(dense)", f.dense);
  for (const ModeFidelity& m : f.modes) {
    PrintLossRow(width, m.mode.label, m.loss);
  }
  std::printf("\n");
}

absl::Status RunFidelity(const FidelityFlags& options) {
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(options.text_file, kMaxTextBytes));
  ASSIGN_OR_RETURN(LabModel lab, LoadLabModel(options.model, FidelityLimits(options.fidelity)));
  std::vector<FidelityMode> modes;
  for (const std::string& name : options.modes) {
    AttentionSettings settings = options.attention;
    settings.search =
        KeySearch::kExact;  // unless the entry says otherwise, whatever the model says
    RETURN_IF_ERROR(Add(name, &settings));
    ASSIGN_OR_RETURN(const AttentionParams params, ResolveAttention(lab, settings));
    modes.push_back({name, params});
  }
  ASSIGN_OR_RETURN(const TextWindows cut,
                   CutText(*lab.tokenizer, text, options.separator, options.fidelity.length,
                           options.fidelity.windows));
  ASSIGN_OR_RETURN(const Fidelity result, MeasureFidelity(&lab, cut, modes, options.fidelity));
  if (!options.json.empty()) {
    const std::string name = std::filesystem::path(options.text_file).filename();
    RETURN_IF_ERROR(WriteFile(options.json, FidelityJson(lab, name, result) + "\n"));
  }
  if (options.json != "-") {
    Print(result);
  }
  return absl::OkStatus();
}

}  // namespace

void AddFidelity(CLI::App* app, Run* run) {
  CLI::App* command = app->add_subcommand(
      "fidelity", "How close attention modes come to dense, by head and in what is predicted");
  auto options = std::make_shared<FidelityFlags>();
  options->model.AddTo(command);
  AddKnobFlags(command, &options->attention);
  FidelityOptions& f = options->fidelity;
  command->add_option("--text", options->text_file, "UTF-8 text")->required();
  command
      ->add_option("--modes", options->modes,
                   "as alcca,tree,window:window=32; exact and tree are alcca with that search")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--separator", options->separator, "between documents")
      ->capture_default_str();
  command->add_option("--length", f.length, "tokens of a window")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  command->add_option("--windows", f.windows, "at most, spread over the text")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command
      ->add_option("--samples", f.samples,
                   "query positions of a window whose weights are compared; 0: none")
      ->check(CLI::Range(0, 1 << 24))
      ->capture_default_str();
  command->add_option("--buckets", f.buckets, "of positions, for the loss")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_option("--seed", f.seed, "of the sampled positions")->capture_default_str();
  command->add_option("--json", options->json, "file for every number; - is stdout");
  command->callback([options, run] { *run = [options] { return Report(RunFidelity(*options)); }; });
}

}  // namespace alcca::lab
