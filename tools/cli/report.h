#pragma once

// How figures are written: for people, and with --json for programs.

#include <grpcpp/support/status.h>

#include <cstdint>
#include <cstdio>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace CLI {
class App;
}

namespace alcca::cli {

// 1234567 -> "1,234,567".
std::string Grouped(int64_t value);

// `share` of 1 in percent, with as many decimals as small shares need.
std::string Percent(double share);

// The flag --json. Alone it writes JSON to stdout and sends the text to stderr. With a file it
// writes JSON to the file and leaves the text on stdout.
class JsonOption {
 public:
  void AddTo(CLI::App* app);
  FILE* text() const { return file_ == kStdout ? stderr : stdout; }
  grpc::Status Write(const nlohmann::json& json) const;  // nothing when the flag was not given

 private:
  static constexpr const char* kStdout = "-";
  std::string file_;
};

}  // namespace alcca::cli
