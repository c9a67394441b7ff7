#include "engine/constraint/compile_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "tests/engine/constraint/harness.h"

namespace alcca {
namespace {

ConstraintSpec Regex(const std::string& text) {
  return TextSpec(ConstraintSpec::Kind::kRegex, text);
}

// A job whose result can be waited for, and which may be held before it is compiled.
class Waited {
 public:
  CompilePool::Job Job(const ConstraintSpec& spec, bool wanted = true, bool held = false) {
    held_ = held;
    return {.spec = spec,
            .wanted =
                [this, wanted] {
                  std::unique_lock lock(mutex_);
                  begun_ = true;
                  changed_.notify_all();
                  changed_.wait(lock, [this] { return !held_; });
                  return wanted;
                },
            .done =
                [this](CompilePool::Result result) {
                  const std::lock_guard lock(mutex_);
                  EXPECT_FALSE(result_.has_value());
                  result_ = std::move(result);
                  changed_.notify_all();
                }};
  }
  const CompilePool::Result& Await() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return result_.has_value(); });
    return *result_;
  }
  void AwaitBegin() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return begun_; });
  }
  void LetGo() {
    const std::lock_guard lock(mutex_);
    held_ = false;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool held_ = false, begun_ = false;
  std::optional<CompilePool::Result> result_;
};

TEST(CompilePool, CompilesOnceAndKeeps) {
  CompilePool pool(JsonVocabulary(), {.threads = 2});
  EXPECT_EQ(pool.Find(Regex("a+")), nullptr);
  Waited first;
  ASSERT_TRUE(pool.Add(first.Job(Regex("a+"))).ok());
  const CompilePool::Result& result = first.Await();
  ASSERT_TRUE(result.constraint.ok()) << result.constraint.status();
  EXPECT_GE(result.seconds, 0);
  EXPECT_EQ(pool.Find(Regex("a+")), *result.constraint);
  EXPECT_EQ(pool.Find(Regex("a*")), nullptr);
  EXPECT_GT(pool.cached_bytes(), 0u);
}

TEST(CompilePool, WhatIsWrongIsSaidAndNotKept) {
  CompilePool pool(JsonVocabulary(), {});
  Waited job;
  ASSERT_TRUE(pool.Add(job.Job(Regex("("))).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(job.Await().constraint.status()));
  EXPECT_EQ(pool.Find(Regex("(")), nullptr);
}

TEST(CompilePool, TheQueueIsBoundedAndTheUnwantedIsNotCompiled) {
  CompilePool pool(JsonVocabulary(), {.threads = 1, .max_queued = 1});
  Waited running, queued, refused;
  ASSERT_TRUE(pool.Add(running.Job(Regex("a"), true, true)).ok());
  running.AwaitBegin();
  ASSERT_TRUE(pool.Add(queued.Job(Regex("b"), false)).ok());
  const absl::Status full = pool.Add(refused.Job(Regex("c")));
  EXPECT_TRUE(absl::IsResourceExhausted(full)) << full;
  running.LetGo();
  EXPECT_TRUE(running.Await().constraint.ok());
  EXPECT_TRUE(absl::IsCancelled(queued.Await().constraint.status()));
  EXPECT_EQ(pool.Find(Regex("b")), nullptr);
}

TEST(CompilePool, ItsEndAnswersWhatWaits) {
  Waited running, queued;
  std::thread letting_go;
  {
    CompilePool pool(JsonVocabulary(), {.threads = 1});
    ASSERT_TRUE(pool.Add(running.Job(Regex("a"), true, true)).ok());
    running.AwaitBegin();
    ASSERT_TRUE(pool.Add(queued.Job(Regex("b"))).ok());
    letting_go = std::thread([&] {
      EXPECT_TRUE(absl::IsUnavailable(queued.Await().constraint.status()));
      running.LetGo();
    });
  }
  letting_go.join();
  EXPECT_TRUE(running.Await().constraint.ok());
}

}  // namespace
}  // namespace alcca
