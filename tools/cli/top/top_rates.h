#pragma once

// From two samples of a daemon to what happened between them. Pure.

#include <array>
#include <map>
#include <optional>
#include <string>

#include "tools/cli/top/top_sample.h"

namespace alcca::cli {

struct TopQuantile {
  double seconds = 0;
  bool above = false;  // beyond the histogram's last finite bound, which `seconds` is
};

struct TopLatency {
  double count = 0;                     // observations in the interval
  std::optional<TopQuantile> p50, p95;  // none without observations
};

struct TopModeRates {
  // Interactions performed over what dense would have done; none where there were no queries.
  std::array<std::optional<double>, kTopPhases.size()> cost;
  std::optional<double> near;  // share of queries answered by the mean value
  double queries = 0;          // per second
};

struct TopRates {
  double seconds = 0;      // between the samples
  bool restarted = false;  // counters fell: the figures are since the restart
  // Per second.
  double prompt_tokens = 0, generation_tokens = 0;
  double finished = 0, failed = 0, rejected = 0, preemptions = 0, fallbacks = 0;
  TopLatency first_token, token_gap, request;
  std::map<std::string, TopModeRates> modes;  // those with queries in the interval
  std::optional<double> cost;                 // over all modes and phases
  std::optional<double> recall;               // of tree searches checked in the interval
  std::optional<double> prefix_hits;          // share of prompt tokens found in the prefix cache
};

// `seconds` > 0 from `before` to `now`.
TopRates Between(const TopFigures& before, const TopFigures& now, double seconds);

// The quantile q of the observations that `now` has and `before` has not, linear inside a bucket as
// in Prometheus' histogram_quantile.
std::optional<TopQuantile> Quantile(const TopHistogram& before, const TopHistogram& now, double q);

}  // namespace alcca::cli
