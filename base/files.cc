#include "base/files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>

#include "absl/strings/str_cat.h"

namespace alcca {
namespace {

class OpenFile {
 public:
  explicit OpenFile(int fd) : fd_(fd) {}
  ~OpenFile() {
    if (fd_ >= 0) {
      close(fd_);
    }
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  int fd() const { return fd_; }
  // 0, or -1 and errno.
  int Close() {
    const int result = close(fd_);
    fd_ = -1;
    return result;
  }

 private:
  int fd_;
};

absl::Status TooLarge(const std::string& path, uint64_t max_bytes) {
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": file of more than ", max_bytes, " bytes"));
}

// Reads to the end rather than as much as the folder says: the file may change meanwhile.
absl::StatusOr<std::string> ReadAll(int fd, const std::string& path, uint64_t max_bytes,
                                    size_t expected) {
  constexpr size_t kPiece = 1 << 16;
  std::string text;
  size_t done = 0;
  while (true) {
    text.resize(done <= expected ? expected + 1 : done + kPiece);
    const ssize_t count = read(fd, text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot be read"));
    }
    if (count == 0) {
      text.resize(done);
      return text;
    }
    done += static_cast<size_t>(count);
    if (done > max_bytes) {
      return TooLarge(path, max_bytes);
    }
  }
}

}  // namespace

absl::StatusOr<std::string> ReadTextFile(const std::string& path, uint64_t max_bytes,
                                         FileKind kind) {
  const int wait = kind == FileKind::kRegular ? O_NONBLOCK : 0;
  const OpenFile file(open(path.c_str(), O_RDONLY | O_CLOEXEC | wait));
  struct stat info = {};
  if (file.fd() < 0 || fstat(file.fd(), &info) != 0) {
    const int error = errno;
    if (error == ENOENT && lstat(path.c_str(), &info) == 0) {
      return absl::NotFoundError(absl::StrCat(path, ": is a link to nothing"));
    }
    errno = error;
    return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot be read"));
  }
  const bool regular = S_ISREG(info.st_mode);
  if (S_ISDIR(info.st_mode) || (kind == FileKind::kRegular && !regular)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": cannot be read: not a regular file"));
  }
  const size_t size = regular ? static_cast<size_t>(info.st_size) : 0;
  if (size > max_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": file of ", size, " bytes, at most ", max_bytes));
  }
  absl::StatusOr<std::string> text = ReadAll(file.fd(), path, max_bytes, size);
  if (const absl::Status fetched = text.ok() ? CheckFetched(*text, path) : absl::OkStatus();
      !fetched.ok()) {
    return fetched;
  }
  return text;
}

absl::Status CheckFetched(std::string_view content, const std::string& path) {
  constexpr std::string_view kPointer = "version https://git-lfs.";
  return content.starts_with(kPointer)
             ? absl::InvalidArgumentError(absl::StrCat(
                   path, ": is a git-lfs pointer, not the file; fetch it with `git lfs pull`"))
             : absl::OkStatus();
}

absl::Status WriteTextFile(const std::string& path, const std::string& text) {
  OpenFile file(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (file.fd() < 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot be created"));
  }
  for (size_t done = 0; done < text.size();) {
    const ssize_t count = write(file.fd(), text.data() + done, text.size() - done);
    if (count < 0 && errno != EINTR) {
      return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot be written"));
    }
    done += count > 0 ? static_cast<size_t>(count) : 0;
  }
  return file.Close() == 0 ? absl::OkStatus()
                           : absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot be written"));
}

}  // namespace alcca
