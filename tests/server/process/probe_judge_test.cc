#include "server/process/probe_judge.h"

#include <gtest/gtest.h>

#include <chrono>

namespace alcca {
namespace {

using std::chrono::milliseconds;

constexpr ProbeRules kRules = {
    .stall_seconds = 2, .full_seconds = 3, .max_queued_requests = 8, .max_queued_tokens = 1000};

class ProbeJudgeTest : public ::testing::Test {
 protected:
  EngineLoad Load(int32_t waiting, int64_t tokens, milliseconds last_step) const {
    EngineLoad load;
    load.waiting = waiting;
    load.waiting_tokens = tokens;
    load.last_step = start_ + last_step;
    return load;
  }
  const TimePoint start_ = Clock::now();
};

TEST_F(ProbeJudgeTest, AStepLoopThatStandsStillIsNotLiveUntilItGoesOn) {
  ProbeJudge judge(kRules);
  EXPECT_TRUE(judge.Judge(Load(1, 1, milliseconds(0)), start_ + milliseconds(1999)).live);
  EXPECT_FALSE(judge.Judge(Load(1, 1, milliseconds(0)), start_ + milliseconds(2000)).live);
  EXPECT_TRUE(judge.Judge(Load(1, 1, milliseconds(2100)), start_ + milliseconds(2200)).live);
}

TEST_F(ProbeJudgeTest, AFullQueueIsUnreadyOnlyAfterAWhileWithoutRoom) {
  ProbeJudge judge(kRules);
  const auto admits = [&](int32_t waiting, int64_t tokens, int at_ms) {
    const auto verdict =
        judge.Judge(Load(waiting, tokens, milliseconds(at_ms)), start_ + milliseconds(at_ms));
    EXPECT_TRUE(verdict.live);  // busy is not stuck
    return verdict.admits;
  };
  EXPECT_TRUE(admits(8, 10, 0));
  EXPECT_TRUE(admits(8, 10, 2999));
  EXPECT_TRUE(admits(7, 10, 3000));  // room for a moment: the count begins anew
  EXPECT_TRUE(admits(8, 10, 3100));
  EXPECT_TRUE(admits(8, 10, 6000));
  EXPECT_FALSE(admits(8, 10, 6100));
  EXPECT_FALSE(admits(3, 950, 9000));  // full by tokens is full
  EXPECT_TRUE(admits(3, 949, 9001));
}

TEST_F(ProbeJudgeTest, ByDefaultAFullQueueStaysReady) {
  ProbeRules rules = kRules;
  rules.full_seconds = 0;
  ProbeJudge judge(rules);
  EXPECT_TRUE(judge.Judge(Load(8, 10, milliseconds(0)), start_).admits);
  EXPECT_TRUE(judge.Judge(Load(8, 10, milliseconds(99000)), start_ + milliseconds(99000)).admits);
}

}  // namespace
}  // namespace alcca
