#pragma once

// The engine's values as wire messages.

#include <vector>

#include "alcca/v1/inference.pb.h"
#include "engine/event.h"

namespace alcca {

void SetLogprobs(const std::vector<TokenLogprob>& from, v1::OutputLogProbs* to);
void SetLogprobs(const std::vector<TokenLogprob>& from, v1::InputLogProbs* to);
void SetAttention(const AttentionParams& from, v1::AttentionParams* to);
// Counters, shares and ratios of a finished sequence.
void SetReport(const Ending& ending, v1::AttentionReport* to);

}  // namespace alcca
