#include "engine/model/model_folder.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/model/mistral_model.h"
#include "engine/model/tensor_table.h"

namespace alcca {

absl::StatusOr<ModelFolder> ModelFolder::Open(const std::string& dir) {
  ASSIGN_OR_RETURN(ModelFolder folder, OpenWeights(dir));
  const std::string path = dir + "/tokenizer.model";
  ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::Load(path));
  if (tokenizer.vocab_size() > folder.config.vocab_size) {
    return absl::InvalidArgumentError(absl::StrCat(path, " has ", tokenizer.vocab_size(),
                                                   " pieces, config.json 'vocab_size' is ",
                                                   folder.config.vocab_size));
  }
  folder.tokenizer = std::make_unique<Tokenizer>(std::move(tokenizer));
  return folder;
}

absl::StatusOr<ModelFolder> ModelFolder::OpenWeights(const std::string& dir) {
  ModelFolder folder;
  folder.dir = dir;
  ASSIGN_OR_RETURN(folder.config, LoadModelConfig(dir));
  ASSIGN_OR_RETURN(folder.generation, LoadGenerationConfig(dir));
  ASSIGN_OR_RETURN(folder.alcca, LoadAlccaConfig(dir));
  RETURN_IF_ERROR(CheckAlccaConfig(folder.alcca, folder.config, dir + "/alcca.json"));
  ASSIGN_OR_RETURN(folder.checkpoint, Checkpoint::Open(dir));
  RETURN_IF_ERROR(TensorTable(folder.config).Validate(*folder.checkpoint));
  return folder;
}

absl::StatusOr<std::unique_ptr<Model>> LoadModel(const ModelFolder& folder,
                                                 std::unique_ptr<Backend> backend,
                                                 const ModelOptions& options,
                                                 const LoadProgress& progress) {
  return MistralModel::Load(*folder.checkpoint, folder.config, std::move(backend), options,
                            progress);
}

}  // namespace alcca
