#pragma once

// grpc.health.v1 to the letter: Check, List, and a Watch that pushes every change.

#include <grpcpp/grpcpp.h>

#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>

#include "grpc/health/v1/health.grpc.pb.h"

namespace alcca {

class HealthService final : public grpc::health::v1::Health::CallbackService {
 public:
  // All known services start NOT_SERVING: "", "alcca.v1.Inference", "readiness", "liveness".
  HealthService();

  // Takes requests, from loaded to draining: "", "alcca.v1.Inference" and, while it also admits
  // them, "readiness".
  void SetReady(bool ready);
  // The queue has room (true at first). Only "readiness" reports it. A client that has a connection
  // is better served by RESOURCE_EXHAUSTED with its retry delay than by a channel that reports
  // failure.
  void SetAdmitting(bool admitting);
  // The step loop makes progress: "liveness".
  void SetLive(bool live);
  // The listener is told the state of every service now, and whenever a state may have changed. It
  // must not call back.
  using Listener = std::function<void(const std::string& service, bool serving)>;
  void SetListener(Listener listener);
  // Ends all watches, as a server must before it shuts down.
  void Shutdown();

  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context,
                                  const grpc::health::v1::HealthCheckRequest* request,
                                  grpc::health::v1::HealthCheckResponse* response) override;
  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context,
                                 const grpc::health::v1::HealthListRequest* request,
                                 grpc::health::v1::HealthListResponse* response) override;
  grpc::ServerWriteReactor<grpc::health::v1::HealthCheckResponse>* Watch(
      grpc::CallbackServerContext* context,
      const grpc::health::v1::HealthCheckRequest* request) override;

 private:
  using Status = grpc::health::v1::HealthCheckResponse::ServingStatus;
  class Watcher;

  void Publish();                                     // mutex_ is held
  Status StatusOf(const std::string& service) const;  // SERVICE_UNKNOWN if not known; locked

  void Tell() const;  // the listener; locked

  mutable std::mutex mutex_;
  Listener listener_;
  std::map<std::string, Status> statuses_;
  std::set<Watcher*> watchers_;
  bool ready_ = false, admitting_ = true, live_ = false, shut_down_ = false;
};

}  // namespace alcca
