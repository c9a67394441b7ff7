#include "server/api/intake.h"

#include <chrono>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "base/status_macros.h"
#include "server/api/status.h"

namespace alcca {
namespace {

RejectReason ReasonOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnimplemented:
      return RejectReason::kUnimplemented;
    case absl::StatusCode::kResourceExhausted:
      return RejectReason::kQueueFull;
    case absl::StatusCode::kUnavailable:
      return RejectReason::kUnavailable;
    case absl::StatusCode::kAlreadyExists:
      return RejectReason::kDuplicateId;
    default:
      return RejectReason::kInvalid;
  }
}

// Now, and the call's deadline on the engine's clock; none if the client set none.
Arrival ArrivalOf(const grpc::CallbackServerContext& context) {
  Arrival arrival{.time = Clock::now(), .deadline = std::nullopt};
  const auto left = context.deadline() - std::chrono::system_clock::now();
  if (left <= std::chrono::hours(24 * 365)) {
    arrival.deadline = arrival.time + std::chrono::duration_cast<Clock::duration>(left);
  }
  return arrival;
}

}  // namespace

Intake::Intake(Delivery* delivery, Metrics* metrics, int64_t max_undelivered_bytes)
    : delivery_(delivery), metrics_(metrics), max_undelivered_bytes_(max_undelivered_bytes) {}

absl::StatusOr<const Serving*> Intake::serving() const {
  const Serving* serving = serving_.load(std::memory_order_acquire);
  if (serving == nullptr) {
    return absl::UnavailableError("the model is still loading");
  }
  return serving;
}

CallSetup Intake::Register(grpc::CallbackServerContext* context, const char* method, bool stream,
                           Validate validate) {
  metrics_->Started();
  const Arrival arrival = ArrivalOf(*context);
  const absl::StatusOr<const Serving*> serving = this->serving();
  std::string id;
  absl::StatusOr<Request> request = serving.ok() ? Admit(**serving, arrival, validate, &id)
                                                 : absl::StatusOr<Request>(serving.status());
  return {.method = method,
          .context = context,
          .delivery = delivery_,
          .engine = serving.ok() ? (*serving)->engine : nullptr,
          .metrics = metrics_,
          .answer = {.id = std::move(id),
                     .arrival = arrival.time,
                     .n = request.ok() ? request->sampling.n : 0,
                     .stream = stream,
                     .max_undelivered_bytes = max_undelivered_bytes_},
          .request = std::move(request)};
}

absl::StatusOr<Request> Intake::Admit(const Serving& serving, const Arrival& arrival,
                                      Validate validate, std::string* id) {
  if (draining_) {
    return absl::UnavailableError("the server is draining");
  }
  ASSIGN_OR_RETURN(Request request, validate(serving.rules, arrival));
  const absl::Status registered = delivery_->Register(&request);
  *id = request.id;  // the log names it either way
  RETURN_IF_ERROR(registered);
  return request;
}

void Intake::Submit(GrpcCall* call, CallSetup setup) {
  absl::Status status = setup.request.status();
  if (status.ok()) {
    delivery_->Connect(call);  // first: news may come before Submit returns
    status = setup.engine->Submit(*std::move(setup.request));
    if (absl::IsResourceExhausted(status)) {
      status = QueueFull(std::move(status), setup.context);
    }
  }
  if (!status.ok()) {
    delivery_->Forget(*call);
    metrics_->Rejected(ReasonOf(status));
    call->Refuse(std::move(status));
  }
}

}  // namespace alcca
