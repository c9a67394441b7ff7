#include "tools/lab/lab_model.h"

#include <filesystem>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/model/attention_file.h"

namespace alcca::lab {
namespace {

constexpr int32_t kPageTokens = 16;

WeightDType ChooseWeights(const std::string& name, const ModelConfig& config) {
  return WeightDTypeOf(name).value_or(config.torch_dtype == "float32" ? WeightDType::kF32
                                                                      : WeightDType::kBF16);
}

int32_t Pages(int32_t tokens) {
  return (tokens + kPageTokens - 1) / kPageTokens;
}

}  // namespace

void ModelOptions::AddTo(CLI::App* app) {
  app->add_option("--model", dir, "Hugging Face folder of a Mistral model")->required();
  app->add_option("--weight-dtype", weight_dtype, "auto is as stored")
      ->check(CLI::IsMember({"auto", "f32", "bf16", "int8"}))
      ->capture_default_str();
  app->add_option("--threads", threads, "0: one per core")->check(CLI::Range(0, 1024));
}

absl::StatusOr<LabModel> LoadLabModel(const ModelOptions& options, const LabLimits& limits) {
  LabModel lab;
  lab.limits = limits;
  lab.name = std::filesystem::path(options.dir + "/").lexically_normal().parent_path().filename();
  ASSIGN_OR_RETURN(lab.config, LoadModelConfig(options.dir));
  ASSIGN_OR_RETURN(lab.attention, LoadAttentionFile(options.dir, lab.config));
  ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::Load(options.dir + "/tokenizer.model"));
  if (tokenizer.vocab_size() > lab.config.vocab_size) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.dir, "/tokenizer.model has ", tokenizer.vocab_size(),
                     " pieces, config.json 'vocab_size' is ", lab.config.vocab_size));
  }
  lab.tokenizer = std::make_unique<Tokenizer>(std::move(tokenizer));
  ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::Open(options.dir));
  RETURN_IF_ERROR(checkpoint->Validate(lab.config));
  lab.weight_dtype = ChooseWeights(options.weight_dtype, lab.config);
  ASSIGN_OR_RETURN(auto cpu, MakeCpuBackend({.threads = options.threads,
                                             .isa = "auto",
                                             .limits = {.batch_tokens = limits.batch_tokens}}));
  auto backend = std::make_unique<RecordingBackend>(std::move(cpu));
  lab.backend = backend.get();
  // A page more: of two sequences, the second begins on a page of its own.
  const MistralOptions model{.weight_dtype = lab.weight_dtype,
                             .max_batch_tokens = limits.batch_tokens,
                             .max_logit_rows = limits.logit_rows,
                             .page_tokens = kPageTokens,
                             .kv_pages = Pages(limits.kv_tokens) + 1};
  ASSIGN_OR_RETURN(lab.model,
                   MistralModel::Load(*checkpoint, lab.config, std::move(backend), model, nullptr));
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
