#pragma once

// A fixed pool for data-parallel loops. Our own, not OpenMP: ThreadSanitizer understands it, and
// the engine thread takes part in the work.

#include <cstdint>
#include <memory>

#include "absl/functional/function_ref.h"

namespace alcca {

class ThreadPool {
 public:
  // `threads` counts the caller: ThreadPool(1) runs everything inline and starts no thread.
  explicit ThreadPool(int32_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int32_t threads() const { return threads_; }
  // Calls body(task) for every task in [0, tasks), in any order, on any thread; returns when all
  // are done. One caller at a time. Not reentrant. Allocates nothing (FunctionRef, not function).
  void ParallelFor(int32_t tasks, absl::FunctionRef<void(int32_t)> body);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  int32_t threads_;
};

}  // namespace alcca
