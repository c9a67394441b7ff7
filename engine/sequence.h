#pragma once

// One completion on its way: its tokens, its pages and attention state, its text and its costs.
// Everything it owns dies with it. Only the engine thread touches it, through the scheduler.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/constraint/matcher.h"
#include "engine/event.h"
#include "engine/kv_pages.h"
#include "engine/plan.h"
#include "engine/prefix_cache.h"
#include "engine/request.h"
#include "engine/text/stop_strings.h"
#include "engine/text/tokenizer.h"
#include "kernels/backend.h"

namespace alcca {

class Sequence {
 public:
  // `tokenizer` (null: news carry no text) and `pool` outlive this.
  Sequence(Request request, int32_t index, const Tokenizer* tokenizer, KvPagePool* pool);
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;

  const Request& request() const { return request_; }  // its prompt has moved to tokens()
  uint64_t key() const { return request_.key; }
  int32_t index() const { return index_; }
  std::span<const int32_t> tokens() const { return tokens_; }  // prompt, then output
  std::span<const int32_t> prompt() const { return tokens().first(prompt_size_); }
  std::span<const int32_t> output() const { return tokens().subspan(prompt_size_); }
  int32_t prompt_size() const { return prompt_size_; }
  int32_t length() const { return static_cast<int32_t>(tokens_.size()); }

  // --- Planning --------------------------------------------------------------------------------
  int32_t computed() const { return computed_; }  // tokens in the KV cache
  // Between Start and the step that computes the last token known at Start.
  bool prefilling() const { return computed_ < prefill_end_; }
  KvPages& pages() { return pages_; }
  AttentionState* state() const { return state_.get(); }
  // Zeroed by Start and after every step: this step's share.
  AttentionCounters* step_counters() { return &step_counters_; }
  bool wants_prompt_logprobs() const {
    return index_ == 0 && request_.sampling.prompt_logprobs >= 0;
  }
  // Prompt tokens whose log-probabilities are known; survives a preemption.
  size_t prompt_logprobs_done() const { return prompt_logprobs_done_; }

  // Whether it may begin with what others have computed.
  bool shares() const { return !domain_.empty(); }
  void StopSharing() { domain_.clear(); }
  const std::string& domain() const { return domain_; }
  // 0: by pages; else by forks, at multiples of so many tokens.
  int32_t fork_tokens() const { return TraitsOf(request_.attention.mode).fork_tokens; }
  // By pages: takes those of the longest known beginning; at least one token is left to compute.
  void FindPages(const PrefixCache& cache);
  // By forks: begins with `tokens` tokens of another one, of which `pages` are taken.
  void ShareFork(std::span<const int32_t> pages, int32_t tokens);
  // What FindPages found or ShareFork took.
  int32_t known_tokens() const { return known_.tokens; }
  // Makes whole pages known as they are computed.
  void ShareComputed(PrefixCache* cache);

  void Start(std::unique_ptr<AttentionState> state, TimePoint now);
  // Gives back pages and attention state; what was computed is lost, the tokens are not.
  void Release();
  // The state alone, for KeptStates. Nothing may be computed afterwards.
  std::unique_ptr<AttentionState> ReleaseState();
  void Preempt();

  // --- What may be drawn -----------------------------------------------------------------------
  // End tokens and stops are not to be found yet.
  bool before_min_tokens() const { return length() - prompt_size_ < request_.sampling.min_tokens; }
  // A constraint says which tokens may come next.
  bool constrained() const { return matcher_ != nullptr; }
  size_t mask_words() const { return matcher_->trie().mask_words(); }
  // Writes them, mask_words() of them. End tokens, and stop token ids without text, are among them
  // where the text may end, but for ignore_eos and min_tokens as long as anything else may come.
  // RESOURCE_EXHAUSTED: the constraint needs more than a step may, or allows no token at all.
  absl::Status Allow(std::span<uint32_t> words, std::span<const int32_t> eos_token_ids);

  // --- Applying a step -------------------------------------------------------------------------
  // `planned` rows are computed: takes their counters (returned) and prompt log-probabilities.
  AttentionCounters Advance(const PlannedSequence& planned,
                            std::vector<TokenLogprob> prompt_logprobs);
  // News of a step that has brought nothing yet.
  TokenNews MakeNews() const;
  // Takes `choice` as the next token and fills in `news`; not kNone: it was the last one. kError:
  // constraint_error() says why.
  FinishReason Accept(TokenLogprob choice, std::span<const int32_t> eos_token_ids, TimePoint now,
                      TokenNews* news);
  const absl::Status& constraint_error() const { return constraint_error_; }
  // Completes `news` as this sequence's last: its ending, and the text that was held back.
  void Finish(FinishReason reason, absl::Status error, TimePoint now, TokenNews* news);

  int64_t index_bytes() const { return state_ ? static_cast<int64_t>(state_->bytes()) : 0; }

 private:
  // Adds a token that is no end token, and its text.
  FinishReason Append(TokenLogprob choice, TokenNews* news);
  FinishReason Constrain(int32_t token);
  FinishReason PushText(const std::string& text, TokenNews* news);

  Request request_;
  const int32_t index_;
  const int32_t prompt_size_;
  std::vector<int32_t> tokens_;

  KvPages pages_;
  std::unique_ptr<AttentionState> state_;
  std::string domain_;         // empty: its pages are its own
  PrefixCache::Cursor known_;  // of its pages
  int32_t cached_tokens_ = 0;  // of the prompt, when it started first
  int32_t computed_ = 0;
  int32_t prefill_end_ = 0;

  std::unique_ptr<TextStream> text_;  // null: no text
  StopMatcher stop_matcher_;          // views request_.sampling.stop
  MatchedStop matched_stop_;
  std::unique_ptr<Matcher> matcher_;  // null: no constraint
  absl::Status constraint_error_;
  std::vector<TokenLogprob> prompt_logprobs_;
  size_t prompt_logprobs_done_ = 0;

  AttentionCounters step_counters_;
  PhaseCounters counters_{};
  int64_t index_bytes_max_ = 0;
  bool fell_back_ = false;
  double index_build_seconds_ = 0;  // of released states
  int32_t preemptions_ = 0;
  std::optional<TimePoint> started_;  // first Start
  std::optional<TimePoint> first_token_;
  TimePoint last_token_;
};

}  // namespace alcca
