#include "kernels/cpu/thread_pool.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace alcca {
namespace {

class ThreadPoolTest : public ::testing::TestWithParam<int32_t> {};

TEST_P(ThreadPoolTest, RunsEveryTaskOnce) {
  ThreadPool pool(GetParam());
  EXPECT_EQ(pool.threads(), GetParam());
  for (const int32_t tasks : {0, 1, 2, 3, 7, 64, 1000}) {
    std::vector<int32_t> runs(static_cast<size_t>(tasks), 0);  // plain ints: TSan sees a double run
    pool.ParallelFor(tasks, [&](int32_t task) { ++runs[static_cast<size_t>(task)]; });
    for (const int32_t count : runs) {
      EXPECT_EQ(count, 1);
    }
  }
}

TEST_P(ThreadPoolTest, WritesAreVisibleToTheNextLoop) {
  ThreadPool pool(GetParam());
  std::vector<int64_t> values(37, 0);
  for (int32_t round = 0; round < 2000; ++round) {
    // Each task reads what another task, maybe on another thread, wrote in the round before.
    std::vector<int64_t> next(values.size());
    pool.ParallelFor(static_cast<int32_t>(values.size()), [&](int32_t task) {
      const size_t i = static_cast<size_t>(task);
      next[i] = values[(i + 1) % values.size()] + 1;
    });
    values = next;
  }
  for (const int64_t value : values) {
    EXPECT_EQ(value, 2000);
  }
}

TEST_P(ThreadPoolTest, WakesAfterSleep) {
  ThreadPool pool(GetParam());
  std::atomic<int32_t> sum{0};
  for (int32_t round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(round % 3));
    pool.ParallelFor(5, [&](int32_t task) { sum += task; });
  }
  EXPECT_EQ(sum, 20 * 10);
}

TEST_P(ThreadPoolTest, UnevenTasksAllFinishBeforeReturn) {
  ThreadPool pool(GetParam());
  for (int32_t round = 0; round < 10; ++round) {
    std::atomic<int32_t> finished{0};
    pool.ParallelFor(8, [&](int32_t task) {
      if (task == round % 8) {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      }
      ++finished;
    });
    EXPECT_EQ(finished, 8);
  }
}

TEST_P(ThreadPoolTest, ManyShortLives) {
  for (int32_t life = 0; life < 50; ++life) {
    ThreadPool pool(GetParam());
    std::atomic<int32_t> runs{0};
    if (life % 2 == 0) {
      pool.ParallelFor(3, [&](int32_t) { ++runs; });
    }
    EXPECT_EQ(runs, life % 2 == 0 ? 3 : 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolTest, ::testing::Values(1, 2, 3, 8));

}  // namespace
}  // namespace alcca
