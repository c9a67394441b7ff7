#include "engine/sequence.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace alcca {
namespace {

bool Contains(std::span<const int32_t> ids, int32_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

}  // namespace

Sequence::Sequence(Request request, int32_t index, const Tokenizer* tokenizer, KvPagePool* pool)
    : request_(std::move(request)),
      index_(index),
      prompt_size_(static_cast<int32_t>(request_.prompt.size())),
      tokens_(std::move(request_.prompt)),
      pages_(pool),
      stop_matcher_(request_.sampling.stop, request_.sampling.include_stop_str_in_output) {
  // Log-probabilities of a prompt need its logits, which no page holds.
  if (!request_.bypass_prefix_cache && !wants_prompt_logprobs()) {
    domain_ = PrefixDomain(request_.attention, request_.cache_salt);
  }
  if (tokenizer != nullptr) {
    text_ = tokenizer->NewText(tokens_, request_.sampling.skip_special_tokens);
  }
  if (request_.constraint != nullptr) {
    matcher_ = std::make_unique<Matcher>(request_.constraint,
                                         tokenizer != nullptr && tokenizer->BeginsText(tokens_));
  }
}

void Sequence::FindPages(const PrefixCache& cache) {
  ALCCA_CHECK(state_ == nullptr);
  if (shares() && fork_tokens() == 0) {
    known_ = cache.Find(domain_, tokens().first(tokens_.size() - 1), &pages_);
  }
}

void Sequence::ShareFork(std::span<const int32_t> pages, int32_t tokens) {
  ALCCA_CHECK(state_ == nullptr && fork_tokens() > 0 && tokens < length());
  pages_.Share(pages);
  known_.tokens = tokens;
}

void Sequence::ShareComputed(PrefixCache* cache) {
  // What a state that fell back was answered by is not the domain's attention.
  if (shares() && fork_tokens() == 0 && !state_->fell_back()) {
    cache->Add(domain_, tokens_, computed_, pages_, &known_);
  }
}

void Sequence::Start(std::unique_ptr<AttentionState> state, TimePoint now) {
  ALCCA_CHECK(state != nullptr && state_ == nullptr && computed_ == 0);
  state_ = std::move(state);
  computed_ = known_.tokens;
  step_counters_ = {};
  prefill_end_ = length();
  // Never again while it runs: the step must not allocate.
  tokens_.reserve(size_t(prompt_size_) + request_.sampling.max_tokens);
  if (!started_) {
    started_ = now;
    cached_tokens_ = computed_;
    if (wants_prompt_logprobs()) {
      prompt_logprobs_.reserve(prompt_size_);
      prompt_logprobs_.emplace_back().token = tokens_[0];
      prompt_logprobs_done_ = 1;
    }
  }
}

std::unique_ptr<AttentionState> Sequence::ReleaseState() {
  if (state_ != nullptr) {
    index_build_seconds_ += state_->build_seconds();
    fell_back_ |= state_->fell_back();
    index_bytes_max_ = std::max(index_bytes_max_, index_bytes());
  }
  return std::move(state_);
}

void Sequence::Release() {
  ReleaseState();
  pages_.Release();
  known_ = {};
  computed_ = 0;
  prefill_end_ = 0;
}

void Sequence::Preempt() {
  Release();
  ++preemptions_;
}

AttentionCounters Sequence::Advance(const PlannedSequence& planned,
                                    std::vector<TokenLogprob> prompt_logprobs) {
  computed_ += planned.query_count;
  const AttentionCounters spent = std::exchange(step_counters_, {});
  counters_[static_cast<size_t>(planned.phase)] += spent;
  prompt_logprobs_done_ += prompt_logprobs.size();
  std::move(prompt_logprobs.begin(), prompt_logprobs.end(), std::back_inserter(prompt_logprobs_));
  return spent;
}

TokenNews Sequence::MakeNews() const {
  TokenNews news;
  news.key = request_.key;
  news.index = index_;
  news.prompt_tokens = prompt_size_;
  news.cached_tokens = cached_tokens_;
  news.completion_tokens = length() - prompt_size_;
  return news;
}

absl::Status Sequence::Allow(std::span<uint32_t> words, std::span<const int32_t> eos_token_ids) {
  RETURN_IF_ERROR(matcher_->Mask(words));
  const SamplingParams& params = request_.sampling;
  const auto has = [words](int32_t id) { return (words[id / 32] >> (id % 32) & 1) != 0; };
  const auto flip = [words](int32_t id) { words[id / 32] ^= uint32_t{1} << (id % 32); };
  const auto nothing = [words] {
    return std::all_of(words.begin(), words.end(), [](uint32_t word) { return word == 0; });
  };
  if (matcher_->MayEnd()) {
    for (const int32_t id : params.stop_token_ids) {
      if (matcher_->trie().bytes(id).empty() && !has(id)) {
        flip(id);
      }
    }
  }
  if (nothing()) {
    return absl::ResourceExhaustedError(
        "the constraint allows no token of the vocabulary here: it is nested too deep, or the "
        "vocabulary cannot write what must follow");
  }
  absl::InlinedVector<int32_t, 8> unwanted;
  const auto forbid = [&](std::span<const int32_t> ids) {
    for (const int32_t id : ids) {
      if (has(id)) {
        flip(id);
        unwanted.push_back(id);
      }
    }
  };
  if (params.ignore_eos || before_min_tokens()) {
    forbid(eos_token_ids);
  }
  if (before_min_tokens()) {
    forbid(params.stop_token_ids);
  }
  if (!unwanted.empty() && nothing()) {
    std::for_each(unwanted.begin(), unwanted.end(), flip);
  }
  return absl::OkStatus();
}

// The token is one that Allow allowed.
FinishReason Sequence::Constrain(int32_t token) {
  constraint_error_ = matcher_->Accept(token);
  if (absl::IsInvalidArgument(constraint_error_)) {
    constraint_error_ = absl::InternalError(constraint_error_.message());
  }
  return constraint_error_.ok() ? FinishReason::kNone : FinishReason::kError;
}

FinishReason Sequence::Accept(TokenLogprob choice, std::span<const int32_t> eos_token_ids,
                              TimePoint now, TokenNews* news) {
  const SamplingParams& params = request_.sampling;
  if (!first_token_) {
    first_token_ = last_token_ = now;
    news->first_token = true;
    news->prompt_logprobs = std::exchange(prompt_logprobs_, {});
  }
  // Under a constraint nothing can follow an end token, so ignore_eos does not ignore it.
  if ((!params.ignore_eos || constrained()) && Contains(eos_token_ids, choice.token)) {
    return FinishReason::kStop;
  }
  if (Contains(params.stop_token_ids, choice.token)) {
    matched_stop_ = choice.token;
    return FinishReason::kStop;
  }
  if (constrained() && Constrain(choice.token) != FinishReason::kNone) {
    return FinishReason::kError;
  }
  last_token_ = now;  // not of one that ends the text: it is in no count of tokens
  const FinishReason reason = Append(std::move(choice), news);
  // Nothing can follow: an end token need not be waited for.
  return constrained() && matcher_->MustEnd() ? FinishReason::kStop : reason;
}

FinishReason Sequence::Append(TokenLogprob choice, TokenNews* news) {
  const SamplingParams& params = request_.sampling;
  const int32_t token = choice.token;
  tokens_.push_back(token);
  news->token_ids.push_back(token);
  news->completion_tokens = length() - prompt_size_;
  if (params.logprobs >= 0) {
    news->logprobs.push_back(std::move(choice));
  }
  const FinishReason reason =
      text_ != nullptr ? PushText(text_->Push(token), news) : FinishReason::kNone;
  if (reason == FinishReason::kNone && news->completion_tokens >= params.max_tokens) {
    return FinishReason::kLength;
  }
  return reason;
}

FinishReason Sequence::PushText(const std::string& text, TokenNews* news) {
  const bool may_match = length() - prompt_size_ >= request_.sampling.min_tokens;
  if (!stop_matcher_.Push(text, may_match, &news->text)) {
    return FinishReason::kNone;
  }
  matched_stop_ = request_.sampling.stop[stop_matcher_.matched()];
  return FinishReason::kStop;
}

void Sequence::Finish(FinishReason reason, absl::Status error, TimePoint now, TokenNews* news) {
  ALCCA_CHECK(reason != FinishReason::kNone && (reason == FinishReason::kError) == !error.ok());
  if (stop_matcher_.matched() < 0) {
    // Bytes that never became a character, then what was held back as a possible stop string.
    if (text_ != nullptr && PushText(text_->Flush(), news) == FinishReason::kStop &&
        reason == FinishReason::kLength) {
      reason = FinishReason::kStop;
    }
    news->text += stop_matcher_.Flush();
  }
  Release();
  news->ending = std::make_unique<Ending>();
  Ending& ending = *news->ending;
  ending.reason = reason;
  ending.error = std::move(error);
  if (reason == FinishReason::kStop) {
    ending.matched_stop = std::move(matched_stop_);
  }
  ending.counters = counters_;
  ending.index_bytes = index_bytes_max_;
  ending.fell_back = fell_back_;
  ending.attention = request_.attention;
  Timings& t = ending.timings;
  t.queue_seconds = Seconds(request_.arrival, started_.value_or(now));
  if (started_) {
    t.prefill_seconds = Seconds(*started_, first_token_.value_or(now));
  }
  if (first_token_) {
    t.decode_seconds = Seconds(*first_token_, last_token_);
  }
  t.index_build_seconds = index_build_seconds_;
  t.preemptions = preemptions_;
}

}  // namespace alcca
