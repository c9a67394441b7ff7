#pragma once

// What enters the engine: one validated request, in the engine's own terms.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "attention/params.h"
#include "base/clock.h"
#include "engine/constraint/compiler.h"

namespace alcca {

// Meaning and defaults as vLLM documents them; a validated value needs no further check.
struct SamplingParams {
  float temperature = 1.0f;         // 0: greedy
  int32_t top_k = 0;                // 0: off
  float top_p = 1.0f;               // (0, 1]
  float min_p = 0.0f;               // [0, 1]
  float repetition_penalty = 1.0f;  // > 0, over prompt and output
  float presence_penalty = 0.0f;    // [-2, 2], over output
  float frequency_penalty = 0.0f;   // [-2, 2], over output
  uint64_t seed = 0;                // always set: drawn by the service when the client gave none
  int32_t max_tokens = 16;          // >= 1
  int32_t min_tokens = 0;           // <= max_tokens; end tokens and stops are ignored before
  std::vector<std::string> stop;    // non-empty UTF-8 strings
  std::vector<int32_t> stop_token_ids;
  bool ignore_eos = false;
  bool include_stop_str_in_output = false;
  bool skip_special_tokens = true;
  std::vector<std::pair<int32_t, float>> logit_bias;  // token id -> added to its logit
  int32_t n = 1;                                      // independent completions of the prompt
  int32_t logprobs = -1;         // -1: none; else top alternatives beside the sampled token
  int32_t prompt_logprobs = -1;  // -1: none; else top alternatives beside each prompt token
};

// What an answer's text has to be, and the field of the request that says so.
struct AskedConstraint {
  ConstraintSpec spec;
  std::string field;
};

struct Request {
  uint64_t key = 0;  // unique in this process; the service's handle for Cancel and its news
  std::string id;    // the client's name for it, for logs
  std::vector<int32_t> prompt;  // token ids, not empty
  SamplingParams sampling;
  AttentionParams attention;
  std::string cache_salt;            // pages are shared with requests of the same salt alone
  bool bypass_prefix_cache = false;  // neither finds pages nor leaves any
  // Compiled on the way in: the engine looks at `constraint` alone. Null: any text.
  std::optional<AskedConstraint> asked_constraint;
  std::shared_ptr<const CompiledConstraint> constraint;
  TimePoint arrival;
  std::optional<TimePoint> deadline;
};

}  // namespace alcca
