#pragma once

// What `alcca top` knows of a daemon at one moment: identity and state from gRPC, and from its
// metrics page the counters behind rates and percentiles.

#include <array>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/cli/top/prometheus_text.h"

namespace alcca::cli {

// Of a Prometheus histogram: observations at or below each bound, the last bound being infinite.
struct TopHistogram {
  std::map<double, double> cumulative;
  double count() const { return cumulative.empty() ? 0 : cumulative.rbegin()->second; }
};

inline constexpr std::array kTopPhases = {"prefill", "decode"};

// Attention of one mode since the daemon started, in interactions (docs/counting.md).
struct TopMode {
  std::array<double, kTopPhases.size()> performed = {};
  std::array<double, kTopPhases.size()> dense = {};
  double queries = 0, near = 0;
};

// A metrics page, reduced. Counters count since the daemon started.
struct TopFigures {
  // Gauges.
  double running = 0, waiting = 0, waiting_tokens = 0;
  double kv_usage = 0;  // 0 to 1
  double kv_pages = 0, index_bytes = 0;
  // Counters.
  double prompt_tokens = 0, generation_tokens = 0;
  double finished = 0, failed = 0;  // failed: of the finished, by an error
  double rejected = 0, preemptions = 0, fallbacks = 0;
  double recall_wanted = 0, recall_found = 0;
  double prefix_asked = 0, prefix_found = 0;  // prompt tokens
  std::map<std::string, TopMode> modes;
  TopHistogram first_token, token_gap, request;
  double process_start = 0;  // Unix time; 0: not told
};

// FAILED_PRECONDITION when the page is not alccad's.
absl::StatusOr<TopFigures> ReadFigures(const std::vector<PrometheusSample>& samples);

// kUp: its metrics answer, and gRPC was not asked. kUnready: loaded and alive, and takes no
// requests.
enum class TopState { kUnknown, kUp, kServing, kLoading, kDraining, kUnready, kStalled, kDown };
const char* TopStateName(TopState state);

// From GetLoads: what there is to show where the metrics cannot be reached.
struct TopLoad {
  double running = 0, waiting = 0, waiting_tokens = 0, max_running = 0;
  double kv_usage = 0, kv_tokens = 0, generation_rate = 0;
};

struct TopSample {
  double seconds = 0;  // of a steady clock
  TopState state = TopState::kUnknown;
  std::string problem;  // why it is down, or why there are no figures
  double uptime = -1;   // seconds; negative: not known
  std::string model, weights, device, version;
  std::optional<TopLoad> load;
  std::optional<TopFigures> figures;
};

}  // namespace alcca::cli
