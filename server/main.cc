// alccad: configuration -> objects -> serve -> drain. Exit codes are sysexits': 0 drained, 64 bad
// flag, 69 port taken, 70 device or internal fault, 75 not enough memory now, 78 bad configuration
// or model file. Every failure is one line on stderr.

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "server/config.h"
#include "server/daemon.h"
#include "server/logging.h"
#include "server/model_setup.h"
#include "server/process/service_manager.h"
#include "server/process/stop_signals.h"
#include "server/process/tls.h"

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

// Files are checked before a port is opened: a wrong folder fails in milliseconds.
int Serve(const ServerConfig& config) {
  const ServiceManager manager(TakeNotifySocket());
  manager.Loading();
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
  DrainOnNextStopSignal();
  daemon.Serve([&manager] { manager.Progress(); });
  manager.Ready();
  const int signal = AwaitStopSignal();
  Log(LogLevel::kInfo, "signal", {{"number", signal}});
  manager.Stopping();
  daemon.Drain();
  Log(LogLevel::kInfo, "stopped");
  return 0;
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
  for (const std::string& warning : command->warnings) {
    Log(LogLevel::kWarn, "configuration", {{"warning", warning}});
  }
  if (command->action == CommandLine::Action::kCheck) {
    const auto plan = CheckFiles(config);
    return plan.ok() ? 0 : Fail(plan.status(), ExitCodeOf(plan.status()));
  }
  return RunBesideStopSignals([&config] { return Serve(config); });
}

}  // namespace
}  // namespace alcca

int main(int argc, char** argv) {
  return alcca::Main(argc, argv);
}
