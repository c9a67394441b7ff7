#include "engine/checkpoint/checkpoint.h"

#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/files.h"
#include "base/status_macros.h"
#include "base/strict_json.h"
#include "nlohmann/json.hpp"

namespace alcca {
namespace {

constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";
constexpr size_t kMaxIndexValues =
    2 * kMaxSafetensorsTensors;  // the tensors, and what stands beside

// ^[A-Za-z0-9._-]+$ with the suffix, which also excludes "..".
bool IsShardName(std::string_view name) {
  constexpr std::string_view kAllowed =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  return name.size() <= 255 && name.ends_with(".safetensors") &&
         name.find_first_not_of(kAllowed) == std::string_view::npos;
}

// NOT_FOUND if a link leads nowhere, as in a cache whose download was interrupted.
absl::StatusOr<bool> FileExists(const std::string& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) == 0) {
    return true;
  }
  if (lstat(path.c_str(), &info) == 0 && S_ISLNK(info.st_mode)) {
    return absl::NotFoundError(
        absl::StrCat(path, ": is a link to nothing; download the model again"));
  }
  return false;
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

// A Hugging Face folder.
class SafetensorsFolder final : public Checkpoint {
 public:
  explicit SafetensorsFolder(std::string dir) : dir_(std::move(dir)) {}
  absl::Status OpenSingle(const std::string& path);
  absl::Status OpenSharded(const std::string& index_path);

  std::vector<std::string_view> TensorNames() const override;
  bool Contains(std::string_view name) const override {
    return tensors_.find(name) != tensors_.end();
  }
  const std::string& FileOf(std::string_view name) const override;
  absl::StatusOr<TensorRef> Find(std::string_view name,
                                 const std::vector<int64_t>& expected_shape) const override;

 private:
  struct Entry {
    const SafetensorsFile* file;
    const TensorInfo* info;
  };

  std::string dir_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, Entry, std::less<>> tensors_;
};

}  // namespace

absl::Status SetExtents(const std::vector<int64_t>& shape, std::string_view where, TensorRef* ref) {
  ref->rows = shape.size() < 2 ? 1 : shape[0];
  ref->cols = 1;
  for (size_t i = shape.size() < 2 ? 0 : 1; i < shape.size(); ++i) {
    // The readers bound the product of the whole shape, unless a dimension is 0.
    if (__builtin_mul_overflow(ref->cols, shape[i], &ref->cols)) {
      ref->cols = INT64_MAX;
    }
  }
  if (ref->rows > INT32_MAX || ref->cols > INT32_MAX) {
    return absl::UnimplementedError(absl::StrCat(std::string(where), "shape ", ShapeToString(shape),
                                                 " has more than 2147483647 rows or columns"));
  }
  return absl::OkStatus();
}

