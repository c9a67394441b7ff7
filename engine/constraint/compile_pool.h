// Compiles constraints beside everything else: on threads of its own, so that neither a step nor a
// thread that reads requests waits for one.

#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/constraint/compiler.h"

namespace alcca {

struct CompilePoolOptions {
  int32_t threads = 1;
  int32_t max_queued = 64;  // Constraints that wait for a thread.
  size_t cache_bytes = size_t{256} << 20;
  ConstraintLimits limits = {};
};

class CompilePool {
 public:
  struct Result {
    absl::StatusOr<std::shared_ptr<const CompiledConstraint>> constraint;
    double seconds = 0;  // That it took; 0 if it was not wanted any more.
  };
  struct Job {
    ConstraintSpec spec;
    // Asked before the compilation begins. False: it is not compiled, and the result is CANCELLED.
    std::function<bool()> wanted;
    // Called exactly once, on a thread of the pool or in its destructor.
    std::function<void(Result)> done;
  };

  CompilePool(std::shared_ptr<const ConstraintVocabulary> vocabulary,
              const CompilePoolOptions& options);
  // What waits is done with UNAVAILABLE; what is being compiled is waited for.
  ~CompilePool();
  CompilePool(const CompilePool&) = delete;
  CompilePool& operator=(const CompilePool&) = delete;

  // Null unless it was compiled before and is still kept.
  std::shared_ptr<const CompiledConstraint> Find(const ConstraintSpec& spec) {
    return cache_.Find(spec);
  }
  // RESOURCE_EXHAUSTED: too many wait; `done` is not called then. A job's result is
  // CompileConstraint's.
  absl::Status Add(Job job);

  size_t cached_bytes() const { return cache_.counters().bytes; }

 private:
  void Work();

  const int32_t max_queued_;
  ConstraintCache cache_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> queue_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;  // Last: they start when everything else is there.
};

}  // namespace alcca
