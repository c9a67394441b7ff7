#pragma once

// What leaves the engine's door: text and tokens as they become certain, and how a sequence ended.

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "attention/counters.h"
#include "attention/params.h"
#include "kernels/sampling.h"

namespace alcca {

// In order of severity: of the ends of a request's sequences, the greatest names the request's.
enum class FinishReason : uint8_t {
  kNone,      // still running
  kStop,      // end token, stop token id or stop string
  kLength,    // max_tokens, or the context is full
  kAbort,     // cancelled by the client, Abort, or the end of a drain
  kDeadline,  // the request's deadline passed
  kError,     // this sequence cannot go on: Ending::error says why; the others do
};
constexpr const char* FinishReasonName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kNone:
      return "none";
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kAbort:
      return "abort";
    case FinishReason::kDeadline:
      return "deadline";
    case FinishReason::kError:
      return "error";
  }
  return "none";
}

// Seconds on the engine's clock.
struct Timings {
  double queue_seconds = 0;    // arrival to first scheduled, or to the end if that came before
  double prefill_seconds = 0;  // first scheduled to first token
  double decode_seconds = 0;   // first token to the last one of the answer
  double index_build_seconds = 0;
  int32_t preemptions = 0;
};

// What matched, if it was not an end token of the model: a stop token id or a stop string.
using MatchedStop = std::variant<std::monostate, int32_t, std::string>;

// How a sequence ended, and what it had cost.
struct Ending {
  FinishReason reason = FinishReason::kNone;  // another one in every ending
  absl::Status error;                         // not OK exactly with kError
  MatchedStop matched_stop;                   // only with kStop
  Timings timings;
  PhaseCounters counters{};
  int64_t index_bytes = 0;    // peak memory of the attention state
  bool fell_back = false;     // an index met its bound of memory; the rest was answered by dense
  AttentionParams attention;  // as applied
};

// One sequence's news of one step (a request with n > 1 has n sequences, told apart by `index`).
struct TokenNews {
  uint64_t key = 0;  // of the request
  int32_t index = 0;
  int32_t prompt_tokens = 0;
  int32_t cached_tokens = 0;                  // of the prompt, found in the prefix cache
  int32_t completion_tokens = 0;              // so far
  bool first_token = false;                   // it was sampled (it may be an end token)
  absl::InlinedVector<int32_t, 4> token_ids;  // new tokens, without the end token
  std::string text;                           // new: whole characters, stop strings held back
  std::vector<TokenLogprob> logprobs;         // of token_ids, when asked for
  // When asked for: once, in the news of index 0 with first_token. One per prompt token; nothing
  // precedes the first, so [0] is only its id.
  std::vector<TokenLogprob> prompt_logprobs;
  std::unique_ptr<Ending> ending;  // null: the sequence goes on
};

// What one step did, for metrics.
struct StepStats {
  int32_t running = 0;         // sequences holding KV pages
  int32_t waiting = 0;         // sequences queued
  int32_t waiting_tokens = 0;  // their prompt tokens
  int32_t kv_pages_used = 0;
  int32_t kv_pages_idle = 0;  // not used, but the prefix cache knows what they hold
  int32_t kv_pages_total = 0;
  int32_t batch_tokens = 0;         // rows of this step
  int32_t generated_tokens = 0;     // in this step, all sequences
  int32_t preemptions = 0;          // in this step
  int32_t prefix_asked_tokens = 0;  // looked up in the prefix cache in this step
  int32_t prefix_found_tokens = 0;  // of these, found
  int32_t prefix_forgotten_pages = 0;
  double step_seconds = 0;
  int32_t constrained_rows = 0;  // rows of this step whose tokens a constraint chose from
  double mask_seconds = 0;       // that their masks took, together
  int64_t index_bytes = 0;       // memory of all attention states now
  // Work done in this step, by mode and phase.
  std::array<PhaseCounters, kAttentionModeCount> counters{};
};

// The engine's only way out. Called on the engine thread after every step, and once more without
// news when the last sequence has left, so that gauges return to zero. Must not block, nor call
// Engine::Stop.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void OnStep(std::vector<TokenNews> news, const StepStats& stats) = 0;
};

}  // namespace alcca
