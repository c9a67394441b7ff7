#include "tools/cli/top/top_rates.h"

#include <algorithm>
#include <cmath>

namespace alcca::cli {
namespace {

// Counters that only a restart can lower.
constexpr double TopFigures::*kCounters[] = {
    &TopFigures::prompt_tokens, &TopFigures::generation_tokens, &TopFigures::finished,
    &TopFigures::rejected,      &TopFigures::preemptions,       &TopFigures::recall_wanted,
    &TopFigures::prefix_asked};

bool Restarted(const TopFigures& before, const TopFigures& now) {
  const bool fell = std::any_of(std::begin(kCounters), std::end(kCounters),
                                [&](auto field) { return now.*field < before.*field; });
  return fell || now.first_token.count() < before.first_token.count() ||
         now.token_gap.count() < before.token_gap.count();
}

TopLatency LatencyBetween(const TopHistogram& before, const TopHistogram& now) {
  return {.count = now.count() - before.count(),
          .p50 = Quantile(before, now, .5),
          .p95 = Quantile(before, now, .95)};
}

TopModeRates ModeBetween(const TopMode& before, const TopMode& now, double seconds) {
  TopModeRates out;
  for (size_t i = 0; i < kTopPhases.size(); ++i) {
    if (const double dense = now.dense[i] - before.dense[i]; dense > 0) {
      out.cost[i] = (now.performed[i] - before.performed[i]) / dense;
    }
  }
  if (const double queries = now.queries - before.queries; queries > 0) {
    out.near = (now.near - before.near) / queries;
    out.queries = queries / seconds;
  }
  return out;
}

void AddModes(const TopFigures& before, const TopFigures& now, TopRates* out) {
  double performed = 0, dense = 0;
  for (const auto& [name, mode] : now.modes) {
    const auto earlier = before.modes.find(name);
    const TopMode was = earlier == before.modes.end() ? TopMode() : earlier->second;
    const TopModeRates rates = ModeBetween(was, mode, out->seconds);
    if (rates.queries > 0) {
      out->modes[name] = rates;
    }
    for (size_t i = 0; i < kTopPhases.size(); ++i) {
      performed += mode.performed[i] - was.performed[i];
      dense += mode.dense[i] - was.dense[i];
    }
  }
  if (dense > 0) {
    out->cost = performed / dense;
  }
}

}  // namespace

std::optional<TopQuantile> Quantile(const TopHistogram& before, const TopHistogram& now, double q) {
  const auto added = [&](const auto& bucket) {
    const auto was = before.cumulative.find(bucket.first);
    return bucket.second - (was == before.cumulative.end() ? 0 : was->second);
  };
  if (now.cumulative.empty()) {
    return std::nullopt;
  }
  const double all = added(*now.cumulative.rbegin());
  if (!(all > 0)) {
    return std::nullopt;
  }
  const double rank = q * all;
  double low = 0, below = 0;
  for (const auto& bucket : now.cumulative) {
    const double up_to = added(bucket);
    if (up_to >= rank) {
      if (std::isinf(bucket.first)) {
        return TopQuantile{.seconds = low, .above = true};
      }
      const double share = up_to > below ? (rank - below) / (up_to - below) : 1;
      return TopQuantile{.seconds = low + (bucket.first - low) * share, .above = false};
    }
    low = bucket.first;
    below = up_to;
  }
  return std::nullopt;  // counts that do not ascend: no histogram
}

TopRates Between(const TopFigures& earlier, const TopFigures& now, double seconds) {
  TopRates out;
  out.seconds = seconds;
  out.restarted = Restarted(earlier, now);
  const TopFigures none;
  const TopFigures& before = out.restarted ? none : earlier;
  const auto rate = [&](double TopFigures::*field) {
    return std::max(0., now.*field - before.*field) / seconds;
  };
  out.prompt_tokens = rate(&TopFigures::prompt_tokens);
  out.generation_tokens = rate(&TopFigures::generation_tokens);
  out.finished = rate(&TopFigures::finished);
  out.failed = rate(&TopFigures::failed);
  out.rejected = rate(&TopFigures::rejected);
  out.preemptions = rate(&TopFigures::preemptions);
  out.fallbacks = rate(&TopFigures::fallbacks);
  out.first_token = LatencyBetween(before.first_token, now.first_token);
  out.token_gap = LatencyBetween(before.token_gap, now.token_gap);
  out.request = LatencyBetween(before.request, now.request);
  AddModes(before, now, &out);
  if (const double wanted = now.recall_wanted - before.recall_wanted; wanted > 0) {
    out.recall = (now.recall_found - before.recall_found) / wanted;
  }
  if (const double asked = now.prefix_asked - before.prefix_asked; asked > 0) {
    out.prefix_hits = (now.prefix_found - before.prefix_found) / asked;
  }
  return out;
}

}  // namespace alcca::cli
