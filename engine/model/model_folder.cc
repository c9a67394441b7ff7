#include "engine/model/model_folder.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/model/attention_file.h"
#include "engine/model/mistral_model.h"
#include "engine/model/tensor_table.h"
#include "engine/text/load_tokenizer.h"

namespace alcca {
namespace {

absl::StatusOr<ModelFolder> ReadJson(const std::string& dir) {
  ModelFolder folder;
  folder.dir = dir;
  ASSIGN_OR_RETURN(folder.config, LoadModelConfig(dir));
  ASSIGN_OR_RETURN(folder.generation, LoadGenerationConfig(dir));
  ASSIGN_OR_RETURN(folder.attention, LoadAttentionFile(dir, folder.config));
  return folder;
}

absl::Status OpenTokenizer(ModelFolder* folder) {
  ASSIGN_OR_RETURN(folder->tokenizer, LoadTokenizer(folder->dir, folder->config.vocab_size));
  return absl::OkStatus();
}

absl::Status OpenCheckpoint(ModelFolder* folder) {
  ASSIGN_OR_RETURN(folder->checkpoint, Checkpoint::Open(folder->dir));
  return TensorTable(folder->config).Validate(*folder->checkpoint);
}

}  // namespace

absl::StatusOr<ModelFolder> ModelFolder::Open(const std::string& dir) {
  ASSIGN_OR_RETURN(ModelFolder folder, ReadJson(dir));
  RETURN_IF_ERROR(OpenTokenizer(&folder));
  RETURN_IF_ERROR(OpenCheckpoint(&folder));
  return folder;
}

absl::StatusOr<ModelFolder> ModelFolder::OpenWeights(const std::string& dir) {
  ASSIGN_OR_RETURN(ModelFolder folder, ReadJson(dir));
  RETURN_IF_ERROR(OpenCheckpoint(&folder));
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
