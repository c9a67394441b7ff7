#pragma once

// The objects of a running server and their order: listen, load, serve, drain.

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string_view>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/api/delivery.h"
#include "server/api/intake.h"
#include "server/api/service.h"
#include "server/config.h"
#include "server/metrics/metrics.h"
#include "server/metrics/serving_facts.h"
#include "server/model_setup.h"
#include "server/process/health.h"

namespace alcca {

class Daemon {
 public:
  explicit Daemon(const ServerConfig& config);
  ~Daemon();

  // Opens the ports; health answers NOT_SERVING from here on. UNAVAILABLE: a port is taken.
  absl::Status Listen();
  absl::Status Load(ModelPlan plan);
  // Accepts requests, reports SERVING, and prints the line that scripts wait for. Needs a loaded
  // model. `on_progress` is called every second, from a thread, while the step loop makes progress.
  void Serve(std::function<void()> on_progress);
  // NOT_SERVING at once; new calls are UNAVAILABLE; what is in flight may finish until the drain
  // timeout, then ends with UNAVAILABLE and its tokens so far. Returns when all is delivered.
  void Drain();

  int grpc_port() const { return grpc_port_; }  // after Listen

 private:
  // Insecure, or TLS whose first reading and rotations are logged.
  absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> Credentials();
  absl::Status ListenForHealth();
  void Watchdog(const std::function<void()>& on_progress);
  // The last act of a daemon whose device failed: it reports the failure and leaves time for the
  // report to be sent.
  void OnDeviceFault(std::string_view message);
  ServingFacts Facts() const;  // with a loaded model

  const ServerConfig config_;
  Metrics metrics_;
  Delivery delivery_;
  HealthService health_;
  Intake intake_;
  InferenceService service_;
  std::unique_ptr<LoadedModel> model_;
  std::shared_ptr<grpc::ServerCredentials> credentials_;  // outlives server_
  std::unique_ptr<grpc::Server> server_, health_server_;
  int grpc_port_ = 0, health_port_ = 0;
  std::string metrics_address_ = "none";

  std::mutex watchdog_mutex_;
  std::condition_variable watchdog_stop_;
  bool stopping_ = false;
  std::thread watchdog_;
};

}  // namespace alcca
