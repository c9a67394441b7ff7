#include "tools/cli/measure/task_report.h"

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "tools/cli/options.h"

namespace alcca::cli {
namespace {

nlohmann::json ToJson(const Proportion& p) {
  const Proportion::Interval interval = p.Wilson();
  return {{"share", p.share()},
          {"low", interval.low},
          {"high", interval.high},
          {"successes", p.successes},
          {"trials", p.trials}};
}

std::string WithInterval(const Proportion& p) {
  if (p.trials == 0) {
    return "-";
  }
  const Proportion::Interval interval = p.Wilson();
  return absl::StrFormat("%5.1f [%4.1f, %5.1f]", 100 * p.share(), 100 * interval.low,
                         100 * interval.high);
}

// Of the first above the best other: 0 is a tie, and no choice.
double Margin(const std::vector<double>& scores) {
  return scores[0] - *std::max_element(scores.begin() + 1, scores.end());
}

double Mean(double sum, const Proportion& of) {
  return of.trials > 0 ? sum / double(of.trials) : 0;
}

}  // namespace

void TaskRow::Add(const std::vector<double>& logprobs, const std::vector<double>& question_alone,
                  bool exact_match, double depth) {
  const int quarter = std::clamp(static_cast<int>(depth * kDepths), 0, kDepths - 1);
  exact.Add(exact_match);
  if (logprobs.empty()) {
    by_depth[quarter].Add(exact_match);
    return;
  }
  std::vector<double> lift(logprobs.size());
  std::transform(logprobs.begin(), logprobs.end(), question_alone.begin(), lift.begin(),
                 std::minus<>());
  const bool right = Margin(lift) > 0;
  chosen.Add(Margin(logprobs) > 0);
  lifted.Add(right);
  by_depth[quarter].Add(right);
  right_logprob += logprobs[0];
  margin += Margin(logprobs);
}

std::string TaskHeading(const TaskReport& report) {
  const std::string scored = report.greedy_only
                                 ? "what the model writes"
                                 : absl::StrFormat("the best of %d candidates (chance %.1f %%)",
                                                   report.candidates, 100.0 / report.candidates);
  return absl::StrFormat("%s on %s: %d samples of seed %d, %s\n", report.task, report.model,
                         report.samples, report.seed, scored);
}

std::string TaskText(const TaskReport& report, const TaskLength& length) {
  std::string text = absl::StrFormat("\nn = %d", length.n);
  if (!length.rows.empty()) {
    absl::StrAppendFormat(&text, ", prompts of %.0f tokens\n  %-24s %-20s %-20s %-20s %9s %9s %9s",
                          length.prompt_tokens, "", "lifted % [95 %]", "chosen % [95 %]",
                          "exact match % [95 %]", "log-prob", "QK/query", "% causal");
    if (report.has_depth) {
      text += report.greedy_only ? "  exact" : "  lifted";
      text += " % by quarter of depth";
    }
  }
  text += "\n";
  for (const TaskRow& row : length.rows) {
    absl::StrAppendFormat(
        &text, "  %-24s %-20s %-20s %-20s %9s %9.1f %9.2f", row.label, WithInterval(row.lifted),
        WithInterval(row.chosen), WithInterval(row.exact),
        report.greedy_only ? "-" : absl::StrFormat("%.3f", Mean(row.right_logprob, row.chosen)),
        row.cost.query_key_per_query(), 100 * row.cost.query_key_over_causal());
    for (const Proportion& quarter : row.by_depth) {
      if (report.has_depth) {
        absl::StrAppendFormat(&text, " %6.1f", 100 * quarter.share());
      }
    }
    text += "\n";
  }
  for (const std::string& note : length.notes) {
    absl::StrAppendFormat(&text, "  %s\n", note);
  }
  return text;
}

nlohmann::json TaskJson(const TaskReport& report) {
  nlohmann::json json = {{"task", report.task},
                         {"model", report.model},
                         {"seed", report.seed},
                         {"samples", report.samples},
                         {"candidates", report.candidates},
                         {"rows", nlohmann::json::array()},
                         {"notes", nlohmann::json::array()}};
  if (!report.greedy_only) {
    json["chance"] = 1.0 / report.candidates;
  }
  for (const TaskLength& length : report.lengths) {
    for (const TaskRow& row : length.rows) {
      nlohmann::json& out = json["rows"].emplace_back();
      out = {{"n", length.n},
             {"prompt_tokens", length.prompt_tokens},
             {"mode", ModeName(row.applied.mode())},
             {"label", row.label},
             {"exact_match", ToJson(row.exact)},
             {"interactions_per_query", row.cost.query_key_per_query()},
             {"vs_causal", row.cost.query_key_over_causal()},
             {"all_vs_causal", row.cost.performed_over_causal()},
             {"near_share", row.cost.near_share()}};
      if (!report.greedy_only) {
        out["lifted"] = ToJson(row.lifted);
        out["chosen"] = ToJson(row.chosen);
        out["right_logprob"] = Mean(row.right_logprob, row.chosen);
        out["margin"] = Mean(row.margin, row.chosen);
      }
      for (const Proportion& quarter : row.by_depth) {
        if (report.has_depth) {
          out[report.greedy_only ? "exact_by_depth" : "lifted_by_depth"].push_back(ToJson(quarter));
        }
      }
    }
    for (const std::string& note : length.notes) {
      json["notes"].push_back({{"n", length.n}, {"note", note}});
    }
  }
  return json;
}

}  // namespace alcca::cli
