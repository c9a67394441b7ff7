#pragma once

// What the far-key tasks found, for people and for programs.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "tools/cli/measure/cost.h"
#include "tools/cli/measure/proportion.h"

namespace alcca::cli {

// One way to attend at one length.
struct TaskRow {
  static constexpr int kDepths = 4;

  std::string label;
  v1::AttentionParams applied;
  Proportion chosen;  // the right candidate had the best mean log-probability of all
  // The same, after subtracting what the question alone gives each candidate. Small models prefer
  // some words whatever the text says; this takes the preference out.
  Proportion lifted;
  Proportion exact;              // the greedy completion's first word was it
  Proportion by_depth[kDepths];  // lifted; exact where candidates were not scored
  double right_logprob = 0;      // sum over samples of the right candidate's mean log-probability
  double margin = 0;             // and of what it is above the best wrong one
  Cost cost;                     // of the greedy completions

  // Mean log-probabilities of the candidates, the right one first, after the prompt and after its
  // question alone; both empty where candidates are not scored.
  void Add(const std::vector<double>& logprobs, const std::vector<double>& question_alone,
           bool exact_match, double depth);
};

struct TaskLength {
  int64_t n = 0;
  double prompt_tokens = 0;  // mean
  std::vector<TaskRow> rows;
  std::vector<std::string> notes;
};

struct TaskReport {
  std::string task, model;
  uint64_t seed = 0;
  int samples = 0, candidates = 0;
  bool has_depth = false;    // the evidence was put at every depth in turn
  bool greedy_only = false;  // candidates were not scored
  std::vector<TaskLength> lengths;
};

std::string TaskHeading(const TaskReport& report);
std::string TaskText(const TaskReport& report, const TaskLength& length);
nlohmann::json TaskJson(const TaskReport& report);

}  // namespace alcca::cli
