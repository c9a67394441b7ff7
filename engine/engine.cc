#include "engine/engine.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace alcca {
namespace {

constexpr auto kHeartbeat = std::chrono::milliseconds(100);  // between idle turns of the loop

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(const EngineOptions& options,
                                                       std::unique_ptr<Model> model,
                                                       const Tokenizer* tokenizer,
                                                       EventSink* sink) {
  RETURN_IF_ERROR(ValidateEngineOptions(options));
  for (const int32_t id : options.eos_token_ids) {
    if (id < 0 || id >= model->vocab_size()) {
      return absl::InvalidArgumentError(absl::StrCat("eos_token_ids has ", id, ", outside the ",
                                                     model->vocab_size(), " ids of the model"));
    }
  }
  return std::unique_ptr<Engine>(new Engine(options, std::move(model), tokenizer, sink));
}

Engine::Engine(const EngineOptions& options, std::unique_ptr<Model> model,
               const Tokenizer* tokenizer, EventSink* sink)
    : options_(options),
      sink_(sink),
      model_(std::move(model)),
      scheduler_(options, model_->kv_shape(), tokenizer, model_.get()),
      sampler_(options.eos_token_ids,
               static_cast<size_t>(options.max_num_seqs) * MaskWords(model_->vocab_size())) {
  load_.kv_pages_total = model_->kv_shape().pages;
  load_.page_tokens = model_->kv_shape().page_tokens;
  load_.last_step = Clock::now();
  thread_ = std::thread([this] { Loop(); });
}

Engine::~Engine() {
  Stop();
}

void Engine::Loop() {
  pthread_setname_np(pthread_self(), "alcca-step");  // as debuggers and `top -H` show it
  while (AwaitWork()) {
    Step();
  }
  scheduler_.Admit(TakeInbox());
  scheduler_.CancelAll();
  Step();  // computes nothing; says how all of them ended
}

void Engine::Step() {
  Receive();
  const TimePoint began = Clock::now();
  const Plan& plan = scheduler_.MakePlan(began);
  const std::span<const SamplingRow> asked = Ask(plan);
  const std::span<StepAnswer> answers = Compute(plan, asked);
  Hold(scheduler_.Commit(plan, answers, Clock::now()), began);
}

// Cancels first: what they name was submitted before them, so it is in the inbox by now.
void Engine::Receive() {
  std::vector<uint64_t> cancels = TakeCancels();
  scheduler_.Admit(TakeInbox());
  scheduler_.Cancel(std::move(cancels), Clock::now());
}

bool Engine::AwaitWork() {
  std::unique_lock lock(mutex_);
  const auto awake = [this] { return stopping_ || !in_flight_.empty(); };
  if (!awake() && !idle_reported_) {
    idle_reported_ = true;
    lock.unlock();
    sink_->OnStep({}, scheduler_.Stats());
    lock.lock();
  }
  while (!awake()) {
    work_.wait_for(lock, kHeartbeat, awake);
    load_.last_step = Clock::now();
    load_.generation_tokens_per_second = rate_.PerSecond(load_.last_step);
  }
  return !stopping_;
}

std::vector<Request> Engine::TakeInbox() {
  const std::lock_guard lock(mutex_);
  return std::exchange(inbox_, {});
}

std::vector<uint64_t> Engine::TakeCancels() {
  const std::lock_guard lock(mutex_);
  return std::exchange(cancels_, {});
}

// Masks of constraints are nearly all of the time that this takes.
std::span<const SamplingRow> Engine::Ask(const Plan& plan) {
  const TimePoint began = Clock::now();
  const std::span<const SamplingRow> rows = sampler_.Rows(plan);
  mask_seconds_ = sampler_.constrained_rows() > 0 ? Seconds(began, Clock::now()) : 0;
  return rows;
}

std::span<StepAnswer> Engine::Compute(const Plan& plan, std::span<const SamplingRow> asked) {
  Publish(scheduler_.Stats());
  if (plan.batch.tokens() == 0) {
    Deliver();  // there is no device's time to use
    return {};
  }
  return sampler_.Answers(plan, model_->Forward(plan.batch, asked, [this] { Deliver(); }));
}

// The load is up to date before the news go out.
void Engine::Hold(Scheduler::Outcome outcome, TimePoint began) {
  ALCCA_CHECK(!held_.has_value());
  const TimePoint now = Clock::now();
  outcome.stats.step_seconds = Seconds(began, now);
  outcome.stats.constrained_rows = sampler_.constrained_rows();
  outcome.stats.mask_seconds = mask_seconds_;
  rate_.Add(outcome.stats.generated_tokens, now);
  idle_reported_ = false;
  Publish(outcome.stats);
  held_ = std::move(outcome);
  if (held_->stats.running + held_->stats.waiting == 0) {
    Deliver();  // no step may follow
  }
}

// A request is in flight until its last news are out.
void Engine::Deliver() {
  if (!held_.has_value()) {
    return;
  }
  Scheduler::Outcome outcome = *std::exchange(held_, std::nullopt);
  std::vector<uint64_t> finished;
  for (const TokenNews& news : outcome.news) {
    if (news.ending != nullptr) {
      finished.push_back(news.key);
    }
  }
  sink_->OnStep(std::move(outcome.news), outcome.stats);
  const std::lock_guard lock(mutex_);
  for (const uint64_t key : finished) {
    const auto it = in_flight_.find(key);
    ALCCA_CHECK(it != in_flight_.end());
    if (--it->second.sequences == 0) {
      in_flight_.erase(it);
    }
  }
}

void Engine::Publish(const StepStats& stats) {
  const TimePoint now = Clock::now();
  const std::lock_guard lock(mutex_);
  load_.running = stats.running;
  load_.kv_pages_used = stats.kv_pages_used;
  load_.waiting = stats.waiting;
  load_.waiting_tokens = stats.waiting_tokens;
  load_.prefix_asked_tokens += stats.prefix_asked_tokens;
  load_.prefix_found_tokens += stats.prefix_found_tokens;
  for (const Request& request : inbox_) {
    load_.waiting += request.sampling.n;
    load_.waiting_tokens += int64_t{request.sampling.n} * std::ssize(request.prompt);
  }
  load_.generation_tokens_per_second = rate_.PerSecond(now);
  load_.last_step = now;
}

absl::Status Engine::CheckTokens(const Request& request) const {
  const int32_t vocab = model_->vocab_size();
  const auto check = [vocab](const char* where, int32_t id) {
    return id >= 0 && id < vocab
               ? absl::OkStatus()
               : absl::InvalidArgumentError(absl::StrCat(where, " has token id ", id,
                                                         ", outside the ", vocab, " of the model"));
  };
  for (const int32_t id : request.prompt) {
    RETURN_IF_ERROR(check("prompt", id));
  }
  for (const int32_t id : request.sampling.stop_token_ids) {
    RETURN_IF_ERROR(check("stop_token_ids", id));
  }
  for (const auto& [id, bias] : request.sampling.logit_bias) {
    RETURN_IF_ERROR(check("logit_bias", id));
  }
  if (request.constraint != nullptr &&
      request.constraint->vocabulary().trie().vocab_size() != static_cast<size_t>(vocab)) {
    return absl::InvalidArgumentError("the constraint was compiled for another vocabulary");
  }
  if (request.prompt.empty() || request.sampling.n < 1 || request.sampling.max_tokens < 1) {
    return absl::InvalidArgumentError("a request has a prompt, n >= 1 and max_tokens >= 1");
  }
  return absl::OkStatus();
}

absl::Status Engine::Submit(Request request) {
  RETURN_IF_ERROR(CheckTokens(request));
  RETURN_IF_ERROR(scheduler_.CheckFits(request));
  const int32_t n = request.sampling.n;
  const int64_t tokens = int64_t{n} * std::ssize(request.prompt);
  if (n > options_.max_queued_requests || tokens > options_.max_queued_tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("n = ", n, " sequences of ", request.prompt.size(),
                     " prompt tokens exceed the whole queue of ", options_.max_queued_requests,
                     " sequences and ", options_.max_queued_tokens, " tokens"));
  }
  {
    const std::lock_guard lock(mutex_);
    if (draining_ || stopping_) {
      return absl::UnavailableError("the server is shutting down");
    }
    if (load_.waiting + n > options_.max_queued_requests ||
        load_.waiting_tokens + tokens > options_.max_queued_tokens) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the queue is full: ", load_.waiting, " of ", options_.max_queued_requests,
                       " sequences, ", load_.waiting_tokens, " of ", options_.max_queued_tokens,
                       " prompt tokens"));
    }
    if (!in_flight_.try_emplace(request.key, InFlight{.sequences = n}).second) {
      return absl::AlreadyExistsError(absl::StrCat("request key ", request.key, " is in flight"));
    }
    load_.waiting += n;
    load_.waiting_tokens += tokens;
    inbox_.push_back(std::move(request));
  }
  work_.notify_one();
  return absl::OkStatus();
}

bool Engine::Cancel(uint64_t request_key) {
  const std::lock_guard lock(mutex_);
  const auto it = in_flight_.find(request_key);
  if (it == in_flight_.end()) {
    return false;
  }
  if (!std::exchange(it->second.cancelled, true)) {
    cancels_.push_back(request_key);
  }
  return true;
}

void Engine::Drain() {
  const std::lock_guard lock(mutex_);
  draining_ = true;
}

bool Engine::Idle() const {
  const std::lock_guard lock(mutex_);
  return in_flight_.empty();
}

void Engine::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_.notify_one();
  std::call_once(join_once_, [this] { thread_.join(); });
}

EngineLoad Engine::Load() const {
  const std::lock_guard lock(mutex_);
  return load_;
}

}  // namespace alcca
