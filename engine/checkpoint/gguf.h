#pragma once

// Reads GGUF, versions 2 and 3, little endian: a header of typed keys and values, a list of
// tensors, and their data. A model may be split over files NAME-00001-of-00003.gguf, ...
//
// A file is outside input: every count, length and offset is checked against the bytes that are
// there before anything is allocated for it, and every error is one line:
//   model.gguf: tensor 'blk.0.attn_q.weight': ends at byte 812, the file has 640
// Rules: 100,000 tensors, 65,536 keys and 4,000,000 items of a list at most; keys, names and text
// are within the file; keys and names occur once; an array holds no arrays; 1 to 4 dimensions whose
// product fits; a row is whole blocks of its type; offsets are multiples of general.alignment (a
// power of two, 32 if absent); no two tensors overlap. Codes: NotFound (cannot be opened),
// InvalidArgument (malformed), Unimplemented (version 1, big endian, an unknown type of tensor),
// FailedPrecondition (the file changed while it was open). Source of the format: ggml's
// docs/gguf.md.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/checkpoint/gguf_blocks.h"
#include "engine/checkpoint/mapped_file.h"

namespace alcca {

inline constexpr uint64_t kMaxGgufTensors = 100'000;
inline constexpr uint64_t kMaxGgufKeys = 65'536;
inline constexpr uint64_t kMaxGgufNameBytes = 512;
inline constexpr uint64_t kMaxGgufListItems = 4'000'000;
inline constexpr uint64_t kMaxGgufFiles = 1'000;

// Numbers are those of the format.
enum class GgufValueType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

// A value where it lies in the file.
struct GgufValue {
  GgufValueType type = GgufValueType::kUint8;  // Of an array: of its elements.
  bool array = false;
  uint64_t count = 1;      // Elements.
  std::string_view bytes;  // All elements, as the file has them; checked.
};

struct GgufTensor {
  std::string name;
  std::vector<int64_t> shape;  // Outermost first, as safetensors and PyTorch have it.
  GgufBlockType type{};
  uint64_t begin = 0;  // Bytes from the start of the file; the tensor is [begin, end).
  uint64_t end = 0;
};

class GgufHeader {
 public:
  // The whole check, on all bytes of a file. `bytes` outlive the header. `name` is how errors call
  // the file.
  static absl::StatusOr<GgufHeader> Parse(std::string_view bytes, std::string_view name);

  const std::vector<GgufTensor>& tensors() const { return tensors_; }  // Sorted by name.
  // nullptr if there is none.
  const GgufTensor* FindTensor(std::string_view name) const;
  const GgufValue* FindValue(std::string_view key) const;

  // Typed values; absent keys are nullopt. INVALID_ARGUMENT names the file and the key: another
  // type, or a number out of range.
  absl::StatusOr<std::optional<std::string_view>> String(std::string_view key) const;
  absl::StatusOr<std::optional<int64_t>> Integer(std::string_view key) const;
  absl::StatusOr<std::optional<double>> Number(std::string_view key) const;
  absl::StatusOr<std::optional<bool>> Bool(std::string_view key) const;
  absl::StatusOr<std::optional<std::vector<std::string_view>>> Strings(std::string_view key) const;
  absl::StatusOr<std::optional<std::vector<int64_t>>> Integers(std::string_view key) const;
  absl::StatusOr<std::optional<std::vector<float>>> Floats(std::string_view key) const;

 private:
  friend class GgufParser;

  absl::Status Mistyped(std::string_view key, std::string_view wanted) const;

  std::string name_;
  std::unordered_map<std::string_view, GgufValue> values_;
  std::vector<GgufTensor> tensors_;
};

// A model in one file or several, mapped read-only.
class GgufModel {
 public:
  struct Part {
    std::unique_ptr<MappedFile> file;
    GgufHeader header;
  };

  // `path` is the model's file, or the first of its files; the others are found beside it.
  static absl::StatusOr<GgufModel> Open(const std::string& path);

  // Keys and values: those of the first file.
  const GgufHeader& header() const { return parts_[0].header; }
  const std::vector<Part>& parts() const { return parts_; }

  // nullptr if no file has it. The second is the file that does.
  std::pair<const GgufTensor*, const MappedFile*> Find(std::string_view name) const;
  // The tensor's values, row by row, as f32. INVALID_ARGUMENT if there is none of this name and
  // shape; UNIMPLEMENTED if its type has no dequantisation here.
  absl::Status Read(std::string_view name, const std::vector<int64_t>& shape,
                    std::span<float> out) const;

 private:
  std::vector<Part> parts_;
};

}  // namespace alcca
