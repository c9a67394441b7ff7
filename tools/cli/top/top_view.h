#pragma once

// A frame of `alcca top`: what is known of the daemons, as lines of text. Pure.

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "tools/cli/top/term_text.h"
#include "tools/cli/top/top_rates.h"
#include "tools/cli/top/top_sample.h"

namespace alcca::cli {

struct TopDaemon {
  std::string name;  // as it was given on the command line
  TopSample sample;
  std::optional<TopRates> rates;  // none before the second sample
  // Tokens per second of the last intervals, oldest first.
  std::vector<double> generation_history, prompt_history;
};

struct TopFrame {
  std::vector<TopDaemon> daemons;
  size_t selected = 0;  // whose details are shown
  double interval_seconds = 1;
  bool keys = false;  // someone can press them
};

// At most look.height lines, each at most look.width columns.
std::vector<std::string> RenderTop(const TopFrame& frame, const TermLook& look);

// The same for programs; figures that are not known are null.
nlohmann::json TopJson(const TopDaemon& daemon);

}  // namespace alcca::cli
