// verify: is a model folder what its list of sums says? Needs no server and no shell, so that it
// can stand before one in an image that has neither.

#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "base/files.h"
#include "tools/cli/checksums.h"
#include "tools/cli/commands.h"

namespace alcca::cli {
namespace {

constexpr int kExitDataError = 65, kExitNoInput = 66;

int Verify(const std::string& folder, const std::string& list) {
  constexpr uint64_t kMaxListBytes = uint64_t{16} << 20;
  const absl::StatusOr<std::string> text = ReadTextFile(list, kMaxListBytes, FileKind::kAny);
  if (!text.ok()) {
    std::fprintf(stderr, "alcca: %s\n", std::string(text.status().message()).c_str());
    return kExitNoInput;
  }
  std::string error;
  const std::vector<Checksum> sums = ParseChecksums(*text, &error);
  if (sums.empty()) {
    std::fprintf(stderr, "alcca: %s: %s\n", list.c_str(), error.c_str());
    return kExitDataError;
  }
  int bad = 0;
  int64_t total = 0;
  const auto start = std::chrono::steady_clock::now();
  for (const Checksum& sum : sums) {
    const std::string path = folder + "/" + sum.file;
    int64_t bytes = 0;
    const std::string found = Sha256OfFile(path, &bytes, &error);
    total += bytes;
    if (found.empty()) {
      std::fprintf(stderr, "alcca: %s: %s\n", path.c_str(), error.c_str());
    } else if (found != sum.hex) {
      std::fprintf(stderr, "alcca: %s: sha256 is %s, the list says %s (%lld bytes on disk)\n",
                   path.c_str(), found.c_str(), sum.hex.c_str(), static_cast<long long>(bytes));
    } else {
      std::printf("%s: OK\n", sum.file.c_str());
      continue;
    }
    ++bad;
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("%zu files, %.2f GB in %.1f s, %d wrong\n", sums.size(), 1e-9 * total, seconds, bad);
  if (bad > 0) {
    std::fprintf(stderr,
                 "alcca: %s is not the model that %s describes: %d of %zu files are missing or "
                 "differ; download them again, or correct the list\n",
                 folder.c_str(), list.c_str(), bad, sums.size());
    return kExitDataError;
  }
  return 0;
}

}  // namespace

void AddVerify(CLI::App* app, Run* run) {
  struct Options {
    std::string folder, list;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app->add_subcommand("verify", "compare a model folder with a list of SHA-256 sums");
  command->add_option("folder", options->folder, "model folder")->required();
  command->add_option("--sums", options->list, "the list, as sha256sum writes it")->required();
  command->callback(
      [options, run] { *run = [options] { return Verify(options->folder, options->list); }; });
}

}  // namespace alcca::cli
