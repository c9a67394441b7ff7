#include "server/api/service.h"

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/tsan_handover.h"
#include "server/api/status.h"

namespace alcca {
namespace {

const grpc::Status kLoading(grpc::StatusCode::UNAVAILABLE, "the model is still loading");
const grpc::Status kDraining(grpc::StatusCode::UNAVAILABLE, "the server is draining");

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

// The call's deadline on the engine's clock; none if the client set none.
std::optional<TimePoint> DeadlineOf(const grpc::CallbackServerContext& context) {
  const auto deadline = context.deadline();
  const auto now = std::chrono::system_clock::now();
  if (deadline - now > std::chrono::hours(24 * 365)) {
    return std::nullopt;
  }
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(deadline - now);
}

}  // namespace

InferenceService::InferenceService(Delivery* delivery, Metrics* metrics,
                                   int64_t max_undelivered_bytes)
    : delivery_(delivery), metrics_(metrics), max_undelivered_bytes_(max_undelivered_bytes) {}

void InferenceService::Touch() {
  last_receive_ =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

CallHooks InferenceService::Hooks(grpc::CallbackServerContext* context) {
  return {.cancel =
              [this](uint64_t key) {
                if (const Serving* serving = serving_.load(std::memory_order_acquire)) {
                  serving->engine->Cancel(key);
                }
              },
          .forget = [this](const Call& call) { delivery_->Forget(call); },
          .reset = [context] { context->TryCancel(); },
          .metrics = metrics_,
          .max_undelivered_bytes = max_undelivered_bytes_};
}

InferenceService::GenerateReactor* InferenceService::Generate(grpc::CallbackServerContext* context,
                                                              const v1::GenerateRequest* request) {
  Touch();
  metrics_->Started();
  auto* call = new Call(Hooks(context), "Generate");
  const Serving* serving = serving_.load(std::memory_order_acquire);
  if (serving == nullptr || draining_) {
    call->Reject(serving == nullptr ? kLoading : kDraining, RejectReason::kUnavailable);
  } else {
    Start(call, context, ValidateGenerate(*request, serving->rules), request->stream());
  }
  return HandOver(call);
}

InferenceService::GenerateReactor* InferenceService::Chat(grpc::CallbackServerContext* context,
                                                          const v1::ChatRequest* request) {
  Touch();
  metrics_->Started();
  auto* call = new Call(Hooks(context), "Chat");
  const Serving* serving = serving_.load(std::memory_order_acquire);
  if (serving == nullptr || draining_) {
    call->Reject(serving == nullptr ? kLoading : kDraining, RejectReason::kUnavailable);
  } else {
    Start(call, context, ValidateChat(*request, serving->rules), request->stream());
  }
  return HandOver(call);
}

void InferenceService::Start(Call* call, grpc::CallbackServerContext* context,
                             absl::StatusOr<Request> validated, bool stream) {
  if (!validated.ok()) {
    call->Reject(ToGrpc(validated.status()), ReasonOf(validated.status()));
    return;
  }
  Request request = *std::move(validated);
  request.arrival = Clock::now();
  request.deadline = DeadlineOf(*context);
  const bool named = !request.id.empty();
  absl::Status status;
  do {  // another id of ours where a client has taken the next one for its own
    request.key = next_key_++;
    if (!named) {
      request.id = absl::StrCat("alcca-", request.key);
    }
    call->Begin(request, stream);
    status = delivery_->Register(call);  // first: events may come before Submit returns
  } while (!named && absl::IsAlreadyExists(status));
  if (!status.ok()) {
    call->Reject(ToGrpc(status), ReasonOf(status));
    return;
  }
  const Serving* serving = serving_.load(std::memory_order_acquire);
  status = serving->engine->Submit(std::move(request));
  if (!status.ok()) {
    delivery_->Forget(*call);
    call->Reject(absl::IsResourceExhausted(status) ? QueueFull(status, context) : ToGrpc(status),
                 ReasonOf(status));
  }
}

const Serving* InferenceService::ServingOr(grpc::ServerUnaryReactor* reactor) {
  Touch();
  const Serving* serving = serving_.load(std::memory_order_acquire);
  if (serving == nullptr) {
    reactor->Finish(kLoading);
  }
  return serving;
}

grpc::ServerUnaryReactor* InferenceService::Abort(grpc::CallbackServerContext* context,
                                                  const v1::AbortRequest* request,
                                                  v1::AbortResponse* response) {
  auto* reactor = context->DefaultReactor();
  if (const Serving* serving = ServingOr(reactor)) {
    uint32_t aborted = 0;
    for (const uint64_t key :
         delivery_->KeysOf({request->request_ids().begin(), request->request_ids().end()})) {
      aborted += serving->engine->Cancel(key) ? 1 : 0;
    }
    response->set_aborted(aborted);
    reactor->Finish(grpc::Status::OK);
  }
  return reactor;
}

grpc::ServerUnaryReactor* InferenceService::Tokenize(grpc::CallbackServerContext* context,
                                                     const v1::TokenizeRequest* request,
                                                     v1::TokenizeResponse* response) {
  auto* reactor = context->DefaultReactor();
  if (const Serving* serving = ServingOr(reactor)) {
    const absl::Status fits =
        ValidateTextSize(request->text().size(), serving->rules, "text", kTokenizeBytes);
    if (fits.ok()) {
      const Tokenizer& tokenizer = *serving->rules.tokenizer;
      for (const int32_t id : tokenizer.Encode(request->text(), {.bos = request->add_bos()})) {
        response->add_token_ids(id);
        response->add_pieces(std::string(tokenizer.IdToPiece(id)));
      }
    }
    reactor->Finish(ToGrpc(fits));
  }
  return reactor;
}

grpc::ServerUnaryReactor* InferenceService::Detokenize(grpc::CallbackServerContext* context,
                                                       const v1::DetokenizeRequest* request,
                                                       v1::DetokenizeResponse* response) {
  auto* reactor = context->DefaultReactor();
  if (const Serving* serving = ServingOr(reactor)) {
    const Tokenizer& tokenizer = *serving->rules.tokenizer;
    const auto ids = ValidateTokenIds(request->token_ids(), "token_ids", tokenizer.vocab_size());
    if (ids.ok()) {
      response->set_text(tokenizer.Decode(*ids, !request->keep_special_tokens()));
    }
    reactor->Finish(ToGrpc(ids.status()));
  }
  return reactor;
}

grpc::ServerUnaryReactor* InferenceService::GetModelInfo(grpc::CallbackServerContext* context,
                                                         const v1::GetModelInfoRequest*,
                                                         v1::GetModelInfoResponse* response) {
  auto* reactor = context->DefaultReactor();
  if (const Serving* serving = ServingOr(reactor)) {
    *response = serving->model_info;
    reactor->Finish(grpc::Status::OK);
  }
  return reactor;
}

grpc::ServerUnaryReactor* InferenceService::GetServerInfo(grpc::CallbackServerContext* context,
                                                          const v1::GetServerInfoRequest*,
                                                          v1::GetServerInfoResponse* response) {
  auto* reactor = context->DefaultReactor();
  response->set_active_requests(delivery_->active());
  response->set_is_paused(draining_);
  response->set_last_receive_timestamp(last_receive_);
  response->set_uptime_seconds(Seconds(start_, Clock::now()));
  response->set_server_type("alcca");
  response->set_version(ALCCA_VERSION);
  response->set_metrics_port(metrics_port_);
  Touch();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerUnaryReactor* InferenceService::GetLoads(grpc::CallbackServerContext* context,
                                                     const v1::GetLoadsRequest*,
                                                     v1::GetLoadsResponse* response) {
  auto* reactor = context->DefaultReactor();
  if (const Serving* serving = ServingOr(reactor)) {
    const EngineLoad load = serving->engine->Load();
    v1::SchedulerLoad& out = *response->add_loads();
    out.set_num_running_reqs(load.running);
    out.set_num_waiting_reqs(load.waiting);
    out.set_num_total_reqs(load.running + load.waiting);
    out.set_num_used_tokens(load.kv_pages_used * load.page_tokens);
    out.set_max_total_num_tokens(load.kv_pages_total * load.page_tokens);
    out.set_token_usage(load.kv_pages_total > 0 ? double(load.kv_pages_used) / load.kv_pages_total
                                                : 0);
    out.set_gen_throughput(load.generation_tokens_per_second);
    out.set_utilization(double(load.running) / serving->max_num_seqs);
    out.set_max_running_requests(serving->max_num_seqs);
    out.set_num_waiting_tokens(static_cast<uint32_t>(load.waiting_tokens));
    reactor->Finish(grpc::Status::OK);
  }
  return reactor;
}

}  // namespace alcca
