#pragma once

// A request's way in, the same for every service: is there a model, is the request valid, its key
// and id, its constraint compiled, the engine's queue. What is wrong becomes a refusal, which is
// counted.

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "alcca/v1/inference.pb.h"
#include "engine/constraint/compile_pool.h"
#include "engine/engine.h"
#include "server/api/delivery.h"
#include "server/api/grpc_call.h"
#include "server/api/request_validation.h"
#include "server/metrics/metrics.h"

namespace alcca {

// What the services answer with once the model is loaded; immutable from then on.
struct Serving {
  Engine* engine = nullptr;
  CompilePool* constraints = nullptr;
  RequestRules rules;
  v1::GetModelInfoResponse model_info;
  int32_t max_num_seqs = 0;
};

class Intake {
 public:
  // `delivery` and `metrics` outlive every call.
  Intake(Delivery* delivery, Metrics* metrics, int64_t max_undelivered_bytes);

  // `serving` outlives every call. Until then every request is refused.
  void Serve(const Serving* serving) { serving_.store(serving, std::memory_order_release); }
  // From now on every request is refused.
  void SetDraining() { draining_.store(true); }
  bool draining() const { return draining_; }
  // UNAVAILABLE: the model is still loading.
  absl::StatusOr<const Serving*> serving() const;

  // A service's message as a request: ValidateGenerate and the like.
  using Validate =
      absl::FunctionRef<absl::StatusOr<Request>(const RequestRules& rules, const Arrival& arrival)>;
  // Validates and registers. The call that the service makes of this goes to Submit.
  CallSetup Register(grpc::CallbackServerContext* context, const char* method, bool stream,
                     Validate validate);
  // Hands the registered request of `call` to the engine, whose news reach the call from here on;
  // or ends the call with the refusal.
  void Submit(GrpcCall* call, CallSetup setup);
  // Engine::Cancel, of a request that may still be on its way there.
  bool Cancel(Engine* engine, uint64_t key);

 private:
  // Of a request as it arrives: UNAVAILABLE if draining, or what `validate` and Delivery::Register
  // say.
  absl::StatusOr<Request> Admit(const Serving& serving, const Arrival& arrival, Validate validate,
                                std::string* id);
  // Compiles the request's constraint unless it is known, on another thread, and goes on to Enter.
  void Prepare(GrpcCall* call, CallSetup setup);
  // `field` is the request's, for errors.
  void OnCompiled(GrpcCall* call, CallSetup setup, const std::string& field,
                  CompilePool::Result result);
  void Enter(GrpcCall* call, CallSetup setup);
  // The call, which is connected, ends without having reached the engine.
  void Refuse(GrpcCall* call, absl::Status status, grpc::CallbackServerContext* context);

  Delivery* const delivery_;
  Metrics* const metrics_;
  const int64_t max_undelivered_bytes_;
  std::atomic<const Serving*> serving_{nullptr};
  std::atomic<bool> draining_{false};

  // Taken after Delivery's and a call's, before the Engine's.
  std::mutex mutex_;
  // Keys of requests whose constraints are being compiled; true: cancelled meanwhile.
  std::unordered_map<uint64_t, bool> preparing_;
};

}  // namespace alcca
