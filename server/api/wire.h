#pragma once

// The engine's values as wire messages. Of attention, names decide: a knob or a counter is the
// field that bears its name.

#include <vector>

#include "absl/status/statusor.h"
#include "alcca/v1/inference.pb.h"
#include "attention/settings.h"
#include "engine/event.h"

namespace alcca {

void SetLogprobs(const std::vector<TokenLogprob>& from, v1::OutputLogProbs* to);
void SetLogprobs(const std::vector<TokenLogprob>& from, v1::InputLogProbs* to);
// What applies, of all knobs those that shape it.
void SetAttention(const AttentionParams& from, v1::AttentionParams* to);
// What a request says. INVALID_ARGUMENT names the field: "k: must be from 1 to 2048, is 0".
absl::StatusOr<AttentionSettings> ReadAttention(const v1::AttentionParams& from);
// Counters, shares and ratios of a finished sequence.
void SetReport(const Ending& ending, v1::AttentionReport* to);

}  // namespace alcca