absl::StatusOr<CheckpointIndex> ParseCheckpointIndex(std::string_view json_text,
                                                     std::string_view name) {
  const std::string file(name);
  const auto bad = [&](const auto&... what) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": ", what...));
  };
  ASSIGN_OR_RETURN(const nlohmann::json document,
                   ParseStrictJson(json_text, name, kMaxIndexValues));
  const auto map = document.find("weight_map");
  if (map == document.end()) {
    return bad("no weight_map");
  }
  if (!map->is_object()) {
    return bad("weight_map: expected an object");
  }
  if (map->empty()) {
    return bad("weight_map: is empty");
  }
  if (map->size() > kMaxSafetensorsTensors) {
    return bad("weight_map: more than ", kMaxSafetensorsTensors, " tensors");
  }
  CheckpointIndex index;
  for (const auto& [tensor, shard] : map->items()) {
    if (tensor.size() > kMaxSafetensorsNameBytes) {
      return bad("weight_map: tensor ", QuoteName(tensor), ": name is too long");
    }
    if (!shard.is_string()) {
      return bad("weight_map: tensor ", QuoteName(tensor), ": expected the name of a shard");
    }
    const auto& shard_name = shard.get_ref<const std::string&>();
    if (!IsShardName(shard_name)) {
      return bad("weight_map: tensor ", QuoteName(tensor), ": shard ", QuoteName(shard_name),
                 " is not a plain file name that ends in .safetensors");
    }
    index.shards.push_back(shard_name);
  }
  std::sort(index.shards.begin(), index.shards.end());
  index.shards.erase(std::unique(index.shards.begin(), index.shards.end()), index.shards.end());
  if (index.shards.size() > kMaxShards) {
    return bad("weight_map: ", index.shards.size(), " shards, at most ", kMaxShards);
  }
  for (const auto& [tensor, shard] : map->items()) {  // sorted, as the document keeps them
    const auto at = std::lower_bound(index.shards.begin(), index.shards.end(),
                                     shard.get_ref<const std::string&>());
    index.weight_map.emplace_back(tensor, static_cast<size_t>(at - index.shards.begin()));
  }
  return index;
}

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& dir) {
  auto folder = std::make_unique<SafetensorsFolder>(dir);
  const std::string single = absl::StrCat(dir, "/", kSingleFile);
  const std::string index = absl::StrCat(dir, "/", kIndexFile);
  ASSIGN_OR_RETURN(const bool has_single, FileExists(single));
  ASSIGN_OR_RETURN(const bool has_index, FileExists(index));
  if (has_single) {
    RETURN_IF_ERROR(folder->OpenSingle(single));
  } else if (has_index) {
    RETURN_IF_ERROR(folder->OpenSharded(index));
  } else {
    return absl::NotFoundError(
        absl::StrCat(dir, ": has neither ", kSingleFile, " nor ", kIndexFile));
  }
  return folder;
}

namespace {

absl::Status SafetensorsFolder::OpenSingle(const std::string& path) {
  ASSIGN_OR_RETURN(auto file, SafetensorsFile::Open(path));
  for (const TensorInfo& info : file->header().tensors) {
    tensors_.emplace_hint(tensors_.end(), info.name, Entry{file.get(), &info});
  }
  files_.push_back(std::move(file));
  return absl::OkStatus();
}

absl::Status SafetensorsFolder::OpenSharded(const std::string& index_path) {
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(index_path, kMaxIndexBytes));
  ASSIGN_OR_RETURN(const CheckpointIndex index, ParseCheckpointIndex(text, index_path));
  std::map<std::string_view, const SafetensorsFile*> owners;  // Of every tensor in any shard.
  for (const std::string& shard : index.shards) {
    auto file = SafetensorsFile::Open(absl::StrCat(dir_, "/", shard));
    if (absl::IsNotFound(file.status())) {
      return absl::NotFoundError(
          absl::StrCat(dir_, "/", shard, ": shard is missing, but ", index_path, " names it"));
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
          absl::StrCat(dir_, ": shards hold more than ", kMaxSafetensorsTensors, " tensors"));
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

std::vector<std::string_view> SafetensorsFolder::TensorNames() const {
  std::vector<std::string_view> names;
  names.reserve(tensors_.size());
  for (const auto& [name, entry] : tensors_) {
    names.push_back(name);
  }
  return names;
}

const std::string& SafetensorsFolder::FileOf(std::string_view name) const {
  const auto it = tensors_.find(name);
  ALCCA_CHECK(it != tensors_.end());
  return it->second.file->path();
}

absl::StatusOr<TensorRef> SafetensorsFolder::Find(
    std::string_view name, const std::vector<int64_t>& expected_shape) const {
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
  ref.file = &file->mapped();
  ref.begin = file->header().data_start + info->begin;
  ref.data = file->data(*info);
  RETURN_IF_ERROR(SetExtents(info->shape, where, &ref));
  RETURN_IF_ERROR(file->CheckUnchanged());
  return ref;
}

}  // namespace
}  // namespace alcca
