#include "server/process/health.h"

#include <optional>
#include <utility>

#include "base/tsan_handover.h"

namespace alcca {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using grpc::health::v1::HealthListRequest;
using grpc::health::v1::HealthListResponse;

// One Watch call. All members are guarded by the service's mutex; states that change faster than
// the client reads are merged, the latest always arrives.
class HealthService::Watcher final : public grpc::ServerWriteReactor<HealthCheckResponse> {
 public:
  Watcher(HealthService* health, std::string service)
      : health_(health), service_(std::move(service)) {}

  const std::string& service() const { return service_; }

  void Notify(Status status) {
    if (end_.has_value() || (!writing_ && last_ == status)) {
      return;
    }
    pending_ = status;
    WriteNext();
  }
  // After the latest state, where that still waits for its turn.
  void End(const grpc::Status& status) {
    if (!end_.has_value()) {
      end_ = status;
    }
    WriteNext();
  }

  void OnWriteDone(bool ok) override {
    const std::lock_guard lock(health_->mutex_);
    writing_ = false;
    if (!ok) {
      Cancelled();
    } else {
      WriteNext();
    }
  }
  void OnCancel() override {
    TakeOver(this);
    const std::lock_guard lock(health_->mutex_);
    Cancelled();
  }
  void OnDone() override {
    {
      const std::lock_guard lock(health_->mutex_);
      health_->watchers_.erase(this);
    }
    delete this;
  }

 private:
  void Cancelled() {
    pending_.reset();
    End(grpc::Status::CANCELLED);
  }

  void WriteNext() {
    if (writing_ || finished_) {
      return;
    }
    const std::optional<Status> next = std::exchange(pending_, std::nullopt);
    if (next.has_value() && next != last_) {
      last_ = next;
      message_.set_status(*next);
      writing_ = true;
      StartWrite(&message_);
    } else if (end_.has_value()) {
      finished_ = true;
      Finish(*end_);
    }
  }

  HealthService* const health_;
  const std::string service_;
  HealthCheckResponse message_;
  std::optional<Status> last_, pending_;
  std::optional<grpc::Status> end_;
  bool writing_ = false, finished_ = false;
};

HealthService::HealthService() {
  Publish();
}

void HealthService::SetReady(bool ready) {
  const std::lock_guard lock(mutex_);
  ready_ = ready;
  Publish();
}
void HealthService::SetAdmitting(bool admitting) {
  const std::lock_guard lock(mutex_);
  admitting_ = admitting;
  Publish();
}
void HealthService::SetLive(bool live) {
  const std::lock_guard lock(mutex_);
  live_ = live;
  Publish();
}

void HealthService::Publish() {
  const auto status = [](bool serving) {
    return serving ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
  };
  statuses_[""] = statuses_["alcca.v1.Inference"] = status(ready_);
  statuses_["readiness"] = status(ready_ && admitting_);
  statuses_["liveness"] = status(live_);
  for (Watcher* watcher : watchers_) {
    watcher->Notify(StatusOf(watcher->service()));
  }
  Tell();
}

void HealthService::SetListener(Listener listener) {
  const std::lock_guard lock(mutex_);
  listener_ = std::move(listener);
  Tell();
}

void HealthService::Tell() const {
  for (const auto& [service, status] : statuses_) {
    if (listener_ != nullptr) {
      listener_(service, status == HealthCheckResponse::SERVING);
    }
  }
}

void HealthService::Shutdown() {
  const std::lock_guard lock(mutex_);
  shut_down_ = true;
  for (Watcher* watcher : watchers_) {
    watcher->End(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the server is shutting down"));
  }
}

HealthService::Status HealthService::StatusOf(const std::string& service) const {
  const auto it = statuses_.find(service);
  return it == statuses_.end() ? HealthCheckResponse::SERVICE_UNKNOWN : it->second;
}

grpc::ServerUnaryReactor* HealthService::Check(grpc::CallbackServerContext* context,
                                               const HealthCheckRequest* request,
                                               HealthCheckResponse* response) {
  auto* reactor = context->DefaultReactor();
  const std::lock_guard lock(mutex_);
  const Status status = StatusOf(request->service());
  if (status == HealthCheckResponse::SERVICE_UNKNOWN) {
    reactor->Finish(
        grpc::Status(grpc::StatusCode::NOT_FOUND, "unknown service '" + request->service() + "'"));
  } else {
    response->set_status(status);
    reactor->Finish(grpc::Status::OK);
  }
  return reactor;
}

grpc::ServerUnaryReactor* HealthService::List(grpc::CallbackServerContext* context,
                                              const HealthListRequest*,
                                              HealthListResponse* response) {
  auto* reactor = context->DefaultReactor();
  const std::lock_guard lock(mutex_);
  for (const auto& [service, status] : statuses_) {
    (*response->mutable_statuses())[service].set_status(status);
  }
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerWriteReactor<HealthCheckResponse>* HealthService::Watch(
    grpc::CallbackServerContext*, const HealthCheckRequest* request) {
  auto* watcher = new Watcher(this, request->service());
  const std::lock_guard lock(mutex_);
  watchers_.insert(watcher);
  if (shut_down_) {
    watcher->End(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the server is shutting down"));
  } else {
    watcher->Notify(StatusOf(watcher->service()));
  }
  return HandOver(watcher);
}

}  // namespace alcca
