#pragma once

// A prompt and one more token through every layer before the first request: what a device or an
// allocator does on first use is done, and weights that give no numbers are found.

#include "absl/status/status.h"
#include "engine/model.h"

namespace alcca {

// Touches pages 0.. of the cache; nothing may run beside it. `max_tokens` (> 1) bounds the prompt.
// INTERNAL: logits are not finite.
absl::Status WarmUp(Model& model, const AttentionParams& attention, int32_t max_tokens);

}  // namespace alcca
