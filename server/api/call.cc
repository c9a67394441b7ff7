#include "server/api/call.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/tsan_handover.h"
#include "server/api/status.h"
#include "server/api/wire.h"
#include "server/logging.h"

namespace alcca {

void Call::Begin(const Request& request, bool stream) {
  key_ = request.key;
  id_ = request.id;
  stream_ = stream;
  arrival_ = request.arrival;
  unfinished_ = request.sampling.n;
  completions_.resize(request.sampling.n);
}

void Call::Reject(const grpc::Status& status, RejectReason reason) {
  hooks_.metrics->Rejected(reason);
  const std::lock_guard lock(mutex_);
  FinishWhenWritten(status);
}

bool Call::OnNews(TokenNews news, TimePoint now) {
  const std::lock_guard lock(mutex_);
  Completion& completion = completions_[news.index];
  Observe(news, &completion, now);
  if (stream_ && (!news.token_ids.empty() || !news.text.empty() || !news.prompt_logprobs.empty())) {
    EnqueueChunk(Chunk(&news));
  }
  if (news.ending == nullptr) {
    return false;
  }
  const FinishReason reason = news.ending->reason;
  hooks_.metrics->SequenceDone(news.prompt_tokens, news.completion_tokens, *news.ending);
  if (reason > worst_) {
    worst_ = reason;
    error_ = news.ending->error;
  }
  if (reason != FinishReason::kError && reason != FinishReason::kDeadline) {
    Enqueue(Complete(news, std::move(completion.message), now));
  }
  if (--unfinished_ > 0) {
    return false;
  }
  if (too_slow_) {
    worst_ =
        std::max(worst_, FinishReason::kAbort);  // it may have been too slow for the last chunk
  }
  int32_t longest = 0;
  for (const Completion& done : completions_) {
    longest = std::max(longest, done.completion_tokens);
  }
  hooks_.metrics->Finished(worst_, Seconds(arrival_, now), longest);
  FinishWhenWritten(FinalStatus());
  return true;
}

void Call::Observe(const TokenNews& news, Completion* completion, TimePoint now) {
  v1::GenerateComplete& whole = *completion->message.mutable_complete();
  whole.mutable_output_ids()->Add(news.token_ids.begin(), news.token_ids.end());
  whole.mutable_text()->append(news.text);
  if (!news.logprobs.empty()) {
    SetLogprobs(news.logprobs, whole.mutable_output_logprobs());
  }
  if (!news.prompt_logprobs.empty()) {
    SetLogprobs(news.prompt_logprobs, whole.mutable_input_logprobs());
  }
  const int32_t fresh = news.completion_tokens - completion->completion_tokens;
  if (news.first_token) {
    hooks_.metrics->FirstToken(Seconds(arrival_, now));
  } else if (fresh > 0) {
    hooks_.metrics->NextTokens(Seconds(completion->last_token, now));
  }
  if (fresh > 0) {
    hooks_.metrics->GeneratedTokens(fresh);
    completion->completion_tokens = news.completion_tokens;
    completion->last_token = now;
    output_tokens_ += fresh;
  }
  prompt_tokens_ = news.prompt_tokens;
}

v1::GenerateResponse Call::Chunk(TokenNews* news) {
  v1::GenerateResponse message;
  v1::GenerateStreamChunk& chunk = *message.mutable_chunk();
  chunk.mutable_token_ids()->Assign(news->token_ids.begin(), news->token_ids.end());
  chunk.set_text(std::move(news->text));
  chunk.set_prompt_tokens(news->prompt_tokens);
  chunk.set_completion_tokens(news->completion_tokens);
  chunk.set_index(news->index);
  if (!news->logprobs.empty()) {
    SetLogprobs(news->logprobs, chunk.mutable_output_logprobs());
  }
  if (!news->prompt_logprobs.empty()) {
    SetLogprobs(news->prompt_logprobs, chunk.mutable_input_logprobs());
  }
  return message;
}

v1::GenerateResponse Call::Complete(const TokenNews& last, v1::GenerateResponse message,
                                    TimePoint now) const {
  const Ending& ending = *last.ending;
  v1::GenerateComplete& whole = *message.mutable_complete();
  whole.set_finish_reason(FinishReasonName(ending.reason));
  whole.set_prompt_tokens(last.prompt_tokens);
  whole.set_completion_tokens(last.completion_tokens);
  whole.set_index(last.index);
  whole.set_request_id(id_);
  if (const int32_t* id = std::get_if<int32_t>(&ending.matched_stop)) {
    whole.set_matched_token_id(*id);
  } else if (const std::string* text = std::get_if<std::string>(&ending.matched_stop)) {
    whole.set_matched_stop_str(*text);
  }
  whole.mutable_usage()->set_prompt_tokens(last.prompt_tokens);
  whole.mutable_usage()->set_completion_tokens(last.completion_tokens);
  whole.mutable_usage()->set_total_tokens(last.prompt_tokens + last.completion_tokens);
  v1::Timings& timings = *whole.mutable_timings();
  timings.set_queue_seconds(ending.timings.queue_seconds);
  timings.set_prefill_seconds(ending.timings.prefill_seconds);
  timings.set_decode_seconds(ending.timings.decode_seconds);
  timings.set_total_seconds(Seconds(arrival_, now));
  timings.set_preemptions(ending.timings.preemptions);
  SetReport(ending, whole.mutable_attention());
  return message;
}

grpc::Status Call::FinalStatus() const {
  switch (worst_) {
    case FinishReason::kError:
      return ToGrpc(error_);
    case FinishReason::kDeadline:
      return {grpc::StatusCode::DEADLINE_EXCEEDED, "the call's deadline passed"};
    case FinishReason::kAbort:
      return aborted_;
    default:
      return grpc::Status::OK;
  }
}

void Call::EndAbortedWith(const grpc::Status& status) {
  const std::lock_guard lock(mutex_);
  if (!too_slow_) {
    aborted_ = status;
  }
}

void Call::ResetIfStuck(TimePoint since) {
  {
    const std::lock_guard lock(mutex_);
    if (!writing_ || write_began_ >= since || std::exchange(reset_, true)) {
      return;
    }
    EndTooSlow("undelivered_timeout_seconds passed");
  }
  hooks_.reset();
}

void Call::Enqueue(v1::GenerateResponse message, int64_t chunk_bytes) {
  if (broken_) {
    return;
  }
  queue_.push_back({std::move(message), chunk_bytes});
  waiting_chunk_bytes_ += chunk_bytes;
  WriteNext();
}

// Where chunks wait, more are made as long as the client does not read. One alone goes out whatever
// its size, and whole answers wait for their reader: nothing comes after them.
void Call::EnqueueChunk(v1::GenerateResponse message) {
  const auto bytes = static_cast<int64_t>(message.ByteSizeLong());
  Enqueue(std::move(message), bytes);
  if (!broken_ && waiting_chunk_bytes_ > hooks_.max_undelivered_bytes) {
    EndTooSlow("max_undelivered_bytes reached");
    broken_ = true;
    queue_.resize(writing_ ? 1 : 0);
    hooks_.cancel(key_);
  }
}

void Call::EndTooSlow(const char* limit) {
  too_slow_ = true;
  aborted_ = {grpc::StatusCode::RESOURCE_EXHAUSTED,
              absl::StrCat("the client reads too slowly: ", limit)};
  if (finish_ready_) {
    final_status_ = aborted_;
  }
}

void Call::WriteNext() {
  if (writing_ || finished_) {
    return;
  }
  if (!queue_.empty()) {
    writing_ = true;
    write_began_ = Clock::now();
    waiting_chunk_bytes_ -= queue_.front().chunk_bytes;
    StartWrite(&queue_.front().message);
  } else if (finish_ready_) {
    finished_ = true;
    Finish(final_status_);
  }
}

void Call::FinishWhenWritten(const grpc::Status& status) {
  final_status_ = status;
  finish_ready_ = true;
  WriteNext();
}

void Call::OnWriteDone(bool ok) {
  const std::lock_guard lock(mutex_);
  writing_ = false;
  queue_.pop_front();
  if (!ok) {  // the client is gone; OnCancel ends its sequences
    broken_ = true;
    queue_.clear();
  }
  WriteNext();
}

void Call::OnCancel() {
  TakeOver(this);
  uint64_t key = 0;
  {
    const std::lock_guard lock(mutex_);
    broken_ = true;
    queue_.resize(writing_ ? 1 : 0);
    key = key_;
  }
  if (key != 0) {
    hooks_.cancel(key);
  }
}

void Call::OnDone() {
  hooks_.forget(*this);
  Log(LogLevel::kInfo, "call",
      {{"method", method_},
       {"request_id", id_},
       {"code", static_cast<int>(final_status_.error_code())},
       {"reason", FinishReasonName(worst_)},
       {"prompt_tokens", prompt_tokens_},
       {"output_tokens", output_tokens_},
       {"seconds", Seconds(arrival_, Clock::now())}});
  delete this;
}

}  // namespace alcca
