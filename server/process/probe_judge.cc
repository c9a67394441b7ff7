#include "server/process/probe_judge.h"

#include <chrono>

namespace alcca {
namespace {

double Seconds(Clock::duration d) {
  return std::chrono::duration<double>(d).count();
}

}  // namespace

ProbeJudge::Verdict ProbeJudge::Judge(const EngineLoad& load, TimePoint now) {
  Verdict verdict;
  verdict.live = Seconds(now - load.last_step) < rules_.stall_seconds;
  const bool full = load.waiting >= rules_.max_queued_requests ||
                    static_cast<double>(load.waiting_tokens) >=
                        0.95 * static_cast<double>(rules_.max_queued_tokens);
  if (!full) {
    full_since_.reset();
  } else if (!full_since_.has_value()) {
    full_since_ = now;
  }
  verdict.admits = rules_.full_seconds <= 0 || !full_since_.has_value() ||
                   Seconds(now - *full_since_) < rules_.full_seconds;
  return verdict;
}

}  // namespace alcca
