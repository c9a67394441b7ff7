#include "engine/checkpoint/checkpoint.h"

#include <sys/stat.h>

#include <algorithm>
#include <limits>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/status_macros.h"
#include "nlohmann/json.hpp"

namespace alcca {
namespace {

constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";

// ^[A-Za-z0-9._-]+$ with the suffix, which also excludes "..".
bool IsShardName(std::string_view name) {
  constexpr std::string_view kAllowed =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  return name.size() <= 255 && name.ends_with(".safetensors") &&
         name.find_first_not_of(kAllowed) == std::string_view::npos;
}

// Streams {"metadata": anything, "weight_map": {tensor: shard, ...}} without building a document.
class IndexSax : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit IndexSax(std::string file) : file_(std::move(file)) {}

  absl::Status status() const { return status_; }
  bool has_weight_map() const { return has_map_; }
  std::vector<std::pair<std::string, std::string>>& entries() { return entries_; }

  bool start_object(size_t) override {
    if (depth_ == 1 && key_ == "weight_map") {
      if (has_map_) {
        return Fail("duplicate key 'weight_map'");
      }
      has_map_ = in_map_ = true;
    }
    return Open();
  }
  bool start_array(size_t) override { return depth_ == 0 ? Scalar() : Open(); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }

  bool key(std::string& text) override {
    if (depth_ == 1 || in_map_) {
      key_ = text;
    }
    if (in_map_ && text.size() > kMaxSafetensorsNameBytes) {
      return Fail("weight_map: tensor ", QuoteName(text), ": name is too long");
    }
    if (in_map_ && entries_.size() == kMaxSafetensorsTensors) {
      return Fail("weight_map: more than ", kMaxSafetensorsTensors, " tensors");
    }
    return true;
  }

  bool string(std::string& text) override {
    if (!in_map_ || depth_ != 2) {
      return Scalar();
    }
    if (!IsShardName(text)) {
      return Fail("weight_map: tensor ", QuoteName(key_), ": shard ", QuoteName(text),
                  " is not a plain file name that ends in .safetensors");
    }
    entries_.emplace_back(key_, text);
    return true;
  }

  bool null() override { return Scalar(); }
  bool boolean(bool) override { return Scalar(); }
  bool number_integer(int64_t) override { return Scalar(); }
  bool number_unsigned(uint64_t) override { return Scalar(); }
  bool number_float(double, const std::string&) override { return Scalar(); }
  bool binary(nlohmann::json::binary_t&) override { return Scalar(); }
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
    return Fail("not valid JSON at byte ", position);
  }

 private:
  template <typename... Args>
  bool Fail(const Args&... args) {
    status_ = absl::InvalidArgumentError(absl::StrCat(file_, ": ", args...));
    return false;
  }

  bool Scalar() {
    if (depth_ == 0) {
      return Fail("expected a JSON object");
    }
    if (in_map_) {
      return Fail("weight_map: tensor ", QuoteName(key_), ": expected the name of a shard");
    }
    if (depth_ == 1 && key_ == "weight_map") {
      return Fail("weight_map: expected an object");
    }
    return true;
  }

  bool Open() {
    constexpr int kMaxDepth = 32;
    if (depth_ == kMaxDepth) {
      return Fail("nested more than ", kMaxDepth, " deep");
    }
    if (in_map_ && depth_ >= 2) {
      return Scalar();
    }
    if (depth_ == 1 && key_ == "weight_map" && !in_map_) {
      return Scalar();  // An array.
    }
    ++depth_;
    return true;
  }

  bool Close() {
    if (--depth_ == 1) {
      in_map_ = false;
    }
    return true;
  }

  std::string file_;
  absl::Status status_;
  std::vector<std::pair<std::string, std::string>> entries_;  // Tensor, shard.
  std::string key_;  // Last key of the top level or of the weight_map.
  int depth_ = 0;    // 1 inside the document, 2 inside the weight_map.
  bool in_map_ = false;
  bool has_map_ = false;
};

bool FileExists(const std::string& path) {
  struct stat info = {};
  return stat(path.c_str(), &info) == 0;
}

std::optional<DType> KernelDType(SafetensorsDType dtype) {
  switch (dtype) {
    case SafetensorsDType::kF32:
      return DType::kF32;
    case SafetensorsDType::kF16:
      return DType::kF16;
    case SafetensorsDType::kBF16:
      return DType::kBF16;
    default:
      return std::nullopt;
  }
}

// N of "model.layers.N.<rest>", -1 for any other name. A number too large for int64_t is the
// largest.
int64_t LayerOf(std::string_view name) {
  constexpr std::string_view kPrefix = "model.layers.";
  if (!name.starts_with(kPrefix)) {
    return -1;
  }
  name.remove_prefix(kPrefix.size());
  const size_t digits = std::min(name.find('.'), name.size());
  if (digits == 0 || name.find_first_not_of("0123456789") < digits) {
    return -1;
  }
  int64_t layer = 0;
  const bool fits = absl::SimpleAtoi(std::string(name.substr(0, digits)), &layer);
  return fits ? layer : std::numeric_limits<int64_t>::max();
}

}  // namespace

