#include "engine/warm_up.h"

#include <algorithm>
#include <numeric>
#include <span>
#include <vector>

#include "base/status_macros.h"

namespace alcca {

absl::Status WarmUp(Model& model, const AttentionParams& attention, int32_t max_tokens) {
  constexpr int32_t kPromptTokens = 32;
  const KvShape& shape = model.kv_shape();
  std::vector<int32_t> pages(shape.pages);
  std::iota(pages.begin(), pages.end(), 0);
  const int64_t cache = int64_t{shape.pages} * shape.page_tokens;
  const int32_t prompt = static_cast<int32_t>(
      std::max<int64_t>(1, std::min<int64_t>({kPromptTokens, max_tokens - 1, cache - 1})));
  ASSIGN_OR_RETURN(const auto state, model.MakeAttentionState(attention));
  AttentionCounters counters;
  int32_t length = 0;
  for (const int32_t rows : {prompt, 1}) {
    if (length + rows > cache) {
      break;
    }
    std::vector<int32_t> tokens;
    for (int32_t row = 0; row < rows; ++row) {
      tokens.push_back((length + row) % model.vocab_size());
    }
    Batch batch;
    batch.Append(tokens, length, pages.data(), &attention, state.get(), &counters);
    batch.logit_rows = {rows - 1};
    length += rows;
    // As a request samples; that its logits are numbers is seen on the way.
    const SamplingRow row = {.temperature = 1, .top_logprobs = 0};
    if (model.Forward(batch, {&row, 1}, [] {})[0].failed) {
      return absl::InternalError(
          "warm-up: the model's logits are not finite numbers; its weights are damaged, or are "
          "not those of its config.json");
    }
  }
  return absl::OkStatus();
}

}  // namespace alcca
