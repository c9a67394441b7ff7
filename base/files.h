#pragma once

// Whole files of bounded size, in one piece.

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace alcca {

// What may stand under a path that is read.
enum class FileKind : uint8_t {
  kRegular,  // the rest is refused, so that a named pipe in a folder from outside cannot hang us
  kAny,      // whatever a person names: a pipe is read to its end
};

// The content. Every error names the path: NOT_FOUND (no such file, or a link to nothing),
// INVALID_ARGUMENT (above `max_bytes`, or of another kind), or the system's own.
absl::StatusOr<std::string> ReadTextFile(const std::string& path, uint64_t max_bytes,
                                         FileKind kind = FileKind::kRegular);

// INVALID_ARGUMENT if `content` is the pointer that git-lfs leaves in the place of a large file
// that was not fetched. ReadTextFile checks it.
absl::Status CheckFetched(std::string_view content, const std::string& path);

// Replaces the file's content, or makes the file.
absl::Status WriteTextFile(const std::string& path, const std::string& text);

}  // namespace alcca
