// A Hugging Face checkpoint folder as one set of named tensors: either model.safetensors, or
// model.safetensors.index.json and the shards that it names (when both exist, the single file is
// taken, as Hugging Face does).
//
// Open() maps and checks every file but reads no weights. Which tensors a model needs is not known
// here: engine/model/tensor_table.h.
// Codes: NotFound (file or tensor missing), InvalidArgument (malformed, or wrong shape),
// Unimplemented (well-formed but not supported: a dtype). Errors name file and tensor.

#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/checkpoint/safetensors.h"
#include "kernels/tensor.h"

namespace alcca {

inline constexpr uint64_t kMaxIndexBytes = uint64_t{16} << 20;
inline constexpr size_t kMaxShards = 1000;

// A tensor in the mapped file; valid while the Checkpoint lives.
struct TensorRef {
  const std::byte* data = nullptr;  // rows * cols elements, row-major, aligned to the element.
  DType dtype = DType::kF32;
  int64_t rows = 0;  // [n] is 1 x n; [] is 1 x 1; [a, b, c] is a x (b * c). Both fit int32_t.
  int64_t cols = 0;
  uint64_t bytes = 0;
  const SafetensorsFile* file = nullptr;
  const TensorInfo* info = nullptr;

  HostTensor host() const {
    return {data, dtype, static_cast<int32_t>(rows), static_cast<int32_t>(cols)};
  }
  // Call when the tensor has been copied: returns its pages (SafetensorsFile::Release).
  void Release() const { file->Release(*info); }
};

// The parsed weight_map of an index: which shard holds which tensor.
struct CheckpointIndex {
  std::vector<std::string> shards;                         // Plain file names, sorted.
  std::vector<std::pair<std::string, size_t>> weight_map;  // Tensor -> shard; sorted by tensor.
};

// Pure. Shard names are plain file names ([A-Za-z0-9._-]+, ending in .safetensors), so an index
// cannot lead outside its folder.
absl::StatusOr<CheckpointIndex> ParseCheckpointIndex(std::string_view json_text,
                                                     std::string_view name);

class Checkpoint {
 public:
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& dir);

  // All tensor names, sorted.
  std::vector<std::string_view> TensorNames() const;
  bool Contains(std::string_view name) const { return tensors_.find(name) != tensors_.end(); }
  // Path of the file that holds a tensor of TensorNames().
  const std::string& FileOf(std::string_view name) const;

  // The tensor, if it is F32, F16 or BF16 and has exactly this shape.
  absl::StatusOr<TensorRef> Find(std::string_view name,
                                 const std::vector<int64_t>& expected_shape) const;

 private:
  struct Entry {
    const SafetensorsFile* file;
    const TensorInfo* info;
  };

  Checkpoint() = default;
  absl::Status OpenSingle(const std::string& path);
  absl::Status OpenSharded(const std::string& dir, const std::string& index_path);

  std::string dir_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, Entry, std::less<>> tensors_;
};

}  // namespace alcca
