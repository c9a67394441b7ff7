// alccad: configuration -> objects -> serve -> drain. Exit codes are sysexits': 0 drained, 64 bad
// flag, 69 port taken, 70 device or internal fault, 75 not enough memory now, 78 bad configuration
// or model file. Every failure is one line on stderr.

#include <pthread.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/config.h"
#include "server/daemon.h"
#include "server/logging.h"
#include "server/model_setup.h"

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

// SIGTERM and SIGINT, taken by sigwait in one place; every thread inherits the mask.
sigset_t BlockStopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  return signals;
}

// The first signal drains; a second one ends the process at once.
void DrainOnSignal(const sigset_t& signals, Daemon* daemon) {
  int signal = 0;
  sigwait(&signals, &signal);
  Log(LogLevel::kInfo, "signal", {{"number", signal}});
  std::thread([signals] {
    int second = 0;
    sigwait(&signals, &second);
    _exit(128 + second);
  }).detach();
  daemon->Drain();
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
    const auto plan = PlanModel(config);
    return plan.ok() ? 0 : Fail(plan.status(), ExitCodeOf(plan.status()));
  }
  const sigset_t signals = BlockStopSignals();
  // Files are checked before a port is opened: a wrong folder fails in milliseconds.
  absl::StatusOr<ModelPlan> plan = PlanModel(config);
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
  DrainOnSignal(signals, &daemon);
  Log(LogLevel::kInfo, "stopped");
  return 0;
}

}  // namespace
}  // namespace alcca

int main(int argc, char** argv) {
  return alcca::Main(argc, argv);
}
