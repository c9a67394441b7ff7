#pragma once

// Engine::Step without the thread and the clock: what scheduler tests drive step by step.

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "engine/sampler.h"
#include "engine/scheduler.h"
#include "tests/testing/fake_model.h"

namespace alcca::testing {

// Everything that came out for one sequence.
struct Completion {
  std::vector<int32_t> tokens;
  std::string text;
  std::vector<TokenLogprob> logprobs;
  std::vector<TokenLogprob> prompt_logprobs;
  int first_tokens = 0;  // news that claim to carry the first token
  int32_t prompt_tokens = 0;
  int32_t cached_tokens = 0;
  int finishes = 0;
  Ending ending;
  FinishReason finish() const { return ending.reason; }
};

// Checks on the way what holds for every stream of news.
class Completions {
 public:
  using Key = std::pair<uint64_t, int32_t>;  // request, index
  void Take(std::vector<TokenNews> news);
  const Completion& at(uint64_t key, int32_t index = 0) const { return all_.at({key, index}); }
  const std::map<Key, Completion>& all() const { return all_; }
  int finished() const { return finished_; }

 private:
  std::map<Key, Completion> all_;
  int finished_ = 0;
};

class SchedulerHarness {
 public:
  SchedulerHarness(const EngineOptions& options, FakeModelOptions model,
                   const Tokenizer* tokenizer = nullptr);

  void Submit(Request request);  // CheckFits must pass
  // One step, a millisecond after the last; `inspect` sees the plan before the model does.
  StepStats Step(const std::function<void(const Plan&)>& inspect = nullptr);
  // Steps until nothing is left; fails after `limit`.
  void Finish(int limit = 100000);

  Scheduler& scheduler() { return scheduler_; }
  const Completions& completions() const { return completions_; }
  TimePoint now() const { return now_; }

 private:
  FakeModel model_;
  Scheduler scheduler_;
  Sampler sampler_;
  Completions completions_;
  TimePoint now_;
};

// A prompt of `size` tokens that differ by key, greedy, and `max_tokens` of output.
Request MakeRequest(uint64_t key, int32_t size, int32_t max_tokens);

}  // namespace alcca::testing
