#include "server/api/grpc_call.h"

#include <utility>

#include "server/api/delivery.h"
#include "server/api/status.h"
#include "server/logging.h"

namespace alcca {

GrpcCall::GrpcCall(const CallSetup& setup)
    : method_(setup.method),
      context_(setup.context),
      delivery_(setup.delivery),
      engine_(setup.engine),
      cancel_(setup.cancel),
      key_(setup.request.ok() ? setup.request->key : 0),
      answer_(setup.answer, setup.metrics) {}

bool GrpcCall::OnNews(TokenNews news, TimePoint now) {
  const std::lock_guard lock(mutex_);
  const Answer::Next next = answer_.OnNews(std::move(news), now);
  if (next == Answer::Next::kCancel) {
    engine_->Cancel(key_);
  }
  WriteNext(now);
  return next == Answer::Next::kEnded;
}

void GrpcCall::Refuse(absl::Status status) {
  const std::lock_guard lock(mutex_);
  answer_.Refuse(std::move(status));
  WriteNext(Clock::now());
}

void GrpcCall::EndAbortedWith(const absl::Status& status) {
  const std::lock_guard lock(mutex_);
  answer_.EndAbortedWith(status);
}

void GrpcCall::ResetIfStuck(TimePoint since) {
  {
    const std::lock_guard lock(mutex_);
    if (!answer_.GiveUpIfStuck(since)) {
      return;
    }
  }
  context_->TryCancel();
}

void GrpcCall::WriteNext(TimePoint now) {
  if (const v1::GenerateResponse* message = answer_.NextMessage(now); message != nullptr) {
    StartMessage(message);
  } else if (answer_.Complete()) {
    FinishWith(ToGrpc(answer_.status()));
  }
}

void GrpcCall::OnMessageWritten(bool ok) {
  const std::lock_guard lock(mutex_);
  answer_.Written(ok);  // not ok: OnClientGone ends the sequences
  WriteNext(Clock::now());
}

void GrpcCall::OnClientGone() {
  {
    const std::lock_guard lock(mutex_);
    answer_.Disconnect();
  }
  if (key_ != 0) {
    cancel_(key_);
  }
}

void GrpcCall::OnFinished() {
  delivery_->Forget(*this);
  Log(LogLevel::kInfo, "call",
      {{"method", method_},
       {"request_id", id()},
       {"code", static_cast<int>(answer_.status().code())},
       {"reason", FinishReasonName(answer_.reason())},
       {"prompt_tokens", answer_.prompt_tokens()},
       {"output_tokens", answer_.output_tokens()},
       {"seconds", Seconds(answer_.arrival(), Clock::now())}});
}

}  // namespace alcca
