#include <cstdio>
#include <memory>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/utf8.h"
#include "tools/attention_flags.h"
#include "tools/lab/commands.h"
#include "tools/lab/explain.h"
#include "tools/lab/lab_model.h"
#include "tools/lab/output.h"

namespace alcca::lab {
namespace {

struct ExplainFlags {
  ModelOptions model;
  AttentionSettings attention;
  ExplainOptions explain;
  std::string prompt, json, html;
};

void PrintSummary(const Explanation& e) {
  double performed = 0, dense = 0;
  for (size_t i = 0; i < e.tokens.size(); ++i) {
    performed += e.interactions[i];
    dense += e.interactions_dense[i];
  }
  std::printf("%zu tokens, %s: %.0f interactions of causal dense's %.0f, %.1f %%\n",
              e.tokens.size(), DescribeAttention(e.attention).c_str(), performed, dense,
              100 * performed / dense);
  std::printf("%5s %5s %8s %12s %10s %12s\n", "layer", "head", "near %", "tokens used", "entropy",
              "% of causal");
  for (size_t l = 0; l < e.layers.size(); ++l) {
    for (size_t h = 0; h < e.layers[l].heads.size(); ++h) {
      const ExplainedHead& head = e.layers[l].heads[h];
      std::printf("%5zu %5zu %8.1f %12.1f %10.3f %12.1f\n", l, h, 100 * head.near_share,
                  head.tokens_used_mean, head.entropy_mean,
                  100 * head.interactions / head.interactions_dense);
    }
  }
}

absl::Status RunExplain(const ExplainFlags& options) {
  if (!IsValidUtf8(options.prompt)) {
    return absl::InvalidArgumentError("--prompt: is not valid UTF-8");
  }
  ASSIGN_OR_RETURN(LabModel lab,
                   LoadLabModel(options.model, {.batch_tokens = 512,
                                                .logit_rows = 1,
                                                .kv_tokens = options.explain.max_tokens}));
  ASSIGN_OR_RETURN(const AttentionParams params, ResolveAttention(lab, options.attention));
  const auto prompt = lab.tokenizer->Encode(options.prompt, {.bos = true});
  ASSIGN_OR_RETURN(const Explanation e, Explain(&lab, prompt, params, options.explain));
  const std::string json = ExplanationJson(e);
  if (!options.json.empty()) {
    RETURN_IF_ERROR(WriteFile(options.json, json + "\n"));
  }
  if (!options.html.empty()) {
    RETURN_IF_ERROR(WriteFile(options.html, ExplanationHtml(json)));
  }
  if (options.json != "-" && options.html != "-") {
    PrintSummary(e);
  }
  return absl::OkStatus();
}

}  // namespace

void AddExplain(CLI::App* app, Run* run) {
  CLI::App* command = app->add_subcommand(
      "explain", "Which tokens each layer and head attended for a text, and what it cost");
  auto options = std::make_shared<ExplainFlags>();
  options->model.AddTo(command);
  AddModeFlags(command, &options->attention);
  AddKnobFlags(command, &options->attention);
  command->add_option("--prompt", options->prompt, "the text")->required();
  command->add_option("--max-new", options->explain.new_tokens, "tokens to generate, greedily")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  command->add_option("--max-tokens", options->explain.max_tokens, "more than this is refused")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command
      ->add_option("--min-weight", options->explain.min_weight,
                   "smaller weights are given as one sum a query")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command->add_option("--json", options->json, "file for the data; - is stdout");
  command->add_option("--html", options->html, "file for the page; - is stdout");
  command->callback([options, run] { *run = [options] { return Report(RunExplain(*options)); }; });
}

}  // namespace alcca::lab
