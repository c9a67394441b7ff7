// Reads one .safetensors file: 8 bytes N (little endian), N bytes of JSON header, tensor data.
//
// The file is outside input, so the header is held to the nine rules of the reference reader, and
// nothing is allocated in proportion to a number that the file merely claims:
//   1 the file has at least 8 bytes           6 data_offsets are [begin, end], begin <= end, and
//   2 N <= 100,000,000                          tile the data from 0 with no hole and no overlap
//   3 8 + N <= file size                      7 product(shape) * dtype bits does not overflow and
//   4 the header is UTF-8                       is a whole number of bytes
//   5 the header is one JSON object that      8 end - begin is that number of bytes
//     starts with '{', has no duplicate key,  9 the last end is the last byte of the file
//     and __metadata__ maps strings to strings
// plus our limits: 100,000 tensors, names of 512 bytes, rank 8, strings of 8 MiB. Every error is
// one line:
//   model.safetensors: tensor 'x': data_offsets [8, 4]: end before begin (rule 6)
// Codes: NotFound (cannot be opened), InvalidArgument (malformed), FailedPrecondition (the file
// changed while it was open).

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

namespace alcca {

inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;
inline constexpr size_t kMaxSafetensorsTensors = 100'000;
inline constexpr size_t kMaxSafetensorsNameBytes = 512;
inline constexpr size_t kMaxSafetensorsRank = 8;
inline constexpr size_t kMaxSafetensorsStringBytes = size_t{8} << 20;  // A __metadata__ value.

// The dtype names of the format. kUnknown is any other name: such a tensor may sit in a file (its
// offsets are still checked), but it cannot be used.
enum class SafetensorsDType {
  kUnknown,
  kBool,
  kF4,
  kF6E2M3,
  kF6E3M2,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kF8E4M3FNUZ,
  kF8E5M2FNUZ,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kC64,
  kF64,
  kI64,
  kU64,
};

// "BF16" etc.; "unknown" for kUnknown.
const char* SafetensorsDTypeName(SafetensorsDType dtype);
// kUnknown for a name that the format does not have.
SafetensorsDType SafetensorsDTypeFromName(std::string_view name);
// Bits of one element (4 and 6 occur); 0 for kUnknown.
int SafetensorsDTypeBits(SafetensorsDType dtype);

struct TensorInfo {
  std::string name;
  SafetensorsDType dtype = SafetensorsDType::kUnknown;
  std::vector<int64_t> shape;  // Empty = a scalar. A 0 makes a tensor of no bytes.
  uint64_t begin = 0;          // Bytes from data_start; the tensor is [begin, end).
  uint64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;                            // Sorted by name.
  std::vector<std::pair<std::string, std::string>> metadata;  // Sorted by key.
  uint64_t data_start = 0;  // 8 + N: offset of the data in the file.

  // nullptr when there is no such tensor. O(log n).
  const TensorInfo* Find(std::string_view name) const;
};

// The whole check, on bytes alone (safetensors_header.cc). `prefix_bytes` are the first bytes of a
// file of `file_size` bytes: all 8 + N of them, or as many as the file has. `name` is how errors
// call the file.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view prefix_bytes,
                                                         uint64_t file_size, std::string_view name);

// For error messages: "[4096, 1024]", and a name in quotes with everything that is not printable
// ASCII escaped and its tail cut, so that a hostile name cannot break the one line.
std::string ShapeToString(const std::vector<int64_t>& shape);
std::string QuoteName(std::string_view name);

// A file, checked and mapped read-only. It stays mapped until destroyed; data() points into the
// mapping.
class SafetensorsFile {
 public:
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(const std::string& path);

  const std::string& path() const { return file_->path(); }
  const SafetensorsHeader& header() const { return header_; }
  const TensorInfo* Find(std::string_view name) const { return header_.Find(name); }

  const MappedFile& mapped() const { return *file_; }

  // The tensor's end - begin bytes. They are aligned to the element's size only if the writer
  // padded its header, as the reference writer does.
  const std::byte* data(const TensorInfo& info) const;

  absl::Status CheckUnchanged() const { return file_->CheckUnchanged(); }

 private:
  SafetensorsFile(std::unique_ptr<MappedFile> file, SafetensorsHeader header)
      : file_(std::move(file)), header_(std::move(header)) {}

  std::unique_ptr<MappedFile> file_;
  SafetensorsHeader header_;
};

}  // namespace alcca
