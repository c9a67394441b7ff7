#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/status_macros.h"
#include "tools/attention_flags.h"
#include "tools/lab/calibrate.h"
#include "tools/lab/commands.h"
#include "tools/lab/output.h"

namespace alcca::lab {
namespace {

constexpr uint64_t kMaxTextBytes = uint64_t{1} << 30;

struct CalibrateFlags {
  ModelOptions model;
  AttentionSettings attention;
  CalibrationOptions calibration;
  std::string text_file, separator = "<|endoftext|>", target, out;
};

void PrintRow(const char* name, const CalibrationFigures& f) {
  std::printf("%-12s %9.2f %9.2f %11.4f\n", name, 100 * f.near_share, 100 * f.saving,
              f.nats_per_byte);
}

absl::Status RunCalibrate(const CalibrateFlags& options) {
  ASSIGN_OR_RETURN(const CalibrationTarget target, ParseCalibrationTarget(options.target));
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(options.text_file, kMaxTextBytes));
  ASSIGN_OR_RETURN(LabModel lab,
                   LoadLabModel(options.model, CalibrationLimits(options.calibration)));
  AttentionSettings attention = options.attention;
  attention.mode = AttentionMode::kAlcca;
  ASSIGN_OR_RETURN(const AttentionParams base, ResolveAttention(lab, attention));
  ASSIGN_OR_RETURN(const TextWindows windows,
                   CutText(*lab.tokenizer, text, options.separator, options.calibration.length,
                           options.calibration.windows));
  ASSIGN_OR_RETURN(const Calibration result,
                   Calibrate(&lab, windows, base, target, options.calibration));
  const std::string path = options.out.empty() ? options.model.dir + "/alcca.json" : options.out;
  // What the model's own file says besides stays.
  const auto existing = ReadTextFile(options.model.dir + "/alcca.json", 1 << 24);
  if (!existing.ok() && !absl::IsNotFound(existing.status())) {
    return existing.status();
  }
  const std::string name = std::filesystem::path(options.text_file).filename();
  ASSIGN_OR_RETURN(const std::string json,
                   CalibratedAlccaJson(existing.value_or(""), options.target, name, lab, result));
  RETURN_IF_ERROR(WriteFile(path, json));
  if (path != "-") {
    std::printf("fitted on %d tokens, measured on %d others\n", result.fitted_tokens,
                result.measured_tokens);
    std::printf("%-12s %9s %9s %11s\n", "", "near %", "saving %", "nats/byte");
    PrintRow("theta 0", result.before);
    PrintRow("calibrated", result.after);
    std::printf("%-12s %9s %9.2f %11.4f\n", "dense", "", 0.0, result.dense_nats_per_byte);
    std::printf("wrote %s\n", path.c_str());
  }
  return absl::OkStatus();
}

}  // namespace

void AddCalibrate(CLI::App* app, Run* run) {
  CLI::App* command = app->add_subcommand(
      "calibrate", "Finds theta and k of alcca for each layer and head, and writes alcca.json");
  auto options = std::make_shared<CalibrateFlags>();
  options->model.AddTo(command);
  // What it finds itself is no flag.
  for (const Knob& knob : RequestKnobs()) {
    const bool is_found = &knob == &KnobOf(&AttentionScalars::theta) ||
                          &knob == &KnobOf(&AttentionScalars::near_share);
    if (knob.modes.Has(AttentionMode::kAlcca) && !is_found) {
      AddKnobFlag(command, knob, &options->attention);
    }
  }
  AddSearchFlag(command, &options->attention);
  command->add_option("--text", options->text_file, "UTF-8 text")->required();
  command
      ->add_option("--target", options->target,
                   "near=SHARE of queries, saving=SHARE of causal dense's interactions, or "
                   "loss=+NATS per byte")
      ->required();
  command->add_option("--separator", options->separator, "between documents")
      ->capture_default_str();
  command->add_option("--length", options->calibration.length, "tokens of a window")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  command
      ->add_option("--windows", options->calibration.windows,
                   "at most, spread over the text; half to fit, half to measure")
      ->check(CLI::Range(2, 4096))
      ->capture_default_str();
  command->add_option("--out", options->out,
                      "file to write; - is stdout; default: alcca.json in the model's folder");
  command->callback(
      [options, run] { *run = [options] { return Report(RunCalibrate(*options)); }; });
}

}  // namespace alcca::lab
