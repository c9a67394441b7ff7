#include "tests/testing/scheduler_harness.h"

#include <chrono>
#include <iterator>
#include <span>

#include "base/check.h"

namespace alcca::testing {

void Completions::Take(std::vector<Event> events) {
  for (Event& event : events) {
    Completion& c = all_[{event.request_key, event.index}];
    ALCCA_CHECK(c.finishes == 0);  // nothing follows the end
    c.tokens.insert(c.tokens.end(), event.token_ids.begin(), event.token_ids.end());
    c.text += event.text;
    std::move(event.logprobs.begin(), event.logprobs.end(), std::back_inserter(c.logprobs));
    std::move(event.prompt_logprobs.begin(), event.prompt_logprobs.end(),
              std::back_inserter(c.prompt_logprobs));
    c.first_tokens += event.first_token ? 1 : 0;
    ALCCA_CHECK(event.completion_tokens == std::ssize(c.tokens));
    if (event.finish != FinishReason::kNone) {
      ++c.finishes;
      ++finished_;
    }
    c.last = std::move(event);
  }
}

SchedulerHarness::SchedulerHarness(const EngineOptions& options, FakeModelOptions model,
                                   const Tokenizer* tokenizer)
    : model_(std::move(model)),
      scheduler_(
          options, model_.kv_shape(), tokenizer,
          [this](const AttentionParams& params) { return model_.MakeAttentionState(params); }),
      sampler_(options.eos_token_ids) {}

void SchedulerHarness::Submit(Request request) {
  ALCCA_CHECK(scheduler_.CheckFits(request).ok());
  if (request.arrival == TimePoint()) {
    request.arrival = now_;
  }
  std::vector<Request> requests;
  requests.push_back(std::move(request));
  scheduler_.Admit(std::move(requests));
}

StepStats SchedulerHarness::Step(const std::function<void(const Plan&)>& inspect) {
  now_ += std::chrono::milliseconds(1);
  Plan& plan = scheduler_.MakePlan(now_);
  if (inspect) {
    inspect(plan);
  }
  if (plan.batch.tokens() > 0) {
    Sampler::Take(model_.Forward(plan.batch, sampler_.Rows(plan), [] {}), plan);
  }
  Scheduler::Outcome outcome = scheduler_.Commit(plan, now_);
  completions_.Take(std::move(outcome.events));
  return outcome.stats;
}

void SchedulerHarness::Finish(int limit) {
  for (; !scheduler_.Empty(); --limit) {
    ALCCA_CHECK(limit > 0);
    Step();
  }
}

Request MakeRequest(uint64_t key, int32_t size, int32_t max_tokens) {
  Request request;
  request.key = key;
  request.sampling.temperature = 0;
  request.sampling.max_tokens = max_tokens;
  for (int32_t i = 0; i < size; ++i) {
    request.prompt.push_back(static_cast<int32_t>((key * 7 + i * 3) % 16));
  }
  return request;
}

}  // namespace alcca::testing
