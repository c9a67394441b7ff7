#pragma once

// One request's answer: the engine's news as messages, within bounds, and the status that ends it.
// It knows no transport: a call (grpc_call.h) writes what this gives out, a test just takes it.

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "alcca/v1/inference.pb.h"
#include "base/clock.h"
#include "engine/event.h"
#include "server/metrics/metrics.h"

namespace alcca {

struct AnswerOptions {
  std::string id;  // of the request
  TimePoint arrival;
  int32_t n = 0;                      // sequences; 0: the request is refused
  bool stream = false;                // chunks as they come, before the whole answers
  int64_t max_undelivered_bytes = 0;  // of chunks that wait behind the one being written
};

// Not thread-safe. Time is an argument.
class Answer {
 public:
  // `metrics` outlives this.
  Answer(AnswerOptions options, Metrics* metrics);

  // --- From the engine ---------------------------------------------------------------------------
  enum class Next {
    kGoOn,
    kCancel,  // the client reads too slowly: the sequences are to end; said once
    kEnded,   // these were the last news of the last sequence
  };
  Next OnNews(TokenNews news, TimePoint now);
  // The request did not reach the engine: no news follow.
  void Refuse(absl::Status status);

  // --- From around it ----------------------------------------------------------------------------
  // What the client is told if its sequences are aborted from now on: CANCELLED unless this says
  // otherwise. A client that reads too slowly is told so all the same.
  void EndAbortedWith(absl::Status status);
  // The client is gone: what waits is dropped, and no message follows.
  void Disconnect();
  // True, once, if a message has been on its way since before `since`. The client is then told that
  // it reads too slowly; its call has to be reset, because it may hold the message for ever.
  bool GiveUpIfStuck(TimePoint since);

  // --- To the writer: one message is on its way at a time ----------------------------------------
  // The next message, on its way from now until Written; null: one still is, or none waits.
  const v1::GenerateResponse* NextMessage(TimePoint now);
  void Written(bool ok);  // not ok: the client is gone
  // True, once, when everything is written: status() is all that is left to say.
  bool Complete();
  const absl::Status& status() const { return status_; }

  // --- For the log -------------------------------------------------------------------------------
  const std::string& id() const { return options_.id; }
  TimePoint arrival() const { return options_.arrival; }
  FinishReason reason() const { return worst_; }  // kNone: it did not run to its end
  int32_t prompt_tokens() const { return prompt_tokens_; }
  int32_t output_tokens() const { return output_tokens_; }  // of all sequences

 private:
  // What one of the n sequences has produced so far.
  struct Completion {
    v1::GenerateResponse message;  // its whole answer, as far as it is known
    int32_t tokens = 0;
    TimePoint last_token;
  };
  struct Queued {
    v1::GenerateResponse message;
    int64_t chunk_bytes = 0;  // 0: a whole answer
  };

  void Observe(const TokenNews& news, TimePoint now);
  void Enqueue(v1::GenerateResponse message, int64_t chunk_bytes);
  // False: it is one too many.
  bool EnqueueChunk(v1::GenerateResponse message);
  void CompleteSequence(const TokenNews& last, TimePoint now);
  void EndTooSlow(const char* limit);
  void DropWaiting();
  absl::Status FinalStatus() const;

  const AnswerOptions options_;
  Metrics* const metrics_;

  std::vector<Completion> completions_;  // [n]
  int32_t unfinished_ = 0;
  int32_t prompt_tokens_ = 0, output_tokens_ = 0;
  FinishReason worst_ = FinishReason::kNone;
  absl::Status error_;    // of the worst
  absl::Status aborted_;  // what an abort means
  absl::Status status_;

  std::deque<Queued> queue_;         // the front is next, or on its way while writing_
  int64_t waiting_chunk_bytes_ = 0;  // behind the front
  TimePoint write_began_;
  bool writing_ = false;
  bool disconnected_ = false;  // no message is taken any more
  bool too_slow_ = false;      // the client was, and is told
  bool gave_up_ = false;       // GiveUpIfStuck has said so
  bool ended_ = false;         // status_ is known
  bool complete_ = false;      // Complete has said so
};

}  // namespace alcca
