#include "engine/scheduler.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace alcca {
namespace {

// How long before its deadline a cancelled call counts as ended by it. Clients send their time
// rounded up, to a hundredth at most.
Clock::duration DeadlineLead(const Request& request) {
  const Clock::duration time =
      request.deadline ? *request.deadline - request.arrival : Clock::duration::zero();
  return std::max<Clock::duration>(std::chrono::milliseconds(50), time / 100);
}

absl::Status CheckPositive(const char* name, int64_t value) {
  return value > 0 ? absl::OkStatus()
                   : absl::InvalidArgumentError(absl::StrCat(name, " is ", value, ", must be > 0"));
}

bool DeadlineBy(const Sequence& sequence, TimePoint time) {
  const std::optional<TimePoint>& deadline = sequence.request().deadline;
  return deadline && *deadline <= time;
}

EngineOptions Resolve(EngineOptions options) {
  if (options.max_logit_rows == 0) {
    options.max_logit_rows = options.max_batch_tokens;
  }
  return options;
}

}  // namespace

absl::Status ValidateEngineOptions(const EngineOptions& unresolved) {
  const EngineOptions o = Resolve(unresolved);
  RETURN_IF_ERROR(CheckPositive("max_num_seqs", o.max_num_seqs));
  RETURN_IF_ERROR(CheckPositive("max_batch_tokens", o.max_batch_tokens));
  RETURN_IF_ERROR(CheckPositive("max_prefill_chunk", o.max_prefill_chunk));
  RETURN_IF_ERROR(CheckPositive("max_queued_requests", o.max_queued_requests));
  RETURN_IF_ERROR(CheckPositive("max_queued_tokens", o.max_queued_tokens));
  RETURN_IF_ERROR(CheckPositive("max_context", o.max_context));
  if (o.max_num_seqs > o.max_batch_tokens || o.max_num_seqs > o.max_logit_rows) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_num_seqs is ", o.max_num_seqs, ", must be <= max_batch_tokens (",
                     o.max_batch_tokens, ") and max_logit_rows (", o.max_logit_rows, ")"));
  }
  return absl::OkStatus();
}

Scheduler::Scheduler(const EngineOptions& options, const KvShape& kv_shape,
                     const Tokenizer* tokenizer, AttentionStates* states)
    : options_(Resolve(options)),
      tokenizer_(tokenizer),
      states_(states),
      pool_(kv_shape.pages, kv_shape.page_tokens),
      prefix_cache_(&pool_),
      kept_states_(&pool_) {
  ALCCA_CHECK(ValidateEngineOptions(options_).ok());
  pool_.KeepIdle(std::clamp(options_.max_idle_pages, 0, pool_.total()));
  running_.reserve(options_.max_num_seqs);
  plan_.sequences.reserve(options_.max_num_seqs);
  plan_.batch.sequences.reserve(options_.max_num_seqs);
  plan_.batch.token_ids.reserve(options_.max_batch_tokens);
  plan_.batch.positions.reserve(options_.max_batch_tokens);
  plan_.batch.logit_rows.reserve(options_.max_logit_rows);
}

absl::Status Scheduler::CheckFits(const Request& request) const {
  const int64_t prompt = static_cast<int64_t>(request.prompt.size());
  const int64_t needed = prompt + request.sampling.max_tokens;
  const int64_t pool = int64_t{pool_.total()} * pool_.page_tokens();
  if (needed > options_.max_context || needed > pool) {
    return absl::InvalidArgumentError(absl::StrCat(
        "prompt of ", prompt, " tokens + max_tokens ", request.sampling.max_tokens, " = ", needed,
        " exceeds ", needed > options_.max_context ? "the context" : "the KV cache", " of ",
        needed > options_.max_context ? options_.max_context : pool, " tokens"));
  }
  return absl::OkStatus();
}

void Scheduler::Admit(std::vector<Request> requests) {
  for (Request& request : requests) {
    const int32_t n = request.sampling.n;
    for (int32_t i = 0; i + 1 < n; ++i) {
      waiting_.push_back(std::make_unique<Sequence>(request, i, tokenizer_, &pool_));
    }
    waiting_.push_back(std::make_unique<Sequence>(std::move(request), n - 1, tokenizer_, &pool_));
  }
}

void Scheduler::End(std::unique_ptr<Sequence> sequence, FinishReason reason, absl::Status error) {
  KeepState(*sequence);
  sequence->Release();
  ended_.push_back({std::move(sequence), reason, std::move(error)});
}

