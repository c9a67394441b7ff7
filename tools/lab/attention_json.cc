#include "tools/lab/attention_json.h"

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "attention/settings.h"

namespace alcca::lab {

nlohmann::ordered_json AttentionJson(const AttentionParams& params) {
  nlohmann::ordered_json json = {{"mode", AttentionModeName(params.mode)},
                                 {"description", DescribeAttention(params)},
                                 {"search", TraitsOf(params.search).name}};
  for (const Knob& knob : RequestKnobs()) {
    const double value = Get(knob, params);
    if (IsInteger(knob)) {
      json[knob.name] = static_cast<int64_t>(value);
    } else {
      json[knob.name] = Rounded(value);
    }
    if (knob.has_table) {
      json[std::string(knob.name) + "_per_head"] = IsPerHead(knob, params);
    }
  }
  return json;
}

nlohmann::ordered_json CountersJson(const AttentionCounters& counters) {
  nlohmann::ordered_json json;
  for (const CounterTraits& counter : kCounters) {
    json[counter.name] = counters.*counter.field;
  }
  return json;
}

double Rounded(double value, int digits) {
  char text[40];
  std::snprintf(text, sizeof(text), "%.*g", digits, value);
  return std::strtod(text, nullptr);
}

}  // namespace alcca::lab
