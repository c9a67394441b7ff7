#pragma once

// One Generate or Chat call: turns its sequences' events into messages and writes them in order.

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "alcca/v1/inference.pb.h"
#include "engine/event.h"
#include "engine/request.h"
#include "server/metrics/metrics.h"

namespace alcca {

// What a call needs of its surroundings; all outlive it.
struct CallHooks {
  std::function<void(uint64_t key)> cancel;       // Engine::Cancel
  std::function<void(const class Call&)> forget;  // Delivery::Forget
  std::function<void()> reset;                    // the call's stream, as if the client had
  Metrics* metrics = nullptr;
  int64_t max_undelivered_bytes = 0;
};

// Deletes itself in OnDone, which gRPC calls once after Finish and the last reaction.
class Call final : public grpc::ServerWriteReactor<v1::GenerateResponse> {
 public:
  Call(CallHooks hooks, const char* method) : hooks_(std::move(hooks)), method_(method) {}

  // Before Register: who this is.
  void Begin(const Request& request, bool stream);
  // Ends a call that never reached the engine.
  void Reject(const grpc::Status& status, RejectReason reason);

  uint64_t key() const { return key_; }
  const std::string& id() const { return id_; }

  // True with the last news of the last sequence: the call is about to finish.
  bool OnNews(TokenNews news, TimePoint now);
  void EndAbortedWith(const grpc::Status& status);
  // Resets the stream where a message has been on its way to the client since before `since`: one
  // who reads nothing at all would hold what it has until its connection breaks.
  void ResetIfStuck(TimePoint since);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  // What one of the n sequences has produced so far.
  struct Completion {
    v1::GenerateResponse message;  // its whole answer, as far as it is known
    TimePoint last_token;
    int32_t completion_tokens = 0;
  };

  // All below: mutex_ held.
  void Observe(const TokenNews& news, Completion* completion, TimePoint now);
  void Enqueue(v1::GenerateResponse message, int64_t chunk_bytes = 0);
  void EnqueueChunk(v1::GenerateResponse message);  // within max_undelivered_bytes
  void EndTooSlow(const char* limit);
  void WriteNext();
  void FinishWhenWritten(const grpc::Status& status);
  // The text moves.
  static v1::GenerateResponse Chunk(TokenNews* news);
  v1::GenerateResponse Complete(const TokenNews& last, v1::GenerateResponse message,
                                TimePoint now) const;
  grpc::Status FinalStatus() const;

  const CallHooks hooks_;
  const char* const method_;
  uint64_t key_ = 0;
  std::string id_;
  bool stream_ = true;
  TimePoint arrival_ = Clock::now();

  std::mutex mutex_;
  std::vector<Completion> completions_;  // [n]
  int32_t unfinished_ = 0;
  FinishReason worst_ = FinishReason::kNone;
  absl::Status error_;
  grpc::Status aborted_{grpc::StatusCode::CANCELLED, "the request was cancelled"};
  int32_t output_tokens_ = 0, prompt_tokens_ = 0;

  struct Queued {
    v1::GenerateResponse message;
    int64_t chunk_bytes = 0;  // 0: a whole answer
  };
  std::deque<Queued> queue_;         // front is being written while writing_
  int64_t waiting_chunk_bytes_ = 0;  // behind that
  TimePoint write_began_;
  bool writing_ = false, broken_ = false, finish_ready_ = false, finished_ = false;
  bool too_slow_ = false, reset_ = false;
  grpc::Status final_status_;
};

}  // namespace alcca
