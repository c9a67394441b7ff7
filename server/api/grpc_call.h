#pragma once

// One streaming call of gRPC: writes the messages of its Answer, one at a time, and ends with its
// status. A service derives the reactor, whose type is its message's, and passes on its reactions;
// a service with other messages than alcca.v1's translates them in StartMessage.

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "server/api/answer.h"

namespace alcca {

class Delivery;

// What a call is made of (intake.h). What it points to outlives the call.
struct CallSetup {
  const char* method = "";  // for the log
  grpc::CallbackServerContext* context = nullptr;
  Delivery* delivery = nullptr;
  Engine* engine = nullptr;                  // null: no model is loaded, and the request is refused
  std::function<void(uint64_t key)> cancel;  // ends the request, wherever it is
  Metrics* metrics = nullptr;
  AnswerOptions answer;
  absl::StatusOr<Request> request;  // registered, or why it is refused
};

class GrpcCall {
 public:
  explicit GrpcCall(const CallSetup& setup);
  virtual ~GrpcCall() = default;
  GrpcCall(const GrpcCall&) = delete;
  GrpcCall& operator=(const GrpcCall&) = delete;

  uint64_t key() const { return key_; }  // 0: the request is refused
  const std::string& id() const { return answer_.id(); }

  // True with the last news of the last sequence: the call is about to finish.
  bool OnNews(TokenNews news, TimePoint now);
  // The engine did not get the request.
  void Refuse(absl::Status status);
  void EndAbortedWith(const absl::Status& status);
  // Resets the stream, as if the client had, if a message has been on its way since before `since`.
  void ResetIfStuck(TimePoint since);

 protected:
  // What the reactor's reactions do; the last one before it deletes itself.
  void OnMessageWritten(bool ok);
  void OnClientGone();
  void OnFinished();

 private:
  // The reactor's StartWrite, of a message that lives until OnMessageWritten, and its Finish.
  virtual void StartMessage(const v1::GenerateResponse* message) = 0;
  virtual void FinishWith(const grpc::Status& status) = 0;

  void WriteNext(TimePoint now);  // mutex_ held

  const char* const method_;
  grpc::CallbackServerContext* const context_;
  Delivery* const delivery_;
  Engine* const engine_;
  const std::function<void(uint64_t key)> cancel_;
  const uint64_t key_;

  std::mutex mutex_;
  Answer answer_;
};

}  // namespace alcca
