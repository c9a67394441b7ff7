#include "server/api/answer.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "server/api/wire.h"

namespace alcca {
namespace {

// What a sequence says of one step. The text moves.
v1::GenerateResponse ChunkOf(TokenNews* news) {
  v1::GenerateResponse message;
  v1::GenerateStreamChunk& chunk = *message.mutable_chunk();
  chunk.mutable_token_ids()->Assign(news->token_ids.begin(), news->token_ids.end());
  chunk.set_text(std::move(news->text));
  chunk.set_prompt_tokens(news->prompt_tokens);
  chunk.set_completion_tokens(news->completion_tokens);
  chunk.set_cached_tokens(news->cached_tokens);
  chunk.set_index(news->index);
  if (!news->logprobs.empty()) {
    SetLogprobs(news->logprobs, chunk.mutable_output_logprobs());
  }
  if (!news->prompt_logprobs.empty()) {
    SetLogprobs(news->prompt_logprobs, chunk.mutable_input_logprobs());
  }
  return message;
}

}  // namespace

Answer::Answer(AnswerOptions options, Metrics* metrics)
    : options_(std::move(options)),
      metrics_(metrics),
      completions_(options_.n),
      unfinished_(options_.n),
      aborted_(absl::CancelledError("the request was cancelled")) {}

Answer::Next Answer::OnNews(TokenNews news, TimePoint now) {
  Observe(news, now);
  bool keeps_up = true;
  if (options_.stream &&
      (!news.token_ids.empty() || !news.text.empty() || !news.prompt_logprobs.empty())) {
    keeps_up = EnqueueChunk(ChunkOf(&news));
  }
  if (news.ending == nullptr) {
    return keeps_up ? Next::kGoOn : Next::kCancel;
  }
  CompleteSequence(news, now);
  if (unfinished_ > 0) {
    return keeps_up ? Next::kGoOn : Next::kCancel;
  }
  if (too_slow_) {
    worst_ = std::max(worst_, FinishReason::kAbort);  // also if the last chunk was one too many
  }
  int32_t longest = 0;
  for (const Completion& completion : completions_) {
    longest = std::max(longest, completion.tokens);
  }
  metrics_->Finished(worst_, Seconds(options_.arrival, now), longest);
  status_ = FinalStatus();
  ended_ = true;
  return Next::kEnded;
}

void Answer::Observe(const TokenNews& news, TimePoint now) {
  Completion& completion = completions_[news.index];
  v1::GenerateComplete& whole = *completion.message.mutable_complete();
  whole.mutable_output_ids()->Add(news.token_ids.begin(), news.token_ids.end());
  whole.mutable_text()->append(news.text);
  if (!news.logprobs.empty()) {
    SetLogprobs(news.logprobs, whole.mutable_output_logprobs());
  }
  if (!news.prompt_logprobs.empty()) {
    SetLogprobs(news.prompt_logprobs, whole.mutable_input_logprobs());
  }
  const int32_t fresh = news.completion_tokens - completion.tokens;
  if (news.first_token) {
    metrics_->FirstToken(Seconds(options_.arrival, now));
  } else if (fresh > 0) {
    metrics_->NextTokens(Seconds(completion.last_token, now));
  }
  if (fresh > 0) {
    metrics_->GeneratedTokens(fresh);
    completion.tokens = news.completion_tokens;
    completion.last_token = now;
    output_tokens_ += fresh;
  }
  prompt_tokens_ = news.prompt_tokens;
}

void Answer::CompleteSequence(const TokenNews& last, TimePoint now) {
  --unfinished_;
  const Ending& ending = *last.ending;
  metrics_->SequenceDone(last.prompt_tokens, last.completion_tokens, ending);
  if (ending.reason > worst_) {
    worst_ = ending.reason;
    error_ = ending.error;
  }
  if (ending.reason == FinishReason::kError || ending.reason == FinishReason::kDeadline) {
    return;  // the status says it
  }
  v1::GenerateResponse message = std::move(completions_[last.index].message);
  v1::GenerateComplete& whole = *message.mutable_complete();
  whole.set_finish_reason(FinishReasonName(ending.reason));
  whole.set_prompt_tokens(last.prompt_tokens);
  whole.set_completion_tokens(last.completion_tokens);
  whole.set_cached_tokens(last.cached_tokens);
  whole.set_index(last.index);
  whole.set_request_id(options_.id);
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
  timings.set_total_seconds(Seconds(options_.arrival, now));
  timings.set_preemptions(ending.timings.preemptions);
  SetReport(ending, whole.mutable_attention());
  Enqueue(std::move(message), 0);
}

void Answer::Refuse(absl::Status status) {
  status_ = std::move(status);
  ended_ = true;
}

absl::Status Answer::FinalStatus() const {
  switch (worst_) {
    case FinishReason::kError:
      return error_;
    case FinishReason::kDeadline:
      return absl::DeadlineExceededError("the call's deadline passed");
    case FinishReason::kAbort:
      return aborted_;
    default:
      return absl::OkStatus();
  }
}

void Answer::EndAbortedWith(absl::Status status) {
  if (!too_slow_) {
    aborted_ = std::move(status);
  }
}

void Answer::Disconnect() {
  disconnected_ = true;
  DropWaiting();
}

void Answer::DropWaiting() {
  queue_.resize(writing_ ? 1 : 0);
  waiting_chunk_bytes_ = 0;
}

bool Answer::GiveUpIfStuck(TimePoint since) {
  if (!writing_ || write_began_ >= since || std::exchange(gave_up_, true)) {
    return false;
  }
  EndTooSlow("undelivered_timeout_seconds passed");
  return true;
}

void Answer::Enqueue(v1::GenerateResponse message, int64_t chunk_bytes) {
  if (disconnected_) {
    return;
  }
  waiting_chunk_bytes_ += queue_.empty() ? 0 : chunk_bytes;
  queue_.push_back({std::move(message), chunk_bytes});
}

// Where chunks wait, more are made as long as the client does not read. One alone goes out whatever
// its size, and whole answers wait for their reader: nothing comes after them.
bool Answer::EnqueueChunk(v1::GenerateResponse message) {
  const auto bytes = static_cast<int64_t>(message.ByteSizeLong());
  Enqueue(std::move(message), bytes);
  if (disconnected_ || waiting_chunk_bytes_ <= options_.max_undelivered_bytes) {
    return true;
  }
  EndTooSlow("max_undelivered_bytes reached");
  Disconnect();
  return false;
}

void Answer::EndTooSlow(const char* limit) {
  too_slow_ = true;
  aborted_ = absl::ResourceExhaustedError(absl::StrCat("the client reads too slowly: ", limit));
  if (ended_) {
    status_ = aborted_;
  }
}

const v1::GenerateResponse* Answer::NextMessage(TimePoint now) {
  if (writing_ || queue_.empty()) {
    return nullptr;
  }
  writing_ = true;
  write_began_ = now;
  return &queue_.front().message;
}

void Answer::Written(bool ok) {
  writing_ = false;
  queue_.pop_front();
  if (!ok) {
    Disconnect();
  } else if (!queue_.empty()) {
    waiting_chunk_bytes_ -= queue_.front().chunk_bytes;
  }
}

bool Answer::Complete() {
  if (!ended_ || writing_ || !queue_.empty() || complete_) {
    return false;
  }
  complete_ = true;
  return true;
}

}  // namespace alcca
