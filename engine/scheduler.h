#pragma once

// Decides which sequences run in the next step and on which pages, and applies the results of a
// step. Pure: time is an argument and the model is never called, so a test is a table of states.
//
// Sequences run in order of arrival: everything running is older than everything waiting. Each step
// takes one row of every decoding sequence, then prefill chunks, then admits from the queue's head.
// If a decoding sequence finds no free page, the youngest running sequence is preempted. It gives
// up pages and attention state and returns to the head of the queue. Later it computes its prompt
// and output again; no token is sampled or emitted twice. The oldest sequence is never preempted,
// and CheckFits has made sure that the pool holds it alone, so it always progresses.

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/attention_states.h"
#include "engine/event.h"
#include "engine/kept_states.h"
#include "engine/kv_pages.h"
#include "engine/plan.h"
#include "engine/prefix_cache.h"
#include "engine/request.h"
#include "engine/sequence.h"
#include "engine/text/tokenizer.h"
#include "kernels/backend.h"

namespace alcca {

struct EngineOptions {
  int32_t max_num_seqs = 32;            // sequences running at once
  int32_t max_batch_tokens = 512;       // rows of a step: decode rows and prefill chunks together
  int32_t max_prefill_chunk = 256;      // prompt tokens of one sequence in one step
  int32_t max_logit_rows = 0;           // rows with logits in a step; 0: max_batch_tokens
  int32_t max_queued_requests = 256;    // waiting sequences (a request is n of them)
  int64_t max_queued_tokens = 1 << 20;  // their prompt tokens
  int32_t max_context = 0;              // prompt + output tokens of a sequence
  bool prefix_cache = true;             // sequences that begin alike share pages
  int32_t max_idle_pages = INT32_MAX;   // of ended sequences, kept for those to come
  std::vector<int32_t> eos_token_ids;
};

// INVALID_ARGUMENT, naming the option, unless every limit is positive and they agree.
absl::Status ValidateEngineOptions(const EngineOptions& options);

class Scheduler {
 public:
  struct Outcome {
    std::vector<TokenNews> news;
    StepStats stats;  // without step_seconds
  };

  // `options` are valid; `tokenizer` may be null (no text). `states` is asked at admission.
  Scheduler(const EngineOptions& options, const KvShape& kv_shape, const Tokenizer* tokenizer,
            AttentionStates* states);

  // INVALID_ARGUMENT if prompt + max_tokens exceeds the context or the whole pool. Thread-safe.
  absl::Status CheckFits(const Request& request) const;

  // Queues every sequence of the requests, which CheckFits has passed.
  void Admit(std::vector<Request> requests);
  // Ends every sequence of these requests at once; unknown keys are ignored. The reason is
  // kDeadline if the deadline has passed or is about to pass. A client whose time is up resets its
  // call, and its clock started before ours, by the time that the call took to arrive.
  void Cancel(std::vector<uint64_t> keys, TimePoint now);
  void CancelAll();

  // Decides one step, valid until the next call. Its batch is empty only if nothing is left to run.
  const Plan& MakePlan(TimePoint now);
  // Applies the step that MakePlan decided, with answers[i] for plan.sequences[i], which are moved
  // from. The news are those of the step and of whatever ended since the last Commit.
  Outcome Commit(const Plan& plan, std::span<StepAnswer> answers, TimePoint now);

  bool Empty() const { return running_.empty() && waiting_.empty() && ended_.empty(); }
  int32_t running() const { return static_cast<int32_t>(running_.size()); }
  int32_t waiting() const { return static_cast<int32_t>(waiting_.size()); }
  StepStats Stats() const;  // the gauges alone; the step's own figures are 0

 private:
  // Left without a step of its own; its last news are made in Commit.
  struct Ended {
    std::unique_ptr<Sequence> sequence;
    FinishReason reason;
    absl::Status error;
  };

  void EndWhere(FinishReason reason, const std::function<bool(const Sequence&)>& predicate);
  void End(std::unique_ptr<Sequence> sequence, FinishReason reason, absl::Status error = {});
  void PlanDecodes();
  void PlanPrefills();
  void PlanAdmissions(TimePoint now);
  void PlanPrefill(Sequence& sequence);
  // `head` takes what it begins with; what it would fork from, whose pages `donor` then holds.
  ForkSource FindBeginning(Sequence& head, KvPages* donor);
  ForkSource FindFork(const Sequence& head) const;
  bool Fits(Sequence& head) const;
  // Its state, and the pages it needs beside those that FindBeginning gave it.
  absl::Status Start(Sequence& sequence, const ForkSource& fork, TimePoint now);
  // Before its pages are released: its state stays for others to fork.
  void KeepState(Sequence& sequence);
  // Whether a running sequence computes what `head` would find if it waited.
  bool IsBeingComputedFor(const Sequence& head) const;
  void PreemptYoungest();
  void AddRows(Sequence& sequence, int32_t count);
  // Applies one entry of the plan.
  void Apply(const PlannedSequence& planned, StepAnswer answer, TimePoint now, Outcome* outcome);
  void SetGauges(StepStats* stats) const;

  const EngineOptions options_;
  const Tokenizer* tokenizer_;
  AttentionStates* const states_;
  KvPagePool pool_;                                 // outlives what follows
  PrefixCache prefix_cache_;                        // outlives the sequences below
  KeptStates kept_states_;                          // likewise
  int64_t forgotten_ = 0;                           // pages of both, told in an Outcome
  std::vector<std::unique_ptr<Sequence>> running_;  // in order of arrival
  std::deque<std::unique_ptr<Sequence>> waiting_;   // likewise, all younger
  std::vector<Ended> ended_;
  Plan plan_;
};

}  // namespace alcca