std::vector<TensorSpec> MistralTensors(const ModelConfig& config) {
  const int64_t hidden = config.hidden_size;
  const int64_t inner = config.intermediate_size;
  std::vector<TensorSpec> specs;
  specs.push_back({"model.embed_tokens.weight", {config.vocab_size, hidden}});
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    specs.push_back({prefix + "input_layernorm.weight", {hidden}});
    specs.push_back({prefix + "self_attn.q_proj.weight", {config.q_dim(), hidden}});
    specs.push_back({prefix + "self_attn.k_proj.weight", {config.kv_dim(), hidden}});
    specs.push_back({prefix + "self_attn.v_proj.weight", {config.kv_dim(), hidden}});
    specs.push_back({prefix + "self_attn.o_proj.weight", {hidden, config.q_dim()}});
    specs.push_back({prefix + "post_attention_layernorm.weight", {hidden}});
    specs.push_back({prefix + "mlp.gate_proj.weight", {inner, hidden}});
    specs.push_back({prefix + "mlp.up_proj.weight", {inner, hidden}});
    specs.push_back({prefix + "mlp.down_proj.weight", {hidden, inner}});
  }
  specs.push_back({"model.norm.weight", {hidden}});
  if (!config.tie_word_embeddings) {
    specs.push_back({"lm_head.weight", {config.vocab_size, hidden}});
  }
  return specs;
}

absl::StatusOr<CheckpointIndex> ParseCheckpointIndex(std::string_view json_text,
                                                     std::string_view name) {
  const std::string file(name);
  if (json_text.size() > kMaxIndexBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": file of ", json_text.size(), " bytes, at most ", kMaxIndexBytes));
  }
  const size_t nul = json_text.find('\0');  // The library takes a NUL for the end of the text.
  if (nul != std::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": not valid JSON at byte ", nul));
  }
  IndexSax sax(file);
  if (!nlohmann::json::sax_parse(json_text.begin(), json_text.end(), &sax)) {
    return sax.status();
  }
  if (!sax.has_weight_map()) {
    return absl::InvalidArgumentError(file + ": no weight_map");
  }
  auto& entries = sax.entries();
  if (entries.empty()) {
    return absl::InvalidArgumentError(file + ": weight_map: is empty");
  }

  std::sort(entries.begin(), entries.end());
  CheckpointIndex index;
  for (const auto& [tensor, shard] : entries) {
    index.shards.push_back(shard);
  }
  std::sort(index.shards.begin(), index.shards.end());
  index.shards.erase(std::unique(index.shards.begin(), index.shards.end()), index.shards.end());
  if (index.shards.size() > kMaxShards) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": weight_map: ", index.shards.size(), " shards, at most ", kMaxShards));
  }
  for (const auto& [tensor, shard] : entries) {
    if (!index.weight_map.empty() && index.weight_map.back().first == tensor) {
      return absl::InvalidArgumentError(
          absl::StrCat(file, ": weight_map: tensor ", QuoteName(tensor), ": duplicate key"));
    }
    const auto at = std::lower_bound(index.shards.begin(), index.shards.end(), shard);
    index.weight_map.emplace_back(tensor, static_cast<size_t>(at - index.shards.begin()));
  }
  return index;
}

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& dir) {
  auto checkpoint = std::unique_ptr<Checkpoint>(new Checkpoint());
  checkpoint->dir_ = dir;
  const std::string single = absl::StrCat(dir, "/", kSingleFile);
  const std::string index = absl::StrCat(dir, "/", kIndexFile);
  if (FileExists(single)) {
    RETURN_IF_ERROR(checkpoint->OpenSingle(single));
  } else if (FileExists(index)) {
    RETURN_IF_ERROR(checkpoint->OpenSharded(dir, index));
  } else {
    return absl::NotFoundError(
        absl::StrCat(dir, ": has neither ", kSingleFile, " nor ", kIndexFile));
  }
  return checkpoint;
}

absl::Status Checkpoint::OpenSingle(const std::string& path) {
  ASSIGN_OR_RETURN(auto file, SafetensorsFile::Open(path));
  for (const TensorInfo& info : file->header().tensors) {
    tensors_.emplace_hint(tensors_.end(), info.name, Entry{file.get(), &info});
  }
  files_.push_back(std::move(file));
  return absl::OkStatus();
}

