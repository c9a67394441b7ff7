#pragma once

// Texts whose answer lies far back. A window cannot find it, however well it predicts local text.
// Plain words, so that small story models have a chance; in the manner of RULER where it has the
// task. Everything follows from the seed, on any machine.

#include <cstdint>
#include <string>
#include <vector>

namespace alcca::cli {

struct TaskSample {
  std::string prompt;
  std::string question;  // the prompt's end, which tells nothing without what is before it
  // Continuations of the prompt, each with its leading space; the first is right. Which one, only
  // the prompt tells: guessing is right once in candidates.size() times.
  std::vector<std::string> candidates;
  std::vector<std::string> accepted;  // of a free answer, without the space
  double depth = 0;  // where the evidence is: 0 the begin, 1 the end; lists count as 0
};

struct TaskShape {
  uint64_t seed = 0;
  int units = 1;       // length: one is about a sentence, or six words of a list
  int candidates = 8;  // 2 to kTaskCandidatesMax
  double depth = 0.5;  // where passkey and recall put the evidence, in [0, 1]
};
inline constexpr int kTaskCandidatesMax = 16;

// passkey  a five-digit number in the middle of filler; the others were never mentioned
// recall   as many "NAME has a THING." among filler as candidates; whose thing is asked
// cwe      common word extraction: a list in which two words come ten times as often as the others
// fwe      frequent word extraction: made-up words, the r-th 1/r^2 as frequent as the first
// Lists end before the last quarter, which is filler, so that recent keys alone do not tell.
const std::vector<std::string>& TaskNames();
TaskSample MakeTask(const std::string& task, const TaskShape& shape);

// Whether a free completion answers: its first word is an accepted one.
bool Answers(const std::string& completion, const TaskSample& sample);

}  // namespace alcca::cli