void Scheduler::EndWhere(FinishReason reason,
                         const std::function<bool(const Sequence&)>& predicate) {
  const auto end_in = [&](auto& sequences) {
    for (std::unique_ptr<Sequence>& sequence : sequences) {
      if (predicate(*sequence)) {
        End(std::move(sequence), reason);
      }
    }
    std::erase(sequences, nullptr);
  };
  end_in(running_);
  end_in(waiting_);
}

void Scheduler::Cancel(std::vector<uint64_t> keys, TimePoint now) {
  if (keys.empty()) {
    return;
  }
  std::sort(keys.begin(), keys.end());
  const auto cancelled = [&](const Sequence& sequence) {
    return std::binary_search(keys.begin(), keys.end(), sequence.key());
  };
  EndWhere(FinishReason::kDeadline, [&](const Sequence& sequence) {
    return DeadlineBy(sequence, now + DeadlineLead(sequence.request())) && cancelled(sequence);
  });
  EndWhere(FinishReason::kAbort, cancelled);
}

void Scheduler::CancelAll() {
  EndWhere(FinishReason::kAbort, [](const Sequence&) { return true; });
}

const Plan& Scheduler::MakePlan(TimePoint now) {
  plan_.Clear();
  EndWhere(FinishReason::kDeadline,
           [now](const Sequence& sequence) { return DeadlineBy(sequence, now); });
  PlanDecodes();
  PlanPrefills();
  if (plan_.preemptions == 0) {
    PlanAdmissions(now);
  }
  ALCCA_CHECK(plan_.batch.tokens() > 0 || (running_.empty() && waiting_.empty()));
  return plan_;
}

// Oldest first, so that a victim, the youngest, has not been planned yet.
void Scheduler::PlanDecodes() {
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& sequence = *running_[i];
    if (sequence.prefilling()) {
      continue;
    }
    bool preempted_itself = false;
    while (!preempted_itself && !sequence.pages().Grow(sequence.length())) {
      preempted_itself = running_.back().get() == &sequence;
      PreemptYoungest();
    }
    if (!preempted_itself) {
      AddRows(sequence, 1);
    }
  }
}

void Scheduler::PreemptYoungest() {
  ALCCA_CHECK(running_.size() > 1);  // the oldest alone fits: CheckFits
  std::unique_ptr<Sequence> youngest = std::move(running_.back());
  running_.pop_back();
  KeepState(*youngest);
  youngest->Preempt();
  waiting_.push_front(std::move(youngest));
  ++plan_.preemptions;
}

void Scheduler::PlanPrefills() {
  for (const std::unique_ptr<Sequence>& sequence : running_) {
    if (sequence->prefilling()) {
      PlanPrefill(*sequence);
    }
  }
}

// First come, first served: a head that does not fit yet, or for which another one is computing
// right now, is not overtaken. Its pages are taken whole, with the next token's; beside others, one
// more page for each of them, so that it is not preempted right away.
void Scheduler::PlanAdmissions(TimePoint now) {
  while (!waiting_.empty() && running() < options_.max_num_seqs &&
         plan_.batch.tokens() < options_.max_batch_tokens) {
    Sequence& head = *waiting_.front();
    KvPages donor(&pool_);
    const ForkSource fork = FindBeginning(head, &donor);
    if (!Fits(head) || IsBeingComputedFor(head)) {
      head.Release();
      return;
    }
    const absl::Status started = Start(head, fork, now);
    if (!started.ok() && fork.state != nullptr) {  // no memory for a fork: it computes all itself
      head.Release();
      head.StopSharing();
      continue;
    }
    std::unique_ptr<Sequence> sequence = std::move(waiting_.front());
    waiting_.pop_front();
    if (!started.ok()) {
      End(std::move(sequence), FinishReason::kError, started);
      continue;
    }
    if (options_.prefix_cache && sequence->shares()) {
      plan_.prefix_asked_tokens += sequence->length();
      plan_.prefix_found_tokens += sequence->known_tokens();
    }
    running_.push_back(std::move(sequence));
    PlanPrefill(*running_.back());
  }
}

bool Scheduler::Fits(Sequence& head) const {
  return pool_.free() >= pool_.PagesFor(head.length() + 1) - head.pages().size() + running();
}

