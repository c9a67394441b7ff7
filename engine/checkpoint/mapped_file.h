#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace alcca {

// A regular file, mapped read-only until destroyed. If someone truncates the file after Open,
// reading a mapped page beyond its end raises SIGBUS. CheckUnchanged() right before use makes that
// window small; it cannot close it.
class MappedFile {
 public:
  // NotFound and others of open(2); InvalidArgument for what is no regular file, and for the
  // pointer that git-lfs leaves in the place of a file it did not fetch.
  static absl::StatusOr<std::unique_ptr<MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  std::string_view bytes() const { return {reinterpret_cast<const char*>(base_), size_}; }
  const std::byte* data() const { return base_; }

  // Gives the pages of bytes [begin, end) back to the system, so that streaming through a large
  // file does not make the process as large. A later read faults them in again.
  void Release(uint64_t begin, uint64_t end) const;

  // FailedPrecondition when the file no longer has the size it had at Open.
  absl::Status CheckUnchanged() const;

 private:
  MappedFile(std::string path, int fd, uint64_t size);

  std::string path_;
  int fd_;                           // Owned.
  uint64_t size_;                    // Bytes of the file at Open, and of the mapping.
  const std::byte* base_ = nullptr;  // Owned mapping of [0, size_); nullptr if empty.
};

}  // namespace alcca
