#pragma once

// From the engine's events to the clients' streams. One write is in flight per call; the rest waits
// in that call's own bounded queue, so a client that does not read never stalls a step.

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "engine/event.h"
#include "engine/request.h"
#include "server/metrics/metrics.h"

namespace alcca {

class Call;

class Delivery final : public EventSink {
 public:
  explicit Delivery(Metrics* metrics) : metrics_(metrics) {}

  // Makes events of call.key() reach it. ALREADY_EXISTS: the id is in use.
  absl::Status Register(Call* call);
  // After this returns no event reaches the call any more.
  void Forget(const Call& call);
  // Keys of the running calls with these ids.
  std::vector<uint64_t> KeysOf(const std::vector<std::string>& ids);
  // What calls that are aborted from now on end with (a drain that ran out of time).
  void EndAbortedWith(const grpc::Status& status);
  // Resets the calls of which a message has waited for its client since before `since`. May do
  // nothing: call it again.
  void ResetStuck(TimePoint since);
  int32_t active() const;

  void OnStep(std::vector<TokenNews> news, const StepStats& stats) override;

 private:
  void ReleaseId(const Call& call);  // mutex_ is held

  Metrics* const metrics_;
  mutable std::mutex mutex_;  // taken before a Call's own
  std::unordered_map<uint64_t, Call*> calls_;
  std::unordered_map<std::string, uint64_t> keys_;  // by request id
};

}  // namespace alcca
