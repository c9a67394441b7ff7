#include "engine/constraint/compile_pool.h"

#include <pthread.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"

namespace alcca {

CompilePool::CompilePool(std::shared_ptr<const ConstraintVocabulary> vocabulary,
                         const CompilePoolOptions& options)
    : max_queued_(options.max_queued),
      cache_(std::move(vocabulary), options.limits, options.cache_bytes) {
  for (int32_t i = 0; i < options.threads; ++i) {
    threads_.emplace_back([this] { Work(); });
  }
}

CompilePool::~CompilePool() {
  std::deque<Job> left;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    left.swap(queue_);
  }
  changed_.notify_all();
  for (Job& job : left) {
    job.done({absl::UnavailableError("the server is shutting down"), 0});
  }
  for (std::thread& thread : threads_) {
    thread.join();
  }
}

absl::Status CompilePool::Add(Job job) {
  {
    const std::lock_guard lock(mutex_);
    if (queue_.size() >= static_cast<size_t>(max_queued_)) {
      return absl::ResourceExhaustedError(
          absl::StrCat("too many constraints wait to be compiled: ", queue_.size()));
    }
    queue_.push_back(std::move(job));
  }
  changed_.notify_one();
  return absl::OkStatus();
}

void CompilePool::Work() {
  pthread_setname_np(pthread_self(), "alcca-compile");
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (stopping_) {
      return;
    }
    Job job = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    if (job.wanted()) {
      const TimePoint began = Clock::now();
      auto constraint = cache_.Get(job.spec);
      job.done({std::move(constraint), Seconds(began, Clock::now())});
    } else {
      job.done({absl::CancelledError("not wanted any more"), 0});
    }
    job = {};
    lock.lock();
  }
}

}  // namespace alcca
