#include "server/api/delivery.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/api/grpc_call.h"

namespace alcca {

absl::Status Delivery::Register(Request* request) {
  const std::lock_guard lock(mutex_);
  const bool named = !request->id.empty();
  do {  // another id of ours if a client has taken the next one for its own
    request->key = next_key_++;
    if (!named) {
      request->id = absl::StrCat("alcca-", request->key);
    }
    if (keys_.emplace(request->id, request->key).second) {
      return absl::OkStatus();
    }
  } while (!named);
  return absl::AlreadyExistsError(
      absl::StrCat("request_id: '", request->id, "' is in use by a running request"));
}

void Delivery::Connect(GrpcCall* call) {
  const std::lock_guard lock(mutex_);
  calls_.emplace(call->key(), call);
}

void Delivery::Forget(const GrpcCall& call) {
  const std::lock_guard lock(mutex_);
  calls_.erase(call.key());
  ReleaseId(call);
}

// Under the lock, for which the end of a call waits in Forget: it must not be deleted meanwhile.
void Delivery::Refuse(GrpcCall* call, absl::Status status) {
  const std::lock_guard lock(mutex_);
  calls_.erase(call->key());
  ReleaseId(*call);
  call->Refuse(std::move(status));
}

void Delivery::ReleaseId(const GrpcCall& call) {
  const auto it = keys_.find(call.id());
  if (it != keys_.end() && it->second == call.key()) {  // it may be another call's by now
    keys_.erase(it);
  }
}

std::vector<uint64_t> Delivery::KeysOf(const std::vector<std::string>& ids) {
  const std::lock_guard lock(mutex_);
  std::vector<uint64_t> keys;
  for (const std::string& id : ids) {
    if (const auto it = keys_.find(id); it != keys_.end()) {
      keys.push_back(it->second);
    }
  }
  return keys;
}

void Delivery::EndAbortedWith(const absl::Status& status) {
  const std::lock_guard lock(mutex_);
  for (const auto& [key, call] : calls_) {
    call->EndAbortedWith(status);
  }
}

void Delivery::ResetStuck(TimePoint since) {
  // Held, so that no call goes meanwhile. Not waited for: whoever watches the engine thread calls
  // this, and must not stand still with it.
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock) {
    return;
  }
  for (const auto& [key, call] : calls_) {
    call->ResetIfStuck(since);
  }
}

int32_t Delivery::active() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int32_t>(calls_.size());
}

void Delivery::OnStep(std::vector<TokenNews> news, const StepStats& stats) {
  metrics_->Step(stats);
  const TimePoint now = Clock::now();
  const std::lock_guard lock(mutex_);
  for (TokenNews& one : news) {
    if (const auto it = calls_.find(one.key); it != calls_.end()) {
      // Free the id before the client can know that its request has ended and use it again.
      if (it->second->OnNews(std::move(one), now)) {
        ReleaseId(*it->second);
      }
    }
  }
}

}  // namespace alcca
