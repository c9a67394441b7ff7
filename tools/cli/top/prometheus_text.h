#pragma once

// Reads a page of metrics in Prometheus' text format. The page comes from outside: every length is
// bounded, every error names its line.

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace alcca::cli {

// The largest page that is read, and the most it may say.
inline constexpr size_t kMaxMetricsBytes = size_t{8} << 20;
inline constexpr size_t kMaxSamples = 100'000;
inline constexpr size_t kMaxLabels = 32;  // of one sample

struct PrometheusSample {
  std::string name;
  std::map<std::string, std::string> labels;
  double value = 0;  // may be NaN or infinite
};

// The samples in the page's order; comments, timestamps and exemplars are skipped.
// INVALID_ARGUMENT "line 7: ...".
absl::StatusOr<std::vector<PrometheusSample>> ParsePrometheusText(std::string_view page);

}  // namespace alcca::cli
