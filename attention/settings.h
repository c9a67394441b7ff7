#pragma once

// What one speaker says about attention, and who decides: built-in defaults < the model's
// alcca.json < the daemon's configuration < the request.

#include <array>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "attention/knobs.h"

namespace alcca {

// A value that is absent says nothing.
struct AttentionSettings {
  std::optional<AttentionMode> mode;
  std::optional<KeySearch> search;
  std::array<std::optional<double>, kKnobCount> values = {};  // of kKnobs, in their order
  PerHeadTheta head_theta = nullptr;                          // alcca.json alone has tables
  PerHeadK head_k = nullptr;

  std::optional<double>& operator[](const Knob& knob) { return values[&knob - kKnobs]; }
  const std::optional<double>& operator[](const Knob& knob) const { return values[&knob - kKnobs]; }
};

// The one check of a number. INVALID_ARGUMENT names the knob: "k: must be from 1 to 2048, is 0".
absl::Status Set(const Knob& knob, double value, AttentionSettings* settings);

// "mode", "search" or a knob, from text; '-' in the name is read as '_'. INVALID_ARGUMENT names it,
// or says that there is none of this name.
absl::Status Set(std::string_view name, std::string_view text, AttentionSettings* settings);
// The text that Set reads back; nullopt if the settings say nothing of `name`.
std::optional<std::string> TextOf(std::string_view name, const AttentionSettings& settings);

// A way to attend in a list: NAME[:KNOB=VALUE]..., as "window:window=32" or
// "tree:tree_distances=20". NAME is a mode, or a search, which stands for alcca with that search;
// `search=tree` may stand among the knobs too. What is said goes over what `settings` said before.
// The operator's own knobs are none here.
absl::Status Add(std::string_view text, AttentionSettings* settings);

// What holds when these have spoken, from the weakest to the strongest, over the built-in defaults.
// A theta holds for all heads, so it clears the table and near_share of those before; k its table.
// tree_recent gives way to tree_distances.
AttentionParams Resolve(std::initializer_list<const AttentionSettings*> speakers);
// One more, over what held before.
void Override(const AttentionSettings& speaker, AttentionParams* params);

// What a number alone cannot show, of a speaker who has just been resolved: INVALID_ARGUMENT if it
// asks for more newest keys (tree_recent) than distances, or as CheckSlidingWindow says.
absl::Status CheckAsked(const AttentionSettings& asked, const AttentionParams& resolved,
                        int64_t sliding_window);

// The parameters that shape the result, as "alcca k=8 theta=0 epsilon=0.05". A number that each
// head has of its own is "per-head".
std::string DescribeAttention(const AttentionParams& params);

}  // namespace alcca
