#pragma once

// The only user of Prometheus' library. docs/metrics.md is the contract of the names. All units are
// base units.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/event.h"
#include "server/metrics/device_telemetry.h"
#include "server/metrics/serving_facts.h"

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

  // Once, when the model is loaded.
  void Serving(const ServingFacts& facts);
  // Serves vLLM's names beside ours, of model `model` (metrics_vllm.h). After Listen.
  void AddVllmNames(const ServingFacts& facts);
  // Serves what the device's driver tells, from now on. After Listen.
  void AddDevice(std::shared_ptr<DeviceTelemetry> device);

  // Of the health services "readiness" and "liveness"; others are ignored.
  void Health(std::string_view service, bool serving);
  // When the step loop last turned; seconds of Unix time.
  void LastTurn(double unix_seconds);

  void Started();
  void Rejected(RejectReason reason);
  // The whole request ended: its worst sequence's reason, its longest sequence's tokens.
  void Finished(FinishReason reason, double e2e_seconds, int32_t longest_completion);
  // A sequence's first token, in seconds since arrival (an end-of-text token counts); a later
  // token, in seconds since the previous one.
  void FirstToken(double seconds);
  void NextTokens(double seconds);
  void GeneratedTokens(int64_t tokens);  // those of the answer
  // One sequence ended.
  void SequenceDone(int32_t prompt_tokens, int32_t completion_tokens, const Ending& ending);
  void Step(const StepStats& stats);
  // A request's constraint was compiled before; or was compiled now, or failed to be.
  void ConstraintKnown();
  void ConstraintCompiled(double seconds, bool ok);

 private:
  void StopListening();

  struct Families;
  std::unique_ptr<Families> f_;
};

}  // namespace alcca
