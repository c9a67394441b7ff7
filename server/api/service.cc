#include "server/api/service.h"

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "base/tsan_handover.h"
#include "server/api/status.h"

namespace alcca {
namespace {

// The reactor of Generate and Chat.
class GenerateCall final : public grpc::ServerWriteReactor<v1::GenerateResponse>, public GrpcCall {
 public:
  using GrpcCall::GrpcCall;

  void OnWriteDone(bool ok) override { OnMessageWritten(ok); }
  void OnCancel() override {
    TakeOver(this);
    OnClientGone();
  }
  void OnDone() override {  // called once, after Finish and the last reaction
    OnFinished();
    delete this;
  }

 private:
  void StartMessage(const v1::GenerateResponse* message) override { StartWrite(message); }
  void FinishWith(const grpc::Status& status) override { Finish(status); }
};

}  // namespace

void InferenceService::Touch() {
  last_receive_ =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

InferenceService::GenerateReactor* InferenceService::Begin(grpc::CallbackServerContext* context,
                                                           const char* method, bool stream,
                                                           Intake::Validate validate) {
  Touch();
  CallSetup setup = intake_->Register(context, method, stream, validate);
  auto* call = new GenerateCall(setup);
  intake_->Submit(call, std::move(setup));
  return HandOver(call);
}

InferenceService::GenerateReactor* InferenceService::Generate(grpc::CallbackServerContext* context,
                                                              const v1::GenerateRequest* request) {
  return Begin(context, "Generate", request->stream(),
               [request](const RequestRules& rules, const Arrival& arrival) {
                 return ValidateGenerate(*request, rules, arrival);
               });
}

InferenceService::GenerateReactor* InferenceService::Chat(grpc::CallbackServerContext* context,
                                                          const v1::ChatRequest* request) {
  return Begin(context, "Chat", request->stream(),
               [request](const RequestRules& rules, const Arrival& arrival) {
                 return ValidateChat(*request, rules, arrival);
               });
}

const Serving* InferenceService::ServingOr(grpc::ServerUnaryReactor* reactor) {
  Touch();
  const absl::StatusOr<const Serving*> serving = intake_->serving();
  if (!serving.ok()) {
    reactor->Finish(ToGrpc(serving.status()));
    return nullptr;
  }
  return *serving;
}

grpc::ServerUnaryReactor* InferenceService::Abort(grpc::CallbackServerContext* context,
                                                  const v1::AbortRequest* request,
                                                  v1::AbortResponse* response) {
  auto* reactor = context->DefaultReactor();
  if (const Serving* serving = ServingOr(reactor)) {
    uint32_t aborted = 0;
    for (const uint64_t key :
         delivery_->KeysOf({request->request_ids().begin(), request->request_ids().end()})) {
      aborted += intake_->Cancel(serving->engine, key) ? 1 : 0;
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
  response->set_is_paused(intake_->draining());
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
    out.set_cache_hit_rate(load.prefix_asked_tokens > 0
                               ? double(load.prefix_found_tokens) / load.prefix_asked_tokens
                               : 0);
    out.set_utilization(double(load.running) / serving->max_num_seqs);
    out.set_max_running_requests(serving->max_num_seqs);
    out.set_num_waiting_tokens(static_cast<uint32_t>(load.waiting_tokens));
    reactor->Finish(grpc::Status::OK);
  }
  return reactor;
}

}  // namespace alcca
