// The tensors of a model by name, wherever they are stored: here a Hugging Face folder, either
// model.safetensors, or model.safetensors.index.json and the shards that it names (if both exist,
// the single file is taken, as Hugging Face does). In a GGUF: gguf_checkpoint.h.
//
// Open() maps and checks every file but reads no weights. Which tensors a model needs is not known
// here: engine/model/tensor_table.h.
// Codes: NotFound (file or tensor missing), InvalidArgument (malformed, or wrong shape),
// Unimplemented (well-formed but not supported: a dtype). Errors name file and tensor.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/checkpoint/mapped_file.h"
#include "engine/checkpoint/safetensors.h"
#include "kernels/tensor.h"

namespace alcca {

inline constexpr uint64_t kMaxIndexBytes = uint64_t{16} << 20;
inline constexpr size_t kMaxShards = 1000;

// A tensor in the mapped file; valid while the Checkpoint lives.
struct TensorRef {
  const std::byte* data = nullptr;  // rows * cols elements, row-major; null if `source` reads them.
  std::shared_ptr<const RowSource> source;
  DType dtype = DType::kF32;
  int64_t rows = 0;  // [n] is 1 x n; [] is 1 x 1; [a, b, c] is a x (b * c). Both fit int32_t.
  int64_t cols = 0;
  uint64_t bytes = 0;  // Of the file.
  const MappedFile* file = nullptr;
  uint64_t begin = 0;  // Of the tensor in the file.

  HostTensor host() const {
    return {data, dtype, static_cast<int32_t>(rows), static_cast<int32_t>(cols), source.get()};
  }
  // Call when the tensor has been copied: returns its pages (MappedFile::Release).
  void Release() const { file->Release(begin, begin + bytes); }
};

// Rows and columns of a shape; UNIMPLEMENTED if one is more than int32_t holds.
absl::Status SetExtents(const std::vector<int64_t>& shape, std::string_view where, TensorRef* ref);

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
  // Of a folder.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& dir);
  virtual ~Checkpoint() = default;

  // All tensor names, sorted.
  virtual std::vector<std::string_view> TensorNames() const = 0;
  virtual bool Contains(std::string_view name) const = 0;
  // Path of the file that holds a tensor of TensorNames().
  virtual const std::string& FileOf(std::string_view name) const = 0;

  // The tensor, if it can be read as floats and has exactly this shape.
  virtual absl::StatusOr<TensorRef> Find(std::string_view name,
                                         const std::vector<int64_t>& expected_shape) const = 0;
};

}  // namespace alcca
