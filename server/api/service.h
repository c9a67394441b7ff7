#pragma once

// alcca.v1.Inference: its messages in, its messages out. What is common to services is in intake.h
// and grpc_call.h.

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstdint>

#include "alcca/v1/inference.grpc.pb.h"
#include "base/clock.h"
#include "server/api/delivery.h"
#include "server/api/intake.h"

namespace alcca {

class InferenceService final : public v1::Inference::CallbackService {
 public:
  // Both outlive every call.
  InferenceService(Intake* intake, Delivery* delivery) : intake_(intake), delivery_(delivery) {}

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
  // Common to Generate and Chat.
  GenerateReactor* Begin(grpc::CallbackServerContext* context, const char* method, bool stream,
                         Intake::Validate validate);
  // Null if no model is loaded yet. The reactor is then finished with UNAVAILABLE.
  const Serving* ServingOr(grpc::ServerUnaryReactor* reactor);
  void Touch();

  Intake* const intake_;
  Delivery* const delivery_;
  const TimePoint start_ = Clock::now();
  int metrics_port_ = 0;
  std::atomic<double> last_receive_{0};  // Unix seconds
};

}  // namespace alcca
