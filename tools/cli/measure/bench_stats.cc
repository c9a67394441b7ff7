#include "tools/cli/measure/bench_stats.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/numbers.h"

namespace alcca::cli {

Summary Summarise(std::vector<double> values) {
  if (values.empty()) {
    return {};
  }
  std::sort(values.begin(), values.end());
  const auto at = [&](double share) {
    const double rank = share * double(values.size() - 1);
    const size_t low = static_cast<size_t>(rank);
    const size_t high = std::min(low + 1, values.size() - 1);
    return values[low] + (rank - double(low)) * (values[high] - values[low]);
  };
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  return {.mean = sum / double(values.size()),
          .p50 = at(.5),
          .p90 = at(.9),
          .p99 = at(.99),
          .max = values.back()};
}

bool Objectives::Met(const RequestTimes& times) const {
  return times.ok && (!ttft || times.ttft <= *ttft) && (!tpot || times.tpot() <= *tpot) &&
         (!e2el || times.e2el <= *e2el);
}

std::string ParseObjective(const std::string& text, Objectives* objectives) {
  const size_t colon = text.find(':');
  double milliseconds = 0;
  if (colon == std::string::npos || !absl::SimpleAtod(text.substr(colon + 1), &milliseconds) ||
      !(milliseconds > 0)) {
    return "'" + text + "' is not NAME:MILLISECONDS";
  }
  const std::string name = text.substr(0, colon);
  if (name == "ttft") {
    objectives->ttft = milliseconds / 1e3;
  } else if (name == "tpot") {
    objectives->tpot = milliseconds / 1e3;
  } else if (name == "e2el") {
    objectives->e2el = milliseconds / 1e3;
  } else {
    return "'" + name + "' is none of ttft, tpot, e2el";
  }
  return "";
}

}  // namespace alcca::cli
