#include "engine/model/model_folder.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/checkpoint/gguf_checkpoint.h"
#include "engine/model/attention_file.h"
#include "engine/model/gguf_config.h"
#include "engine/model/gguf_tokenizer.h"
#include "engine/model/mistral_model.h"
#include "engine/model/tensor_table.h"
#include "engine/text/load_tokenizer.h"

namespace alcca {
namespace {

namespace fs = std::filesystem;
constexpr char kGgufSuffix[] = ".gguf";

bool IsGguf(const std::string& path) {
  std::error_code error;
  return absl::EndsWith(path, kGgufSuffix) && !fs::is_directory(path, error);
}

// "." and "DIR/" have a name, too.
std::string NameOf(const std::string& path) {
  std::error_code error;
  const fs::path full = fs::absolute(path, error).lexically_normal();
  const fs::path last = full.has_filename() ? full.filename() : full.parent_path().filename();
  return IsGguf(path) ? last.stem().string() : last.string();
}

std::string WithoutSlash(std::string path) {
  while (path.size() > 1 && path.back() == '/') {
    path.pop_back();
  }
  return path;
}

// What the matrices are stored in, most of their bytes: config.json's word is often another one.
std::string StoredDType(const ModelConfig& config, const Checkpoint& checkpoint) {
  const TensorTable table(config);
  std::map<std::string, uint64_t> bytes;
  for (const TensorSpec& spec : table.tensors()) {
    const auto ref = checkpoint.Find(spec.name, spec.shape);
    if (ref.ok() && spec.shape.size() == 2) {
      // The rows of a GGUF that stand in another order have a source, too, and are no blocks.
      const int64_t elements = ref->rows * ref->cols;
      const bool blocks = ref->bytes < static_cast<uint64_t>(elements) * 2;
      bytes[blocks                       ? "blocks"
            : ref->dtype == DType::kF32  ? "float32"
            : ref->dtype == DType::kBF16 ? "bfloat16"
                                         : "float16"] += ref->bytes;
    }
  }
  const auto most = std::max_element(
      bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == bytes.end() ? config.torch_dtype : most->first;
}

// The checkpoint fits the config.
absl::Status CheckWeights(ModelFolder* folder) {
  const TensorTable table(folder->config);
  RETURN_IF_ERROR(table.Validate(*folder->checkpoint));
  if (std::string unused = table.Unused(*folder->checkpoint); !unused.empty()) {
    folder->warnings.push_back(std::move(unused));
  }
  folder->config.torch_dtype = StoredDType(folder->config, *folder->checkpoint);
  return absl::OkStatus();
}

absl::Status CheckVocabulary(const ModelFolder& folder, const std::string& file) {
  const int64_t pieces = folder.tokenizer->vocab_size();
  return pieces <= folder.config.vocab_size
             ? absl::OkStatus()
             : absl::InvalidArgumentError(absl::StrCat(file, " has ", pieces,
                                                       " pieces, config.json 'vocab_size' is ",
                                                       folder.config.vocab_size));
}

absl::StatusOr<ModelFolder> OpenFolder(const std::string& dir, bool text) {
  ModelFolder folder;
  folder.dir = dir;
  folder.name = NameOf(dir);
  ASSIGN_OR_RETURN(folder.config, LoadModelConfig(dir));
  ASSIGN_OR_RETURN(folder.generation, LoadGenerationConfig(dir));
  ASSIGN_OR_RETURN(folder.attention, LoadAttentionFile(dir, folder.config));
  if (text) {
    ASSIGN_OR_RETURN(folder.tokenizer, LoadTokenizer(dir, folder.config.vocab_size));
    ASSIGN_OR_RETURN(folder.chat_templates, LoadChatTemplates(dir));
  }
  ASSIGN_OR_RETURN(folder.checkpoint, Checkpoint::Open(dir));
  RETURN_IF_ERROR(CheckWeights(&folder));
  return folder;
}

absl::StatusOr<ModelFolder> OpenGguf(const std::string& path, bool text) {
  ASSIGN_OR_RETURN(GgufModel model, GgufModel::Open(path));
  ModelFolder folder;
  folder.dir = path;
  folder.name = NameOf(path);
  ASSIGN_OR_RETURN(folder.config, ReadGgufConfig(model));
  if (text) {
    ASSIGN_OR_RETURN(folder.tokenizer, LoadGgufTokenizer(model.header(), path));
    ASSIGN_OR_RETURN(folder.chat_templates,
                     ReadGgufChatTemplates(model.header(), path, *folder.tokenizer));
    RETURN_IF_ERROR(CheckVocabulary(folder, path));
  }
  folder.checkpoint =
      std::make_unique<GgufCheckpoint>(std::move(model), GgufRotatedHeadDim(folder.config));
  RETURN_IF_ERROR(CheckWeights(&folder));
  return folder;
}

// A folder whose weights are a GGUF has no config.json: names the file to open.
absl::Status FindGgufIn(const std::string& dir) {
  std::error_code error;
  if (!fs::is_directory(dir, error) || fs::exists(dir + "/config.json", error)) {
    return absl::OkStatus();
  }
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator(dir, error)) {
    if (entry.path().extension() == kGgufSuffix) {
      found.push_back(entry.path().string());
    }
  }
  std::sort(found.begin(), found.end());
  return found.empty() ? absl::OkStatus()
                       : absl::NotFoundError(absl::StrCat(
                             dir, ": has no config.json, but a GGUF: serve that file by its name, ",
                             found.front()));
}

absl::StatusOr<ModelFolder> OpenModel(const std::string& given, bool text) {
  const std::string path = WithoutSlash(given);
  RETURN_IF_ERROR(FindGgufIn(path));
  return IsGguf(path) ? OpenGguf(path, text) : OpenFolder(path, text);
}

}  // namespace

absl::StatusOr<ModelFolder> ModelFolder::Open(const std::string& path) {
  return OpenModel(path, /*text=*/true);
}

absl::StatusOr<ModelFolder> ModelFolder::OpenWeights(const std::string& path) {
  return OpenModel(path, /*text=*/false);
}

absl::StatusOr<ModelConfig> ModelFolder::ReadConfig(const std::string& given) {
  const std::string path = WithoutSlash(given);
  RETURN_IF_ERROR(FindGgufIn(path));
  if (IsGguf(path)) {
    ASSIGN_OR_RETURN(ModelFolder folder, OpenGguf(path, /*text=*/false));
    return std::move(folder.config);
  }
  ASSIGN_OR_RETURN(ModelConfig config, LoadModelConfig(path));
  if (const auto checkpoint = Checkpoint::Open(path); checkpoint.ok()) {
    config.torch_dtype = StoredDType(config, **checkpoint);
  }
  return config;
}

absl::StatusOr<std::unique_ptr<Model>> LoadModel(const ModelFolder& folder,
                                                 std::unique_ptr<Backend> backend,
                                                 const ModelOptions& options,
                                                 const LoadProgress& progress) {
  return MistralModel::Load(*folder.checkpoint, folder.config, std::move(backend), options,
                            progress);
}

}  // namespace alcca
