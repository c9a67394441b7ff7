// alccad: configuration -> objects -> serve -> drain. Exit codes are sysexits': 0 drained, 64 bad
// flag, 69 port taken, 70 device or internal fault, 75 not enough memory now, 78 bad configuration
// or model file. Every failure is one line on stderr.

#include <semaphore.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "kernels/status_macros.h"
#include "server/config.h"
#include "server/daemon.h"
#include "server/logging.h"
#include "server/model_setup.h"
#include "server/service_manager.h"
#include "server/tls.h"

namespace alcca {
namespace {

constexpr int kExitUsage = 64, kExitUnavailable = 69, kExitSoftware = 70, kExitTempFail = 75,
              kExitConfig = 78;

int Fail(const absl::Status& status, int code) {
  std::fprintf(stderr, "alccad: %s\n", std::string(status.message()).c_str());
  return code;
}

int ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
      return kExitUnavailable;
    case absl::StatusCode::kResourceExhausted:
      return kExitTempFail;
    case absl::StatusCode::kInternal:
      return kExitSoftware;
    default:
      return kExitConfig;
  }
}

// What SIGTERM and SIGINT do. Handlers, not sigwait behind a mask: libraries start threads before
// main (OpenBLAS does), and a signal sent to the process may land on one that has not blocked it.
std::atomic<bool> next_signal_drains{false};
std::atomic<int> signal_taken{0};
sem_t stop_asked;

// The first signal drains once the daemon serves; before, nothing is in flight, and a second one
// says now: both end the process at once. Async-signal-safe.
extern "C" void OnStopSignal(int signal) {
  if (!next_signal_drains.exchange(false)) {
    _exit(128 + signal);
  }
  signal_taken = signal;
  sem_post(&stop_asked);
}

void TakeStopSignals() {
  sem_init(&stop_asked, 0, 0);
  struct sigaction action = {};
  action.sa_handler = OnStopSignal;
  action.sa_flags = SA_RESTART;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

void AwaitStopSignal() {
  while (sem_wait(&stop_asked) != 0) {  // EINTR
  }
  Log(LogLevel::kInfo, "signal", {{"number", signal_taken.load()}});
}

// Everything on disk that serving depends on.
absl::StatusOr<ModelPlan> CheckFiles(const ServerConfig& config) {
  if (!config.tls_cert.empty()) {
    RETURN_IF_ERROR(
        ReadTls({.cert = config.tls_cert, .key = config.tls_key, .client_ca = config.tls_client_ca})
            .status());
  }
  return PlanModel(config);
}

// Taken out of the environment: the address is meant for this process, not for children.
std::string TakeNotifySocket() {
  const char* value = std::getenv("NOTIFY_SOCKET");
  std::string address = value == nullptr ? "" : value;
  unsetenv("NOTIFY_SOCKET");
  return address;
}

int Main(int argc, char** argv) {
  absl::StatusOr<CommandLine> command = ParseCommandLine({argv + 1, argv + argc});
  if (!command.ok()) {
    return Fail(command.status(),
                absl::IsInvalidArgument(command.status()) ? kExitUsage : kExitConfig);
  }
  if (command->action == CommandLine::Action::kExit) {
    std::fputs(command->text.c_str(), stdout);
    return 0;
  }
  const ServerConfig& config = command->config;
  if (command->action == CommandLine::Action::kPrintConfig) {
    std::fputs(PrintConfig(config).c_str(), stdout);
    return 0;
  }
  SetUpLogging(config.log_level, config.log_format);
  if (command->action == CommandLine::Action::kCheck) {
    const auto plan = CheckFiles(config);
    return plan.ok() ? 0 : Fail(plan.status(), ExitCodeOf(plan.status()));
  }
  TakeStopSignals();
  const ServiceManager manager(TakeNotifySocket());
  manager.Loading();
  // Files are checked before a port is opened: a wrong folder fails in milliseconds.
  absl::StatusOr<ModelPlan> plan = CheckFiles(config);
  if (!plan.ok()) {
    return Fail(plan.status(), ExitCodeOf(plan.status()));
  }
  Daemon daemon(config);
  if (const absl::Status status = daemon.Listen(); !status.ok()) {
    return Fail(status, ExitCodeOf(status));
  }
  if (const absl::Status status = daemon.Load(*std::move(plan)); !status.ok()) {
    return Fail(status, ExitCodeOf(status));
  }
  next_signal_drains = true;
  daemon.Serve([&manager] { manager.Progress(); });
  manager.Ready();
  AwaitStopSignal();
  manager.Stopping();
  daemon.Drain();
  Log(LogLevel::kInfo, "stopped");
  return 0;
}

}  // namespace
}  // namespace alcca

int main(int argc, char** argv) {
  return alcca::Main(argc, argv);
}
