#pragma once

// Parts that the lab's JSON files share.

#include <nlohmann/json_fwd.hpp>

#include "attention/counters.h"
#include "attention/params.h"

namespace alcca::lab {

// The mode, its description and the value of every knob, whether it shapes the result or not.
nlohmann::ordered_json AttentionJson(const AttentionParams& params);
// By the names of docs/counting.md.
nlohmann::ordered_json CountersJson(const AttentionCounters& counters);
// `value` to `digits` significant digits: what a plot needs, in few characters.
double Rounded(double value, int digits = 5);

}  // namespace alcca::lab
