#include "tools/lab/lab_model.h"

#include <cstdio>
#include <utility>

#include "CLI/CLI.hpp"
#include "base/check.h"
#include "base/status_macros.h"
#include "engine/model/memory_plan.h"
#include "engine/model/model_folder.h"
#include "kernels/make_backend.h"

namespace alcca::lab {
namespace {

constexpr int32_t kPageTokens = 16;

int32_t Pages(int32_t tokens) {
  return (tokens + kPageTokens - 1) / kPageTokens;
}

}  // namespace

void ModelOptions::AddTo(CLI::App* app) {
  app->add_option("--model", dir, "model folder, or a GGUF")->required();
  app->add_option("--weight-dtype", weight_dtype, "auto is as stored")
      ->check(CLI::IsMember(WeightFormatNames({"auto"}, /*cpu_only=*/true)))
      ->capture_default_str();
  app->add_option("--threads", threads, "0: one per core")->check(CLI::Range(0, 1024));
}

absl::StatusOr<LabModel> LoadLabModel(const ModelOptions& options, const LabLimits& limits) {
  LabModel lab;
  lab.limits = limits;
  ASSIGN_OR_RETURN(ModelFolder folder, ModelFolder::Open(options.dir));
  lab.name = folder.name;
  for (const std::string& warning : folder.warnings) {
    std::fprintf(stderr, "alcca: %s\n", warning.c_str());
  }
  lab.weight_dtype = WeightDTypeOf(options.weight_dtype).value_or(StoredFormat(folder.config));
  ASSIGN_OR_RETURN(auto cpu, MakeCpuBackend({.threads = options.threads,
                                             .isa = "auto",
                                             .limits = {.batch_tokens = limits.batch_tokens}}));
  auto backend = std::make_unique<RecordingBackend>(std::move(cpu));
  lab.backend = backend.get();
  // A page more: of two sequences, the second begins on a page of its own.
  const alcca::ModelOptions model{.weight_dtype = lab.weight_dtype,
                                  .max_batch_tokens = limits.batch_tokens,
                                  .max_logit_rows = limits.logit_rows,
                                  .page_tokens = kPageTokens,
                                  .kv_pages = Pages(limits.kv_tokens) + 1};
  ASSIGN_OR_RETURN(lab.model, LoadModel(folder, std::move(backend), model, nullptr));
  lab.config = std::move(folder.config);
  lab.attention = std::move(folder.attention);
  lab.tokenizer = std::move(folder.tokenizer);
  return lab;
}

absl::StatusOr<AttentionParams> ResolveAttention(const LabModel& lab,
                                                 const AttentionSettings& asked) {
  const AttentionParams params = Resolve({&lab.attention, &asked});
  RETURN_IF_ERROR(CheckAsked(asked, params, lab.config.sliding_window));
  return params;
}

absl::StatusOr<LabSequence> LabSequence::Make(LabModel* lab, const AttentionParams& params,
                                              int32_t first_token, int32_t max_tokens) {
  LabSequence s;
  s.lab_ = lab;
  s.params_ = params;
  const int32_t first = Pages(first_token);
  ALCCA_CHECK(first + Pages(max_tokens) <= lab->model->kv_shape().pages);
  for (int32_t i = 0; i < Pages(max_tokens); ++i) {
    s.pages_.push_back(first + i);
  }
  s.counters_ = std::make_unique<PhaseCounters>();
  ASSIGN_OR_RETURN(s.state_, lab->model->MakeAttentionState(params));
  return s;
}

std::span<const float> LabSequence::Feed(std::span<const int32_t> tokens, int32_t logit_rows,
                                         Phase phase) {
  const int32_t count = static_cast<int32_t>(tokens.size());
  ALCCA_CHECK(count > 0 && count <= lab_->limits.batch_tokens && logit_rows <= count);
  ALCCA_CHECK(Pages(length_ + count) <= static_cast<int32_t>(pages_.size()));
  Batch batch;
  batch.Append(tokens, length_, pages_.data(), &params_, state_.get(),
               &(*counters_)[static_cast<int>(phase)]);
  for (int32_t i = count - logit_rows; i < count; ++i) {
    batch.logit_rows.push_back(i);
  }
  length_ += count;
  return lab_->model->Logits(batch);
}

}  // namespace alcca::lab
