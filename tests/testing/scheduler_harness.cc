#include "tests/testing/scheduler_harness.h"

#include <chrono>
#include <iterator>
#include <span>

#include "base/check.h"

namespace alcca::testing {

void Completions::Take(std::vector<TokenNews> news) {
  for (TokenNews& one : news) {
    Completion& c = all_[{one.key, one.index}];
    ALCCA_CHECK(c.finishes == 0);  // nothing follows the end
    c.tokens.insert(c.tokens.end(), one.token_ids.begin(), one.token_ids.end());
    c.text += one.text;
    std::move(one.logprobs.begin(), one.logprobs.end(), std::back_inserter(c.logprobs));
    std::move(one.prompt_logprobs.begin(), one.prompt_logprobs.end(),
              std::back_inserter(c.prompt_logprobs));
    c.first_tokens += one.first_token ? 1 : 0;
    c.prompt_tokens = one.prompt_tokens;
    c.cached_tokens = one.cached_tokens;
    ALCCA_CHECK(one.completion_tokens == std::ssize(c.tokens));
    if (one.ending != nullptr) {
      ALCCA_CHECK(one.ending->reason != FinishReason::kNone);
      ++c.finishes;
      ++finished_;
      c.ending = *std::move(one.ending);
    }
  }
}

SchedulerHarness::SchedulerHarness(const EngineOptions& options, FakeModelOptions model,
                                   const Tokenizer* tokenizer)
    : model_(std::move(model)),
      scheduler_(options, model_.kv_shape(), tokenizer, &model_),
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
  const Plan& plan = scheduler_.MakePlan(now_);
  if (inspect) {
    inspect(plan);
  }
  const std::span<const SamplingRow> asked = sampler_.Rows(plan);
  std::span<StepAnswer> answers;
  if (plan.batch.tokens() > 0) {
    answers = sampler_.Answers(plan, model_.Forward(plan.batch, asked, [] {}));
  }
  Scheduler::Outcome outcome = scheduler_.Commit(plan, answers, now_);
  completions_.Take(std::move(outcome.news));
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
