#pragma once

// From the engine's news to the calls that wait for them. One write is in flight per call; the rest
// waits in that call's own bounded queue, so a client that does not read never stalls a step.

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

class GrpcCall;

class Delivery final : public EventSink {
 public:
  explicit Delivery(Metrics* metrics) : metrics_(metrics) {}

  // Makes `request` whole: its key, and its id if the client gave none. ALREADY_EXISTS: the id is
  // in use.
  absl::Status Register(Request* request);
  // Makes news of the registered request reach `call`, which was made for it.
  void Connect(GrpcCall* call);
  // Undoes both. After this returns no news reach the call any more.
  void Forget(const GrpcCall& call);
  // Undoes both and ends the call, whose request did not reach the engine. On any thread; the call
  // may be deleted as soon as this returns.
  void Refuse(GrpcCall* call, absl::Status status);
  // Keys of the running requests with these ids.
  std::vector<uint64_t> KeysOf(const std::vector<std::string>& ids);
  // The status with which calls end that are aborted from now on (a drain that ran out of time).
  void EndAbortedWith(const absl::Status& status);
  // Resets every call that has a message waiting for its client since before `since`. It may do
  // nothing, so call it again.
  void ResetStuck(TimePoint since);
  int32_t active() const;  // calls

  void OnStep(std::vector<TokenNews> news, const StepStats& stats) override;

 private:
  void ReleaseId(const GrpcCall& call);  // mutex_ is held

  Metrics* const metrics_;
  mutable std::mutex mutex_;  // taken before a call's own
  uint64_t next_key_ = 1;
  std::unordered_map<uint64_t, GrpcCall*> calls_;
  std::unordered_map<std::string, uint64_t> keys_;  // by request id
};

}  // namespace alcca
