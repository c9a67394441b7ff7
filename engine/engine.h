#pragma once

// The face of the engine and its loop. One thread owns every sequence, page and index; the doors
// are Submit and Cancel (bounded, thread-safe) on one side and EventSink on the other.

#include <atomic>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/event.h"
#include "engine/model.h"
#include "engine/request.h"
#include "engine/tokenizer.h"

namespace alcca {

struct EngineOptions {
  int32_t max_num_seqs = 32;             // sequences running at once
  int32_t max_batch_tokens = 512;        // rows of a step: decode rows and prefill chunks together
  int32_t max_prefill_chunk = 256;       // prompt tokens of one sequence in one step
  int32_t max_queued_requests = 256;     // waiting sequences; one more is RESOURCE_EXHAUSTED
  int64_t max_queued_tokens = 1 << 20;   // their prompt tokens
  int32_t max_context = 0;               // prompt + output tokens of a sequence
  std::vector<int32_t> eos_token_ids;
};

// A snapshot that any thread may take.
struct EngineLoad {
  int32_t running = 0;
  int32_t waiting = 0;
  int64_t waiting_tokens = 0;
  int32_t kv_pages_used = 0;
  int32_t kv_pages_total = 0;
  int32_t page_tokens = 0;
  double generation_tokens_per_second = 0;  // over the last few seconds
  TimePoint last_step;                      // of the loop's last turn, idle turns included
};

class Engine {
 public:
  // Starts the engine thread. `tokenizer` and `sink` outlive the engine.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(const EngineOptions& options,
                                                        std::unique_ptr<Model> model,
                                                        const Tokenizer* tokenizer,
                                                        EventSink* sink);
  virtual ~Engine() = default;

  // Thread-safe; never blocks on a step. On OK exactly n finishing events follow (one per index).
  // INVALID_ARGUMENT: prompt + max_tokens can never fit (context or KV pool; the message has both
  //   numbers). RESOURCE_EXHAUSTED: the queue is full. UNAVAILABLE: draining or stopped.
  virtual absl::Status Submit(Request request) = 0;
  // Ends every sequence of the request with kAbort within one step; unknown keys are ignored.
  virtual void Cancel(uint64_t request_key) = 0;
  // From now on Submit is UNAVAILABLE. What is queued or running goes on.
  virtual void Drain() = 0;
  // True when nothing is queued or running.
  virtual bool Idle() const = 0;
  // Aborts what is left (finishing events are delivered) and joins the thread. Idempotent.
  virtual void Stop() = 0;
  virtual EngineLoad Load() const = 0;
};

}  // namespace alcca
