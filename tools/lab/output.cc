#include "tools/lab/output.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace alcca::lab {

absl::Status WriteFile(const std::string& path, std::string_view text) {
  const bool to_stdout = path == "-";
  std::FILE* file = to_stdout ? stdout : std::fopen(path.c_str(), "wb");
  bool ok = file != nullptr;
  if (ok) {
    ok = std::fwrite(text.data(), 1, text.size(), file) == text.size() && std::fflush(file) == 0;
    if (!to_stdout) {
      ok = std::fclose(file) == 0 && ok;
    }
  }
  return ok ? absl::OkStatus()
            : absl::UnavailableError(
                  absl::StrCat("cannot write '", path, "': ", std::strerror(errno)));
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
