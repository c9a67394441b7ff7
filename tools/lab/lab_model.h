#pragma once

// A model folder loaded into this process on the CPU backend, recording, and one sequence fed
// through it without scheduler or sampler.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "attention/settings.h"
#include "engine/model.h"
#include "engine/model/model_config.h"
#include "engine/text/tokenizer.h"
#include "tools/lab/recording_backend.h"

namespace CLI {
class App;
}

namespace alcca::lab {

struct ModelOptions {
  std::string dir;
  std::string weight_dtype = "auto";  // auto (as stored), or a format that CPUs multiply
  int32_t threads = 0;                // 0: one per core

  void AddTo(CLI::App* app);
};

// What the lab asks of the model beyond its weights.
struct LabLimits {
  int32_t batch_tokens = 512;  // rows of one Forward
  int32_t logit_rows = 512;    // of these, with logits
  int32_t kv_tokens = 0;       // of all sequences that live at once
};

struct LabModel {
  std::string name;  // of the folder
  WeightDType weight_dtype = WeightDType::kF32;
  ModelConfig config;
  AttentionSettings attention;  // of its alcca.json
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Model> model;
  RecordingBackend* backend = nullptr;  // owned by `model`
  LabLimits limits;
};

// Codes are those of the files' readers; RESOURCE_EXHAUSTED where memory does not suffice.
absl::StatusOr<LabModel> LoadLabModel(const ModelOptions& options, const LabLimits& limits);

// What `asked` says, over the model's alcca.json. INVALID_ARGUMENT as CheckAsked says.
absl::StatusOr<AttentionParams> ResolveAttention(const LabModel& lab,
                                                 const AttentionSettings& asked);

// One sequence. Two of a model at once share its cache: they must begin at different tokens.
class LabSequence {
 public:
  // Pages are those of [first_token, first_token + max_tokens), a range of the model's kv_tokens.
  static absl::StatusOr<LabSequence> Make(LabModel* lab, const AttentionParams& params,
                                          int32_t first_token, int32_t max_tokens);

  // Feeds up to limits.batch_tokens tokens as one step and returns the logits of the last
  // `logit_rows` of them, [logit_rows, vocab], valid until the model's next step.
  std::span<const float> Feed(std::span<const int32_t> tokens, int32_t logit_rows, Phase phase);

  const PhaseCounters& counters() const { return *counters_; }
  void ResetCounters() { *counters_ = {}; }
  int32_t length() const { return length_; }

 private:
  LabModel* lab_ = nullptr;
  AttentionParams params_;
  std::unique_ptr<AttentionState> state_;
  std::unique_ptr<PhaseCounters> counters_;  // of an address that survives a move
  std::vector<int32_t> pages_;
  int32_t length_ = 0;
};

}  // namespace alcca::lab
