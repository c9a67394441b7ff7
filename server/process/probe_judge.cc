#include "server/process/probe_judge.h"

namespace alcca {

ProbeJudge::Verdict ProbeJudge::Judge(const EngineLoad& load, TimePoint now) {
  Verdict verdict;
  verdict.live = Seconds(load.last_step, now) < rules_.stall_seconds;
  const bool full = load.waiting >= rules_.max_queued_requests ||
                    static_cast<double>(load.waiting_tokens) >=
                        0.95 * static_cast<double>(rules_.max_queued_tokens);
  if (!full) {
    full_since_.reset();
  } else if (!full_since_.has_value()) {
    full_since_ = now;
  }
  verdict.admits = rules_.full_seconds <= 0 || !full_since_.has_value() ||
                   Seconds(*full_since_, now) < rules_.full_seconds;
  return verdict;
}

}  // namespace alcca
