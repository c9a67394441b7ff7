// libFuzzer: what clients send. The first byte picks the message, the rest is its wire format.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "engine/text/load_tokenizer.h"
#include "server/api/request_validation.h"

namespace {

void Require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

const alcca::RequestRules& Rules() {
  static const alcca::Tokenizer* const tokenizer = [] {
    auto loaded = alcca::LoadTokenizer(ALCCA_MODEL_DIR);
    Require(loaded.ok());
    return loaded->release();
  }();
  static const alcca::RequestRules* const rules = new alcca::RequestRules{.tokenizer = tokenizer,
                                                                          .vocab_size = 4096,
                                                                          .max_context = 512,
                                                                          .defaults = {},
                                                                          .attention = {}};
  return *rules;
}

// What the engine may take for granted.
void CheckRequest(const absl::StatusOr<alcca::Request>& request) {
  if (!request.ok()) {
    Require(absl::IsInvalidArgument(request.status()) || absl::IsUnimplemented(request.status()));
    Require(!request.status().message().empty());
    return;
  }
  const alcca::SamplingParams& s = request->sampling;
  const alcca::RequestRules& rules = Rules();
  Require(!request->prompt.empty());
  for (const int32_t id : request->prompt) {
    Require(id >= 0 && id < rules.vocab_size);
  }
  Require(s.max_tokens >= 1 &&
          s.max_tokens + static_cast<int64_t>(request->prompt.size()) <= rules.max_context);
  Require(s.min_tokens >= 0 && s.min_tokens <= s.max_tokens);
  Require(s.n >= 1 && s.n <= rules.max_n);
  Require(s.temperature >= 0 && std::isfinite(s.temperature));
  Require(s.top_p > 0 && s.top_p <= 1 && s.min_p >= 0 && s.min_p <= 1 && s.top_k >= 0);
  Require(s.repetition_penalty > 0 && std::isfinite(s.repetition_penalty));
  Require(std::abs(s.frequency_penalty) <= 2 && std::abs(s.presence_penalty) <= 2);  // nor NaN
  for (const int32_t id : s.stop_token_ids) {
    Require(id >= 0 && id < rules.vocab_size);
  }
  Require(s.logprobs <= rules.max_logprobs && s.prompt_logprobs <= rules.max_logprobs);
  for (const std::string& stop : s.stop) {
    Require(!stop.empty() && stop.size() <= static_cast<size_t>(rules.max_stop_bytes));
  }
  for (const auto& [id, bias] : s.logit_bias) {
    Require(id >= 0 && id < rules.vocab_size && std::isfinite(bias));
  }
  const alcca::AttentionParams& a = request->attention;
  Require(a.k >= 1 && a.k <= alcca::kKeysMax);
  Require(a.theta >= 0 && std::isfinite(a.theta) && a.epsilon > 0 && std::isfinite(a.epsilon));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) {
    return 0;
  }
  const int length = static_cast<int>(size - 1);
  if (data[0] % 2 == 0) {
    alcca::v1::GenerateRequest request;
    if (request.ParseFromArray(data + 1, length)) {
      CheckRequest(alcca::ValidateGenerate(request, Rules(), {}));
    }
  } else {
    alcca::v1::ChatRequest request;
    if (request.ParseFromArray(data + 1, length)) {
      CheckRequest(alcca::ValidateChat(request, Rules(), {}));
    }
  }
  return 0;
}
