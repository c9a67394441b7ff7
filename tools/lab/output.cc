#include "tools/lab/output.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace alcca::lab {

absl::Status WriteFile(const std::string& path, std::string_view text) {
  namespace fs = std::filesystem;
  std::error_code error;
  const bool to_stdout = path == "-";
  // A link stays one; a pipe or a device cannot be replaced.
  const fs::path target = fs::weakly_canonical(path, error);
  const bool replace = !to_stdout && !error && (!fs::exists(target) || fs::is_regular_file(target));
  const std::string written = replace ? target.string() + ".new" : path;
  std::FILE* file = to_stdout ? stdout : std::fopen(written.c_str(), "wb");
  bool ok = file != nullptr;
  if (ok) {
    ok = std::fwrite(text.data(), 1, text.size(), file) == text.size() && std::fflush(file) == 0;
    if (!to_stdout) {
      ok = std::fclose(file) == 0 && ok;
    }
    if (replace) {
      ok = ok && std::rename(written.c_str(), target.c_str()) == 0;
    }
  }
  if (ok) {
    return absl::OkStatus();
  }
  const std::string why = std::strerror(errno);
  if (replace && file != nullptr) {
    std::remove(written.c_str());
  }
  return absl::UnavailableError(absl::StrCat("cannot write '", path, "': ", why));
}

int Report(const absl::Status& status) {
  if (!status.ok()) {
    std::fflush(stdout);
    std::fprintf(stderr, "alcca: %s: %s\n", absl::StatusCodeToString(status.code()).c_str(),
                 std::string(status.message()).c_str());
  }
  return static_cast<int>(status.code());
}

}  // namespace alcca::lab
