#pragma once

// The face of the engine and its loop. One thread owns every sequence, page and index; the doors
// are Submit and Cancel (bounded, thread-safe) on one side and EventSink on the other.

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/event.h"
#include "engine/model.h"
#include "engine/request.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"
#include "engine/text/tokenizer.h"
#include "engine/token_rate.h"

namespace alcca {

// A snapshot that any thread may take.
struct EngineLoad {
  int32_t running = 0;
  int32_t waiting = 0;         // sequences, those still at the door included
  int64_t waiting_tokens = 0;  // their prompt tokens
  int32_t kv_pages_used = 0;
  int32_t kv_pages_total = 0;
  int32_t page_tokens = 0;
  int64_t prefix_asked_tokens = 0;          // looked up in the prefix cache since the start
  int64_t prefix_found_tokens = 0;          // of these, found
  double generation_tokens_per_second = 0;  // over the last few seconds
  TimePoint last_step;                      // of the loop's last turn, idle turns included
};

class Engine {
 public:
  // Starts the engine thread. `tokenizer` (may be null: news carry no text) and `sink` outlive
  // the engine.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(const EngineOptions& options,
                                                        std::unique_ptr<Model> model,
                                                        const Tokenizer* tokenizer,
                                                        EventSink* sink);
  ~Engine();  // Stop
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Thread-safe; never blocks on a step. On OK exactly n endings follow (one per index).
  // INVALID_ARGUMENT: prompt + max_tokens can never fit (context or KV pool; the message has both
  //   numbers), or a token id is outside the vocabulary. RESOURCE_EXHAUSTED: the queue is full.
  //   UNAVAILABLE: draining or stopped. ALREADY_EXISTS: the key is in flight.
  absl::Status Submit(Request request);
  // Ends every sequence of the request within one step, with kAbort, or with kDeadline if the
  // deadline ended the call. False: no such request is in flight.
  bool Cancel(uint64_t request_key);
  // From now on Submit is UNAVAILABLE. What is queued or running goes on.
  void Drain();
  // True when nothing is queued or running, and every ending has been delivered.
  bool Idle() const;
  // Aborts what is left (its endings are delivered) and joins the thread. Idempotent. Never
  // called from the sink.
  void Stop();
  EngineLoad Load() const;

 private:
  // A request between Submit and its last ending.
  struct InFlight {
    int32_t sequences = 0;  // not finished yet
    bool cancelled = false;
  };

  Engine(const EngineOptions& options, std::unique_ptr<Model> model, const Tokenizer* tokenizer,
         EventSink* sink);

  void Loop();
  // Blocks while there is nothing to do; false: stop.
  bool AwaitWork();
  void Step();
  void Receive();  // what came through the doors: cancels and the inbox
  std::vector<Request> TakeInbox();
  std::vector<uint64_t> TakeCancels();
  // What is asked of the step's logits.
  std::span<const SamplingRow> Ask(const Plan& plan);
  // All of the device's work of a step; what is held leaves meanwhile. Answers of plan.sequences.
  std::span<StepAnswer> Compute(const Plan& plan, std::span<const SamplingRow> asked);
  // The events of a step are held until the next step keeps the device busy, or until there is no
  // next step.
  void Hold(Scheduler::Outcome outcome, TimePoint began);
  void Deliver();                        // what is held, if anything is
  void Publish(const StepStats& stats);  // to Load
  absl::Status CheckTokens(const Request& request) const;

  const EngineOptions options_;
  EventSink* const sink_;

  // The engine thread's own.
  std::unique_ptr<Model> model_;  // outlives the attention states in scheduler_
  Scheduler scheduler_;           // CheckFits apart
  Sampler sampler_;
  TokenRate rate_;
  bool idle_reported_ = false;
  double mask_seconds_ = 0;  // of this step
  std::optional<Scheduler::Outcome> held_;

  // The doors.
  mutable std::mutex mutex_;
  std::condition_variable work_;
  std::vector<Request> inbox_;                        // bounded by options_.max_queued_*
  std::vector<uint64_t> cancels_;                     // bounded by in_flight_
  std::unordered_map<uint64_t, InFlight> in_flight_;  // by request key
  EngineLoad load_;
  bool draining_ = false;
  bool stopping_ = false;

  std::once_flag join_once_;
  std::thread thread_;  // last: starts when everything else is there
};

}  // namespace alcca
