#include "server/api/intake.h"

#include <chrono>
#include <memory>
#include <optional>
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
          .cancel = [this, engine = serving.ok() ? (*serving)->engine
                                                 : nullptr](uint64_t key) { Cancel(engine, key); },
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
  if (!setup.request.ok()) {
    Refuse(call, setup.request.status(), setup.context);
    return;
  }
  delivery_->Connect(call);  // first: news may come before Submit returns
  if (setup.request->asked_constraint.has_value()) {
    Prepare(call, std::move(setup));
  } else {
    Enter(call, std::move(setup));
  }
}

void Intake::Enter(GrpcCall* call, CallSetup setup) {
  absl::Status status = setup.engine->Submit(*std::move(setup.request));
  if (!status.ok()) {
    Refuse(call, std::move(status), setup.context);
  }
}

void Intake::Refuse(GrpcCall* call, absl::Status status, grpc::CallbackServerContext* context) {
  metrics_->Rejected(ReasonOf(status));
  if (absl::IsResourceExhausted(status)) {
    status = QueueFull(std::move(status), context);
  }
  delivery_->Refuse(call, std::move(status));
}

void Intake::Prepare(GrpcCall* call, CallSetup setup) {
  CompilePool& pool = *(*serving())->constraints;
  AskedConstraint asked = *std::exchange(setup.request->asked_constraint, std::nullopt);
  if (auto known = pool.Find(asked.spec); known != nullptr) {
    metrics_->ConstraintKnown();
    setup.request->constraint = std::move(known);
    Enter(call, std::move(setup));
    return;
  }
  const uint64_t key = setup.request->key;
  {
    const std::lock_guard lock(mutex_);
    preparing_.emplace(key, false);
  }
  // The call lives until it is finished, which nobody else does before the engine has its request.
  const auto waiting = std::make_shared<CallSetup>(std::move(setup));
  absl::Status status = pool.Add(
      {.spec = std::move(asked.spec),
       .wanted =
           [this, key] {
             const std::lock_guard lock(mutex_);
             return !preparing_.at(key);
           },
       .done =
           [this, call, waiting, field = std::move(asked.field)](CompilePool::Result result) {
             OnCompiled(call, std::move(*waiting), field, std::move(result));
           }});
  if (!status.ok()) {
    {
      const std::lock_guard lock(mutex_);
      preparing_.erase(key);
    }
    Refuse(call, std::move(status), waiting->context);
  }
}

void Intake::OnCompiled(GrpcCall* call, CallSetup setup, const std::string& field,
                        CompilePool::Result result) {
  absl::Status status = result.constraint.status();
  if (!absl::IsCancelled(status)) {
    metrics_->ConstraintCompiled(result.seconds, status.ok());
  }
  if (absl::IsInvalidArgument(status)) {
    status = FieldError(field, std::string(status.message()));
  }
  const std::optional<TimePoint> deadline = setup.request->deadline;
  bool cancelled = false;
  {
    const std::lock_guard lock(mutex_);
    cancelled = preparing_.extract(setup.request->key).mapped();
    if (!cancelled && status.ok()) {
      setup.request->constraint = *std::move(result.constraint);
      status =
          setup.engine->Submit(*std::move(setup.request));  // whose Cancel finds it from now on
    }
  }
  if (cancelled) {
    const TimePoint now = Clock::now();
    const bool late = deadline.has_value() && *deadline <= now;
    metrics_->Finished(late ? FinishReason::kDeadline : FinishReason::kAbort,
                       Seconds(setup.answer.arrival, now), 0);
    delivery_->Refuse(call, late ? absl::DeadlineExceededError("the call's deadline passed")
                                 : absl::CancelledError("the request was cancelled"));
  } else if (!status.ok()) {
    Refuse(call, std::move(status), setup.context);
  }
}

bool Intake::Cancel(Engine* engine, uint64_t key) {
  const std::lock_guard lock(mutex_);
  if (const auto it = preparing_.find(key); it != preparing_.end()) {
    return !std::exchange(it->second, true);
  }
  return engine->Cancel(key);
}

}  // namespace alcca
