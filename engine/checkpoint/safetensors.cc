#include "engine/checkpoint/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"

namespace alcca {
namespace {

struct DTypeRow {
  SafetensorsDType dtype;
  const char* name;
  int bits;
};

constexpr std::array<DTypeRow, 22> kDTypes = {{
    {SafetensorsDType::kBool, "BOOL", 8},
    {SafetensorsDType::kF4, "F4", 4},
    {SafetensorsDType::kF6E2M3, "F6_E2M3", 6},
    {SafetensorsDType::kF6E3M2, "F6_E3M2", 6},
    {SafetensorsDType::kU8, "U8", 8},
    {SafetensorsDType::kI8, "I8", 8},
    {SafetensorsDType::kF8E5M2, "F8_E5M2", 8},
    {SafetensorsDType::kF8E4M3, "F8_E4M3", 8},
    {SafetensorsDType::kF8E8M0, "F8_E8M0", 8},
    {SafetensorsDType::kF8E4M3FNUZ, "F8_E4M3FNUZ", 8},
    {SafetensorsDType::kF8E5M2FNUZ, "F8_E5M2FNUZ", 8},
    {SafetensorsDType::kI16, "I16", 16},
    {SafetensorsDType::kU16, "U16", 16},
    {SafetensorsDType::kF16, "F16", 16},
    {SafetensorsDType::kBF16, "BF16", 16},
    {SafetensorsDType::kI32, "I32", 32},
    {SafetensorsDType::kU32, "U32", 32},
    {SafetensorsDType::kF32, "F32", 32},
    {SafetensorsDType::kC64, "C64", 64},
    {SafetensorsDType::kF64, "F64", 64},
    {SafetensorsDType::kI64, "I64", 64},
    {SafetensorsDType::kU64, "U64", 64},
}};

}  // namespace

const char* SafetensorsDTypeName(SafetensorsDType dtype) {
  for (const DTypeRow& row : kDTypes) {
    if (row.dtype == dtype) {
      return row.name;
    }
  }
  return "unknown";
}

SafetensorsDType SafetensorsDTypeFromName(std::string_view name) {
  for (const DTypeRow& row : kDTypes) {
    if (row.name == name) {
      return row.dtype;
    }
  }
  return SafetensorsDType::kUnknown;
}

int SafetensorsDTypeBits(SafetensorsDType dtype) {
  for (const DTypeRow& row : kDTypes) {
    if (row.dtype == dtype) {
      return row.bits;
    }
  }
  return 0;
}

std::string ShapeToString(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

std::string QuoteName(std::string_view name) {
  constexpr size_t kShown = 120;
  return absl::StrCat("'", absl::CHexEscape(std::string(name.substr(0, kShown))),
                      name.size() > kShown ? "..." : "", "'");
}

const TensorInfo* SafetensorsHeader::Find(std::string_view name) const {
  const auto it = std::lower_bound(
      tensors.begin(), tensors.end(), name,
      [](const TensorInfo& info, std::string_view wanted) { return info.name < wanted; });
  return it != tensors.end() && it->name == name ? &*it : nullptr;
}

SafetensorsFile::SafetensorsFile(std::string path, int fd, uint64_t size)
    : path_(std::move(path)), fd_(fd), size_(size) {}

SafetensorsFile::~SafetensorsFile() {
  if (base_ != nullptr) {
    munmap(const_cast<std::byte*>(base_), size_);
  }
  close(fd_);
}

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(const std::string& path) {
  // O_NONBLOCK: opening a named pipe must not hang.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot open"));
  }
  struct stat info = {};
  const bool known = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  const uint64_t size = known ? static_cast<uint64_t>(info.st_size) : 0;
  auto file = std::unique_ptr<SafetensorsFile>(new SafetensorsFile(path, fd, size));
  if (!known) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));
  }
  if (size < 8) {
    return ParseSafetensorsHeader({}, size, path).status();  // Nothing to map.
  }
  void* base = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (base == MAP_FAILED) {
    return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot map"));
  }
  file->base_ = static_cast<const std::byte*>(base);
  madvise(base, size, MADV_SEQUENTIAL);  // Weights are read once, front to back.
  const std::string_view bytes(static_cast<const char*>(base), size);
  ASSIGN_OR_RETURN(file->header_, ParseSafetensorsHeader(bytes, size, path));
  return file;
}

const std::byte* SafetensorsFile::data(const TensorInfo& info) const {
  return base_ + header_.data_start + info.begin;
}

void SafetensorsFile::Release(const TensorInfo& info) const {
  // Whole pages, rounded outward: a neighbour that shares a page faults it back in from the file.
  const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t begin = (header_.data_start + info.begin) / page * page;
  const uint64_t end = header_.data_start + info.end;
  if (end > begin) {
    madvise(const_cast<std::byte*>(base_) + begin, end - begin, MADV_DONTNEED);
  }
}

absl::Status SafetensorsFile::CheckUnchanged() const {
  struct stat info = {};
  if (fstat(fd_, &info) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat(path_, ": fstat"));
  }
  if (static_cast<uint64_t>(info.st_size) != size_) {
    return absl::FailedPreconditionError(absl::StrCat(path_, ": file changed while open, from ",
                                                      size_, " to ", info.st_size, " bytes"));
  }
  return absl::OkStatus();
}

}  // namespace alcca
