#pragma once

// Prometheus, and only here. Names are the contract of docs/metrics.md; all base units.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/event.h"

namespace alcca {

// Why a call never reached the engine's queue: label `reason` of alcca_requests_rejected_total.
enum class RejectReason { kInvalid, kUnimplemented, kQueueFull, kUnavailable, kDuplicateId };

// Thread-safe. Invariant, at any quiet moment:
//   started = finished (all reasons) + rejected (all reasons) + in flight.
class Metrics {
 public:
  explicit Metrics(std::string_view version);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // Serves /metrics; returns the port (of use with port 0). UNAVAILABLE when it is taken.
  absl::StatusOr<int> Listen(const std::string& address);

  void ModelLoaded(double seconds, int64_t weight_bytes, int64_t kv_pages);
  void Started();
  void Rejected(RejectReason reason);
  // The whole request ended; its worst sequence's reason.
  void Finished(FinishReason reason, double e2e_seconds);
  // One sequence's first token / a later one; seconds since arrival / since the last one.
  void FirstToken(double seconds);
  void NextTokens(double seconds, int64_t tokens);
  // One sequence ended.
  void SequenceDone(const Event& event);
  void Step(const StepStats& stats);

 private:
  void StopListening();

  struct Families;
  std::unique_ptr<Families> f_;
};

}  // namespace alcca