ForkSource Scheduler::FindBeginning(Sequence& head, KvPages* donor) {
  if (!options_.prefix_cache) {
    return {};
  }
  head.FindPages(prefix_cache_);
  const ForkSource fork = FindFork(head);
  if (fork.state == nullptr) {
    return {};
  }
  const int32_t final_tokens =
      states_->FinalTokens(*fork.state, head.request().attention, fork.tokens);
  donor->Share(fork.pages);  // they must not be taken while it copies from them
  head.ShareFork(fork.pages.first(final_tokens / pool_.page_tokens()), fork.tokens);
  if (!Fits(head)) {  // perhaps without them
    donor->Release();
    head.Release();
    return {};
  }
  return fork;
}

ForkSource Scheduler::FindFork(const Sequence& head) const {
  const int32_t unit = head.fork_tokens();
  if (unit == 0 || !head.shares() || !states_->forks()) {
    return {};
  }
  const auto tokens = head.tokens().first(head.tokens().size() - 1);
  ForkSource best = kept_states_.Find(head.domain(), tokens, unit);
  for (const auto& other : running_) {
    if (other->domain() == head.domain() && !other->state()->fell_back()) {
      const int32_t common = CommonTokens(other->tokens().first(other->computed()), tokens, unit);
      if (common > best.tokens) {
        best = {other->state(), other->pages().ids(), common};
      }
    }
  }
  return best;
}

absl::Status Scheduler::Start(Sequence& sequence, const ForkSource& fork, TimePoint now) {
  ALCCA_CHECK(sequence.pages().Grow(sequence.length()));
  AttentionCounters counters;
  absl::StatusOr<std::unique_ptr<AttentionState>> state =
      fork.state == nullptr
          ? states_->MakeAttentionState(sequence.request().attention)
          : states_->ForkAttentionState({.attention = &sequence.request().attention,
                                         .from = fork.state,
                                         .tokens = fork.tokens,
                                         .from_pages = fork.pages.data(),
                                         .pages = sequence.pages().data(),
                                         .counters = &counters});
  RETURN_IF_ERROR(state.status());
  sequence.Start(*std::move(state), now);
  *sequence.step_counters() += counters;
  return absl::OkStatus();
}

void Scheduler::KeepState(Sequence& sequence) {
  const AttentionState* state = sequence.state();
  if (options_.prefix_cache && options_.max_idle_pages > 0 && sequence.shares() &&
      sequence.fork_tokens() > 0 && state != nullptr && states_->forks() && !state->fell_back() &&
      sequence.computed() >= sequence.fork_tokens()) {
    const int32_t computed = sequence.computed();
    const auto pages = sequence.pages().ids().first(static_cast<size_t>(pool_.PagesFor(computed)));
    kept_states_.Keep(sequence.domain(), sequence.tokens().first(computed), pages,
                      sequence.ReleaseState());
  }
}

bool Scheduler::IsBeingComputedFor(const Sequence& head) const {
  const int32_t fork_tokens = head.fork_tokens();
  if (!options_.prefix_cache || !head.shares() || (fork_tokens > 0 && !states_->forks())) {
    return false;
  }
  // At least one page or fork more than it would find now.
  const auto wanted = static_cast<size_t>(head.known_tokens() +
                                          (fork_tokens > 0 ? fork_tokens : pool_.page_tokens()));
  const std::span<const int32_t> tokens = head.tokens();
  return tokens.size() > wanted &&
         std::any_of(running_.begin(), running_.end(), [&](const auto& running) {
           const std::span<const int32_t> other = running->tokens();
           return running->prefilling() && running->domain() == head.domain() &&
                  other.size() >= wanted &&
                  std::equal(other.begin(), other.begin() + wanted, tokens.begin());
         });
}

// As large a chunk as the limits leave; none at all is fine, the next step goes on.
void Scheduler::PlanPrefill(Sequence& sequence) {
  const Batch& batch = plan_.batch;
  const int32_t logits_left =
      options_.max_logit_rows - static_cast<int32_t>(batch.logit_rows.size());
  int32_t count = std::min({sequence.length() - sequence.computed(), options_.max_prefill_chunk,
                            options_.max_batch_tokens - batch.tokens()});
  const bool logits_of_all = sequence.wants_prompt_logprobs() &&
                             int32_t(sequence.prompt_logprobs_done()) < sequence.prompt_size();
  if (logits_of_all || logits_left == 0) {
    count = std::min(count, logits_left);
  }
  if (count > 0) {
    AddRows(sequence, count);
  }
}

