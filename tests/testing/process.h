#pragma once

// Child processes for end-to-end tests: a program run to its end, and a daemon kept serving.

#include <sys/types.h>

#include <string>
#include <vector>

namespace alcca::testing {

struct ProgramResult {
  int exit_code = -1;  // 128 + signal if one ended it; -1: killed by us at the time limit
  std::string out, err;
};

// Runs `path` (looked up in PATH if it has no slash) with `input` on stdin.
ProgramResult RunProgram(const std::string& path, const std::vector<std::string>& args,
                         const std::string& input = "", int timeout_seconds = 300);

// An alccad on free ports. The constructor returns when it serves; check serving() first.
class DaemonProcess {
 public:
  explicit DaemonProcess(const std::vector<std::string>& flags = {});
  ~DaemonProcess();  // kills it if it still runs
  DaemonProcess(const DaemonProcess&) = delete;
  DaemonProcess& operator=(const DaemonProcess&) = delete;

  bool serving() const { return !grpc_.empty(); }
  const std::string& grpc() const { return grpc_; }        // host:port
  const std::string& metrics() const { return metrics_; }  // host:port
  const std::string& health() const { return health_; }    // host:port; empty without that port
  pid_t pid() const { return pid_; }

  void Signal(int number) const;
  // Exit code (128 + signal), or -1 if it still runs after so long.
  int Wait(double seconds);
  std::string Log() const;  // its stderr so far
  int64_t ResidentBytes() const;

 private:
  bool AwaitListening(int out_fd);

  pid_t pid_ = -1;
  int exit_code_ = -1;
  bool reaped_ = false;
  std::string grpc_, metrics_, health_, log_path_;
};

// Body of GET http://address/path; empty when that fails or the status is not 200.
std::string HttpGet(const std::string& address, const std::string& path);

}  // namespace alcca::testing
