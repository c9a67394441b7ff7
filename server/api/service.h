#pragma once

// alcca.v1.Inference: validates, submits, answers. Serves UNAVAILABLE until it has an engine.

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstdint>
#include <memory>

#include "alcca/v1/inference.grpc.pb.h"
#include "engine/engine.h"
#include "server/api/call.h"
#include "server/api/delivery.h"
#include "server/api/request_validation.h"
#include "server/metrics/metrics.h"

namespace alcca {

// What the service answers with once the model is loaded; immutable from then on.
struct Serving {
  Engine* engine = nullptr;
  RequestRules rules;
  v1::GetModelInfoResponse model_info;
  int32_t max_num_seqs = 0;
};

class InferenceService final : public v1::Inference::CallbackService {
 public:
  InferenceService(Delivery* delivery, Metrics* metrics, int64_t max_undelivered_bytes);

  // `serving` outlives every call.
  void Serve(const Serving* serving) { serving_.store(serving, std::memory_order_release); }
  void SetDraining() { draining_.store(true); }
  // For GetServerInfo; before the server starts.
  void SetMetricsPort(int port) { metrics_port_ = port; }

  using GenerateReactor = grpc::ServerWriteReactor<v1::GenerateResponse>;
  GenerateReactor* Generate(grpc::CallbackServerContext* context,
                            const v1::GenerateRequest* request) override;
  GenerateReactor* Chat(grpc::CallbackServerContext* context,
                        const v1::ChatRequest* request) override;

  grpc::ServerUnaryReactor* Abort(grpc::CallbackServerContext*, const v1::AbortRequest*,
                                  v1::AbortResponse*) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext*, const v1::TokenizeRequest*,
                                     v1::TokenizeResponse*) override;
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext*, const v1::DetokenizeRequest*,
                                       v1::DetokenizeResponse*) override;
  grpc::ServerUnaryReactor* GetModelInfo(grpc::CallbackServerContext*,
                                         const v1::GetModelInfoRequest*,
                                         v1::GetModelInfoResponse*) override;
  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext*,
                                          const v1::GetServerInfoRequest*,
                                          v1::GetServerInfoResponse*) override;
  grpc::ServerUnaryReactor* GetLoads(grpc::CallbackServerContext*, const v1::GetLoadsRequest*,
                                     v1::GetLoadsResponse*) override;

 private:
  CallHooks Hooks(grpc::CallbackServerContext* context);
  // Common to Generate and Chat: `request` is validated or an error.
  void Start(Call* call, grpc::CallbackServerContext* context, absl::StatusOr<Request> request,
             bool stream);
  // Null after finishing the reactor with UNAVAILABLE.
  const Serving* ServingOr(grpc::ServerUnaryReactor* reactor);
  void Touch();

  Delivery* const delivery_;
  Metrics* const metrics_;
  const int64_t max_undelivered_bytes_;
  const TimePoint start_ = Clock::now();
  std::atomic<const Serving*> serving_{nullptr};
  std::atomic<bool> draining_{false};
  int metrics_port_ = 0;
  std::atomic<uint64_t> next_key_{1};
  std::atomic<double> last_receive_{0};  // Unix seconds
};

}  // namespace alcca