absl::Status Checkpoint::OpenSharded(const std::string& dir, const std::string& index_path) {
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(index_path, kMaxIndexBytes));
  ASSIGN_OR_RETURN(const CheckpointIndex index, ParseCheckpointIndex(text, index_path));
  std::map<std::string_view, const SafetensorsFile*> owners;  // Of every tensor in any shard.
  for (const std::string& shard : index.shards) {
    auto file = SafetensorsFile::Open(absl::StrCat(dir, "/", shard));
    if (absl::IsNotFound(file.status())) {
      return absl::NotFoundError(
          absl::StrCat(dir, "/", shard, ": shard is missing, but ", index_path, " names it"));
    }
    if (!file.ok()) {
      return file.status();
    }
    for (const TensorInfo& info : (*file)->header().tensors) {
      const auto [it, is_new] = owners.emplace(info.name, file->get());
      if (!is_new) {
        return absl::InvalidArgumentError(absl::StrCat((*file)->path(), ": tensor ",
                                                       QuoteName(info.name), ": is also in ",
                                                       it->second->path()));
      }
    }
    if (owners.size() > kMaxSafetensorsTensors) {
      return absl::InvalidArgumentError(
          absl::StrCat(dir, ": shards hold more than ", kMaxSafetensorsTensors, " tensors"));
    }
    files_.push_back(*std::move(file));
  }
  for (const auto& [tensor, shard] : index.weight_map) {
    const TensorInfo* info = files_[shard]->Find(tensor);
    if (info == nullptr) {
      return absl::NotFoundError(absl::StrCat(files_[shard]->path(), ": tensor ", QuoteName(tensor),
                                              ": missing, but ", index_path,
                                              " says that it is here"));
    }
    tensors_.emplace_hint(tensors_.end(), tensor, Entry{files_[shard].get(), info});
  }
  return absl::OkStatus();
}

std::vector<std::string_view> Checkpoint::TensorNames() const {
  std::vector<std::string_view> names;
  names.reserve(tensors_.size());
  for (const auto& [name, entry] : tensors_) {
    names.push_back(name);
  }
  return names;
}

absl::StatusOr<TensorRef> Checkpoint::Find(std::string_view name,
                                           const std::vector<int64_t>& expected_shape) const {
  const auto it = tensors_.find(name);
  if (it == tensors_.end()) {
    return absl::NotFoundError(absl::StrCat(dir_, ": tensor ", QuoteName(name),
                                            ": missing, expected ", ShapeToString(expected_shape)));
  }
  const auto& [file, info] = it->second;
  const std::string where = absl::StrCat(file->path(), ": tensor ", QuoteName(name), ": ");
  const std::optional<DType> dtype = KernelDType(info->dtype);
  if (!dtype.has_value()) {
    return absl::UnimplementedError(absl::StrCat(where, "dtype ", SafetensorsDTypeName(info->dtype),
                                                 ", expected F32, F16 or BF16"));
  }
  if (info->shape != expected_shape) {
    return absl::InvalidArgumentError(absl::StrCat(where, "shape ", ShapeToString(info->shape),
                                                   ", expected ", ShapeToString(expected_shape)));
  }
  TensorRef ref;
  ref.dtype = *dtype;
  ref.bytes = info->end - info->begin;
  ref.file = file;
  ref.info = info;
  ref.data = file->data(*info);
  ref.rows = info->shape.size() < 2 ? 1 : info->shape[0];
  ref.cols = 1;
  const size_t first_col = info->shape.size() < 2 ? 0 : 1;
  for (size_t i = first_col; i < info->shape.size(); ++i) {
    // Rule 7 bounds the product of the whole shape, unless a dimension is 0.
    if (__builtin_mul_overflow(ref.cols, info->shape[i], &ref.cols)) {
      ref.cols = INT64_MAX;
    }
  }
  if (ref.rows > INT32_MAX || ref.cols > INT32_MAX) {
    return absl::UnimplementedError(absl::StrCat(where, "shape ", ShapeToString(info->shape),
                                                 " has more than 2147483647 rows or columns"));
  }
  if (reinterpret_cast<uintptr_t>(ref.data) % DTypeBytes(*dtype) != 0) {
    return absl::UnimplementedError(
        absl::StrCat(where, "data is not aligned to ", DTypeBytes(*dtype),
                     " bytes; save the file again with a writer that pads its header"));
  }
  RETURN_IF_ERROR(file->CheckUnchanged());
  return ref;
}

absl::Status Checkpoint::Validate(const ModelConfig& config) const {
  for (const auto& [name, entry] : tensors_) {
    const bool ours = name.starts_with("model.") || name.starts_with("lm_head.");
    if (ours && name.ends_with(".bias")) {
      return absl::UnimplementedError(absl::StrCat(entry.file->path(), ": tensor ", QuoteName(name),
                                                   ": biases are not implemented"));
    }
    if (LayerOf(name) >= config.num_layers) {
      return absl::InvalidArgumentError(
          absl::StrCat(entry.file->path(), ": tensor ", QuoteName(name),
                       ": is of a layer beyond num_hidden_layers ", config.num_layers));
    }
  }
  for (const TensorSpec& spec : MistralTensors(config)) {
    RETURN_IF_ERROR(Find(spec.name, spec.shape).status());
  }
  return absl::OkStatus();
}

}  // namespace alcca