void Scheduler::AddRows(Sequence& sequence, int32_t count) {
  Batch& batch = plan_.batch;
  const int32_t begin = sequence.computed(), end = begin + count, row = batch.tokens();
  PlannedSequence& planned = plan_.sequences.emplace_back();
  planned.sequence = &sequence;
  planned.query_count = count;
  planned.phase = sequence.prefilling() ? Phase::kPrefill : Phase::kDecode;
  planned.logit_start = static_cast<int32_t>(batch.logit_rows.size());
  planned.samples = end == sequence.length();
  batch.Append(sequence.tokens().subspan(begin, count), begin, sequence.pages().data(),
               &sequence.request().attention, sequence.state(), sequence.step_counters());
  for (int32_t position = begin; position < end; ++position) {
    // The logits of a position are about the token after it.
    const int32_t next = position + 1;
    const bool prompt_logit = sequence.wants_prompt_logprobs() && next < sequence.prompt_size() &&
                              next >= static_cast<int32_t>(sequence.prompt_logprobs_done());
    planned.prompt_logits += prompt_logit ? 1 : 0;
    if (prompt_logit || next == sequence.length()) {
      batch.logit_rows.push_back(row + position - begin);
    }
  }
}

Scheduler::Outcome Scheduler::Commit(const Plan& plan, std::span<StepAnswer> answers,
                                     TimePoint now) {
  ALCCA_CHECK(answers.size() == plan.sequences.size());
  Outcome outcome;
  outcome.news.reserve(ended_.size() + plan.sequences.size());
  for (Ended& ended : ended_) {
    TokenNews news = ended.sequence->MakeNews();
    ended.sequence->Finish(ended.reason, std::move(ended.error), now, &news);
    outcome.news.push_back(std::move(news));
  }
  ended_.clear();
  for (size_t i = 0; i < answers.size(); ++i) {
    Apply(plan.sequences[i], std::move(answers[i]), now, &outcome);
  }
  // Whatever has ended has released its state.
  std::erase_if(running_, [](const auto& sequence) { return sequence->state() == nullptr; });
  outcome.stats.batch_tokens = plan.batch.tokens();
  outcome.stats.preemptions = plan.preemptions;
  outcome.stats.prefix_asked_tokens = plan.prefix_asked_tokens;
  outcome.stats.prefix_found_tokens = plan.prefix_found_tokens;
  const int64_t forgotten = prefix_cache_.forgotten() + kept_states_.forgotten();
  outcome.stats.prefix_forgotten_pages =
      static_cast<int32_t>(forgotten - std::exchange(forgotten_, forgotten));
  SetGauges(&outcome.stats);
  return outcome;
}

void Scheduler::Apply(const PlannedSequence& planned, StepAnswer answer, TimePoint now,
                      Outcome* outcome) {
  Sequence& sequence = *planned.sequence;
  const auto mode = static_cast<size_t>(sequence.request().attention.mode);
  outcome->stats.counters[mode][static_cast<size_t>(planned.phase)] +=
      sequence.Advance(planned, std::move(answer.prompt_logprobs));
  if (options_.prefix_cache) {
    sequence.ShareComputed(&prefix_cache_);
  }
  if (!planned.samples && !answer.failed) {
    return;
  }
  TokenNews& news = outcome->news.emplace_back(sequence.MakeNews());
  FinishReason reason = FinishReason::kError;
  absl::Status error;
  if (!answer.error.ok()) {
    error = std::move(answer.error);
  } else if (answer.failed) {
    error = absl::InternalError("the model's logits are not finite, or every token is masked");
  } else {
    reason = sequence.Accept(std::move(answer.choice), options_.eos_token_ids, now, &news);
    error = sequence.constraint_error();
    outcome->stats.generated_tokens += static_cast<int32_t>(news.token_ids.size());
  }
  if (reason != FinishReason::kNone) {
    if (!answer.failed) {
      KeepState(sequence);
    }
    sequence.Finish(reason, std::move(error), now, &news);
  }
}

StepStats Scheduler::Stats() const {
  StepStats stats;
  SetGauges(&stats);
  return stats;
}

void Scheduler::SetGauges(StepStats* stats) const {
  stats->running = running();
  stats->waiting = waiting();
  for (const std::unique_ptr<Sequence>& sequence : waiting_) {
    stats->waiting_tokens += sequence->prompt_size();
  }
  stats->kv_pages_used = pool_.used();
  stats->kv_pages_idle = pool_.idle();
  stats->kv_pages_total = pool_.total();
  for (const std::unique_ptr<Sequence>& sequence : running_) {
    stats->index_bytes += sequence->index_bytes();
  }
  stats->index_bytes += static_cast<int64_t>(kept_states_.bytes());
}

}  // namespace alcca
