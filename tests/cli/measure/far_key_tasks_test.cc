#include "tools/cli/measure/far_key_tasks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include "absl/strings/str_split.h"

namespace alcca::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TaskShape Shape(uint64_t seed, int units, int candidates = 8, double depth = .5) {
  return {.seed = seed, .units = units, .candidates = candidates, .depth = depth};
}

size_t Occurrences(const std::string& text, const std::string& word) {
  size_t count = 0;
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
    ++count;
  }
  return count;
}

class FarKeyTask : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(All, FarKeyTask, ::testing::ValuesIn(TaskNames()),
                         [](const auto& info) { return info.param; });

TEST_P(FarKeyTask, FollowsFromTheSeed) {
  const TaskSample a = MakeTask(GetParam(), Shape(7, 20));
  const TaskSample b = MakeTask(GetParam(), Shape(7, 20));
  EXPECT_EQ(a.prompt, b.prompt);
  EXPECT_EQ(a.candidates, b.candidates);
  const TaskSample c = MakeTask(GetParam(), Shape(8, 20));
  EXPECT_NE(a.prompt, c.prompt);
}

TEST_P(FarKeyTask, HasDifferentCandidatesOfWhichOneAnswers) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    for (const int candidates : {2, 8, kTaskCandidatesMax}) {
      const TaskSample sample = MakeTask(GetParam(), Shape(seed, 1 + int(seed), candidates));
      ASSERT_EQ(sample.candidates.size(), size_t(candidates));
      EXPECT_EQ(std::set<std::string>(sample.candidates.begin(), sample.candidates.end()).size(),
                sample.candidates.size());
      for (size_t i = 0; i < sample.candidates.size(); ++i) {
        EXPECT_EQ(sample.candidates[i][0], ' ');
        EXPECT_EQ(Answers(sample.candidates[i] + ".", sample), i == 0) << sample.candidates[i];
      }
      EXPECT_NE(sample.prompt.back(), ' ');  // the candidates bring the space
      EXPECT_TRUE(sample.prompt.ends_with(sample.question));
    }
  }
}

TEST_P(FarKeyTask, GrowsWithItsUnits) {
  size_t last = 0;
  for (const int units : {1, 5, 20, 100, 1000}) {
    const size_t size = MakeTask(GetParam(), Shape(3, units)).prompt.size();
    EXPECT_GT(size, last);
    last = size;
  }
  EXPECT_GT(last, 20000u);
}

TEST(FarKeyTasks, PassKeyIsAtItsDepthAndNoOtherNumberIsThere) {
  for (const double depth : {0.0, .25, .5, 1.0}) {
    const TaskSample sample = MakeTask("passkey", Shape(5, 100, 8, depth));
    const std::string key = sample.accepted[0];
    EXPECT_EQ(Occurrences(sample.prompt, key), 2u);
    EXPECT_NEAR(double(sample.prompt.find(key)) / double(sample.prompt.size()), depth, .06);
    for (size_t i = 1; i < sample.candidates.size(); ++i) {
      EXPECT_THAT(sample.prompt, Not(HasSubstr(sample.candidates[i])));
    }
    EXPECT_EQ(sample.depth, depth);
  }
}

TEST(FarKeyTasks, RecallAsksOneOfManyPairs) {
  const TaskSample sample = MakeTask("recall", Shape(5, 100, 8, .25));
  EXPECT_EQ(Occurrences(sample.prompt, " has a "), 8u);
  const size_t asked = sample.prompt.rfind(". ");
  const std::string question = sample.prompt.substr(asked + 2);  // "NAME has a"
  const size_t answer = sample.prompt.find(question + sample.candidates[0] + ".");
  ASSERT_NE(answer, std::string::npos);
  EXPECT_NEAR(double(answer) / double(sample.prompt.size()), .25, .06);
  for (const std::string& candidate : sample.candidates) {
    EXPECT_EQ(Occurrences(sample.prompt, " has a" + candidate + "."), 1u) << candidate;
  }
}

std::map<std::string, int> ListCounts(const std::string& prompt) {
  const size_t colon = prompt.find(": "), end = prompt.find('.', colon);
  std::map<std::string, int> counts;
  for (const auto& word : absl::StrSplit(prompt.substr(colon + 2, end - colon - 2), ", ")) {
    ++counts[std::string(word)];
  }
  return counts;
}

TEST(FarKeyTasks, CommonWordsComeTenTimesAsOften) {
  const TaskSample sample = MakeTask("cwe", Shape(5, 400, 16));
  std::map<std::string, int> counts = ListCounts(sample.prompt);
  EXPECT_EQ(counts.size(), 22u);
  ASSERT_EQ(sample.accepted.size(), 2u);
  const int common = counts[sample.accepted[0]];
  EXPECT_EQ(counts[sample.accepted[1]], common);
  for (size_t i = 1; i < sample.candidates.size(); ++i) {
    EXPECT_NEAR(double(common) / counts[sample.candidates[i].substr(1)], 10, .3);
  }
}

TEST(FarKeyTasks, FrequentWordsFallWithTheSquareOfTheirRank) {
  const TaskSample sample = MakeTask("fwe", Shape(5, 400, 4));
  std::map<std::string, int> counts = ListCounts(sample.prompt);
  EXPECT_EQ(counts.size(), 16u);
  const int most = counts[sample.accepted[0]];
  EXPECT_EQ(sample.candidates[0], " " + sample.accepted[0]);
  for (size_t i = 1; i < sample.candidates.size(); ++i) {
    EXPECT_NEAR(double(most) / counts[sample.candidates[i].substr(1)], (i + 1) * (i + 1), .3);
  }
}

TEST(FarKeyTasks, ListsEndBeforeTheLastPart) {
  for (const char* task : {"cwe", "fwe"}) {
    const TaskSample sample = MakeTask(task, Shape(5, 100));
    const double end = double(sample.prompt.find('.')) / double(sample.prompt.size());
    EXPECT_GT(end, .5);
    EXPECT_LT(end, .85);
  }
}

TEST(FarKeyTasks, AnswersReadsTheFirstWord) {
  TaskSample sample;
  sample.accepted = {"ball", "hat"};
  EXPECT_TRUE(Answers(" ball. He was happy", sample));
  EXPECT_TRUE(Answers("hat", sample));
  EXPECT_FALSE(Answers(" balloon", sample));
  EXPECT_FALSE(Answers(" big ball", sample));
  EXPECT_FALSE(Answers("", sample));
}

}  // namespace
}  // namespace alcca::cli
