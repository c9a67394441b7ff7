#pragma once

// A model, opened and checked: a Hugging Face folder, whose config.json, generation_config.json,
// alcca.json, tokenizer and weights fit each other, or a GGUF, which holds all of this but
// alcca.json. No weight has been read yet.

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "attention/settings.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/model.h"
#include "engine/model/model_config.h"
#include "engine/model/model_options.h"
#include "engine/model/weight_loader.h"
#include "engine/text/chat_template_files.h"
#include "engine/text/tokenizer.h"
#include "kernels/backend.h"

namespace alcca {

struct ModelFolder {
  std::string dir;   // without a slash at its end; of a GGUF: the file
  std::string name;  // the last part of the path, without .gguf
  ModelConfig config;
  GenerationConfig generation;
  AttentionSettings attention;  // of alcca.json
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Checkpoint> checkpoint;
  ChatTemplateSource chat_templates;
  std::vector<std::string> warnings;  // a line each, for whoever opened it to pass on

  // Errors are those of the files' readers. INVALID_ARGUMENT also if the files contradict each
  // other: more pieces in the tokenizer than the vocabulary has, tables of alcca.json of another
  // shape, tensors that are not the config's.
  static absl::StatusOr<ModelFolder> Open(const std::string& path);
  // The same without its text side, `tokenizer` stays null: what measures speed alone runs on
  // random weights too, which have none.
  static absl::StatusOr<ModelFolder> OpenWeights(const std::string& path);
  // The config alone. Of a folder that has no weights yet, torch_dtype is config.json's word.
  static absl::StatusOr<ModelConfig> ReadConfig(const std::string& path);
};

// Loads the weights; `folder` may be closed afterwards. `backend` is owned, so that everything it
// made is destroyed before it. `progress` may be null.
absl::StatusOr<std::unique_ptr<Model>> LoadModel(const ModelFolder& folder,
                                                 std::unique_ptr<Backend> backend,
                                                 const ModelOptions& options,
                                                 const LoadProgress& progress);

}  // namespace alcca
