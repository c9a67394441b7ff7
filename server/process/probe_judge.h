#pragma once

// Decides what the probes of a loaded server answer, from a snapshot of its load. Pure: time is an
// argument.

#include <cstdint>
#include <optional>

#include "engine/engine.h"

namespace alcca {

struct ProbeRules {
  double stall_seconds = 30;        // without a turn of the step loop before it counts as stuck
  double full_seconds = 0;          // that the queue must have been full to be unready; 0: never
  int64_t max_queued_requests = 0;  // the queue's bounds: full is one of them
  int64_t max_queued_tokens = 0;    // (this one at 95 %: hardly a prompt fits exactly)
};

class ProbeJudge {
 public:
  explicit ProbeJudge(const ProbeRules& rules) : rules_(rules) {}

  struct Verdict {
    bool live = true;    // the step loop makes progress
    bool admits = true;  // the queue has, or lately had, room
  };
  // The time of a call must not be earlier than that of the call before.
  Verdict Judge(const EngineLoad& load, TimePoint now);

 private:
  const ProbeRules rules_;
  std::optional<TimePoint> full_since_;
};

}  // namespace alcca
