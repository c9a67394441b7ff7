#include "kernels/cpu/thread_pool.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "base/check.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace alcca {
namespace {

// Pauses before a waiter sleeps: tens of microseconds, which covers the gap between two ops of a
// step. A sleep and wake-up costs about as much, and there are some 300 loops in a step.
constexpr int kSpins = 2000;

void Pause() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

}  // namespace

// A loop is published by setting `unclaimed` to its task count; whoever lowers it owns a task. The
// loop cannot end while a claimed task is unfinished, so `body` and `tasks` stay valid for the
// claimant, and a worker that wakes late finds nothing to claim and delays nobody.
struct ThreadPool::Impl {
  using Body = absl::FunctionRef<void(int32_t)>;

  const Body* body = nullptr;  // written before `unclaimed`, read after a claim
  int32_t tasks = 0;           // likewise
  alignas(64) std::atomic<int32_t> unclaimed{0};
  alignas(64) std::atomic<int32_t> unfinished{0};
  alignas(64) std::atomic<int32_t> sleepers{0};
  std::atomic<bool> stop{false};
  std::mutex mutex;
  std::condition_variable wake;
  std::vector<std::thread> workers;

  bool RunOne() {
    int32_t left = unclaimed.load(std::memory_order_relaxed);
    do {
      if (left == 0) {
        return false;
      }
    } while (!unclaimed.compare_exchange_weak(left, left - 1, std::memory_order_acquire,
                                              std::memory_order_relaxed));
    (*body)(tasks - left);
    if (unfinished.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      unfinished.notify_one();
    }
    return true;
  }

  bool WorkOrStop() const { return unclaimed.load() > 0 || stop.load(); }

  void Sleep() {
    std::unique_lock lock(mutex);
    sleepers.fetch_add(1);  // seq_cst, as the store to `unclaimed`: one of the two sees the other
    wake.wait(lock, [this] { return WorkOrStop(); });
    sleepers.fetch_sub(1);
  }

  void WorkerLoop() {
    while (!stop.load(std::memory_order_relaxed)) {
      bool found = false;
      for (int spin = 0; spin < kSpins && !found; ++spin) {
        while (RunOne()) {
          found = true;
        }
        if (!found) {
          Pause();
        }
      }
      if (!found) {
        Sleep();
      }
    }
  }

  void WakeSleepers() {
    if (sleepers.load() == 0) {
      return;
    }
    { std::lock_guard lock(mutex); }  // a worker between its test and its wait holds the mutex
    wake.notify_all();
  }

  void AwaitFinish() {
    int32_t left = 0;
    for (int spin = 0; spin < kSpins; ++spin) {
      if (unfinished.load(std::memory_order_acquire) == 0) {
        return;
      }
      Pause();
    }
    while ((left = unfinished.load(std::memory_order_acquire)) != 0) {
      unfinished.wait(left, std::memory_order_acquire);
    }
  }
};

ThreadPool::ThreadPool(int32_t threads) : impl_(std::make_unique<Impl>()), threads_(threads) {
  ALCCA_CHECK(threads >= 1);
  for (int32_t i = 1; i < threads; ++i) {
    impl_->workers.emplace_back([impl = impl_.get()] { impl->WorkerLoop(); });
  }
}

ThreadPool::~ThreadPool() {
  impl_->stop.store(true);
  impl_->WakeSleepers();
  for (std::thread& worker : impl_->workers) {
    worker.join();
  }
}

void ThreadPool::ParallelFor(int32_t tasks, absl::FunctionRef<void(int32_t)> body) {
  if (tasks <= 0) {
    return;
  }
  if (threads_ == 1 || tasks == 1) {
    for (int32_t task = 0; task < tasks; ++task) {
      body(task);
    }
    return;
  }
  impl_->body = &body;
  impl_->tasks = tasks;
  impl_->unfinished.store(tasks, std::memory_order_relaxed);
  impl_->unclaimed.store(tasks);
  impl_->WakeSleepers();
  while (impl_->RunOne()) {
  }
  impl_->AwaitFinish();
}

}  // namespace alcca
