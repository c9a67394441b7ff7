#pragma once

// What a benchmark measured and how it is summarised. Definitions are those of vLLM's serving
// benchmark, so that figures compare:
//   TTFT  send to first token            TPOT  (E2EL - TTFT) / (output tokens - 1), a request's
//   ITL   every gap between chunks       E2EL  send to the last token
// With a rate of arrivals, a request counts as sent when it arrives, even if a thread is free for
// it only later.
//   goodput  requests per second that met every stated objective

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace alcca::cli {

struct RequestTimes {
  bool ok = false;
  double ttft = 0, e2el = 0;  // seconds
  std::vector<double> itl;
  int64_t prompt_tokens = 0, output_tokens = 0;

  double tpot() const { return output_tokens > 1 ? (e2el - ttft) / double(output_tokens - 1) : 0; }
};

struct Summary {
  double mean = 0, p50 = 0, p90 = 0, p99 = 0, max = 0;
};

// Percentiles by linear interpolation between ranks. All zero for no values.
Summary Summarise(std::vector<double> values);

struct Objectives {
  std::optional<double> ttft, tpot, e2el;  // seconds

  bool Any() const { return ttft || tpot || e2el; }
  bool Met(const RequestTimes& times) const;
};

// "ttft:200", "tpot:50", "e2el:3000", in milliseconds. Returns what is wrong, or "".
std::string ParseObjective(const std::string& text, Objectives* objectives);

}  // namespace alcca::cli
