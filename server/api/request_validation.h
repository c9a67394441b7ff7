#pragma once

// Wire messages to engine requests: the one place where a client's numbers are checked. Pure; every
// error is INVALID_ARGUMENT naming the field and its range, or UNIMPLEMENTED naming what is not
// built.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "alcca/v1/inference.pb.h"
#include "engine/model/model_config.h"
#include "engine/request.h"
#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"

namespace alcca {

// Of a request; fixed, and named in docs/configure.md.
inline constexpr int32_t kMaxStopTokenIds = 256;
inline constexpr size_t kMaxRequestIdBytes = 256;
inline constexpr size_t kMaxCacheSaltBytes = 256;

inline constexpr int64_t kTokenizeBytes = 1 << 20;  // that Tokenize takes whatever the context

// The defaults for requests, and the limits of what a request may ask for.
struct RequestRules {
  const Tokenizer* tokenizer = nullptr;
  ChatFormat chat_format = ChatFormat::kMistralV3;
  int32_t vocab_size = 0;          // of the model
  int32_t max_context = 0;         // prompt + output
  int32_t default_max_tokens = 0;  // 0: the model's, else 256
  int32_t max_n = 16;
  int32_t max_logprobs = 20;
  int32_t max_stop_strings = 16;
  int32_t max_stop_bytes = 256;
  int32_t max_logit_bias = 1024;
  JsonSchemaOptions json = {};  // of JSON under a constraint
  GenerationConfig defaults;    // the model's
  AttentionParams attention;    // server configuration > alcca.json > built in
  int32_t sliding_window = 0;   // of the model, tokens; 0: none. multipole does not serve it
};

// When a request came, and until when its client waits for it.
struct Arrival {
  TimePoint time;
  std::optional<TimePoint> deadline;
};

// A whole request but for its key, and its id if the client gave none: Delivery::Register.
absl::StatusOr<Request> ValidateGenerate(const v1::GenerateRequest& request,
                                         const RequestRules& rules, const Arrival& arrival);
absl::StatusOr<Request> ValidateChat(const v1::ChatRequest& request, const RequestRules& rules,
                                     const Arrival& arrival);
absl::StatusOr<AttentionParams> ValidateAttention(const v1::AttentionParams& params,
                                                  const RequestRules& rules);
// Ids for Detokenize.
absl::StatusOr<std::vector<int32_t>> ValidateTokenIds(
    const google::protobuf::RepeatedField<uint32_t>& ids, std::string_view field,
    int32_t vocab_size);
absl::Status ValidateText(std::string_view text, std::string_view field);
// Checks a text before it is tokenized, which takes memory and time: OK if the text could fit the
// context at all, or has at most `least` bytes.
absl::Status ValidateTextSize(size_t bytes, const RequestRules& rules, std::string_view field,
                              int64_t least = 0);

}  // namespace alcca
