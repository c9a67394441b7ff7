#pragma once

// What leaves the engine's door: text and tokens as they become certain, and how a request ended.

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "kernels/attention_params.h"

namespace alcca {

enum class FinishReason : uint8_t {
  kNone,      // still running
  kStop,      // end token, stop token id or stop string
  kLength,    // max_tokens, or the context is full
  kAbort,     // cancelled by the client, Abort, or the end of a drain
  kDeadline,  // the request's deadline passed
};
constexpr const char* FinishReasonName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kNone: return "none";
    case FinishReason::kStop: return "stop";
    case FinishReason::kLength: return "length";
    case FinishReason::kAbort: return "abort";
    case FinishReason::kDeadline: return "deadline";
  }
  return "none";
}

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0.0f;  // natural log, after temperature-free softmax of the raw logits
  std::vector<std::pair<int32_t, float>> top;  // best alternatives, descending
};

// Seconds on the engine's clock.
struct Timings {
  double queue_seconds = 0;    // arrival to first scheduled
  double prefill_seconds = 0;  // first scheduled to first token
  double decode_seconds = 0;   // first token to last token
  double index_build_seconds = 0;
  int32_t preemptions = 0;
};

// One sequence's news of one step (a request with n > 1 has n sequences, told apart by `index`).
struct Event {
  uint64_t request_key = 0;
  int32_t index = 0;
  std::vector<int32_t> token_ids;       // new tokens, without the end token
  std::string text;                     // new text: whole UTF-8 characters, stop strings held back
  std::vector<TokenLogprob> logprobs;   // of token_ids, when asked for
  std::vector<TokenLogprob> prompt_logprobs;  // in the first event, when asked for; [0] is empty
  int32_t prompt_tokens = 0;
  int32_t completion_tokens = 0;        // so far
  bool first_token = false;             // this event carries the sequence's first token

  FinishReason finish = FinishReason::kNone;
  // Only with finish == kStop: what matched, if not an end token of the model.
  std::variant<std::monostate, int32_t, std::string> matched_stop;
  Timings timings;                      // complete when finished
  PhaseCounters counters{};             // complete when finished
  int64_t index_bytes = 0;              // when finished: peak memory of the attention state
  AttentionParams attention;            // as applied
};

// What one step did, for metrics.
struct StepStats {
  int32_t running = 0;        // sequences holding KV pages
  int32_t waiting = 0;        // sequences queued
  int32_t waiting_tokens = 0; // their prompt tokens
  int32_t kv_pages_used = 0;
  int32_t kv_pages_total = 0;
  int32_t batch_tokens = 0;   // rows of this step
  int32_t preemptions = 0;    // in this step
  double step_seconds = 0;
  int64_t index_bytes = 0;    // memory of all attention states now
  // Work done in this step, by mode and phase.
  std::array<PhaseCounters, kAttentionModeCount> counters{};
};

// The engine's only way out. Called on the engine thread after every step; must not block.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void OnStep(std::vector<Event> events, const StepStats& stats) = 0;
};

}  // namespace alcca
