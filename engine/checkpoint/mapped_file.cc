#include "engine/checkpoint/mapped_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/status_macros.h"

namespace alcca {

MappedFile::MappedFile(std::string path, int fd, uint64_t size)
    : path_(std::move(path)), fd_(fd), size_(size) {}

MappedFile::~MappedFile() {
  if (base_ != nullptr) {
    munmap(const_cast<std::byte*>(base_), size_);
  }
  close(fd_);
}

absl::StatusOr<std::unique_ptr<MappedFile>> MappedFile::Open(const std::string& path) {
  // O_NONBLOCK: opening a named pipe must not hang.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot open"));
  }
  struct stat info = {};
  const bool known = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  const uint64_t size = known ? static_cast<uint64_t>(info.st_size) : 0;
  auto file = std::unique_ptr<MappedFile>(new MappedFile(path, fd, size));
  if (!known) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));
  }
  if (size == 0) {
    return file;  // Nothing to map.
  }
  void* base = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (base == MAP_FAILED) {
    return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot map"));
  }
  file->base_ = static_cast<const std::byte*>(base);
  madvise(base, size, MADV_SEQUENTIAL);  // Weights are read once, front to back.
  RETURN_IF_ERROR(CheckFetched(file->bytes(), path));
  return file;
}

void MappedFile::Release(uint64_t begin, uint64_t end) const {
  // Whole pages, rounded outward: a neighbour that shares a page faults it back in from the file.
  const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t first = begin / page * page;
  if (end > first) {
    madvise(const_cast<std::byte*>(base_) + first, end - first, MADV_DONTNEED);
  }
}

absl::Status MappedFile::CheckUnchanged() const {
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
