#pragma once

// tokenizer_config.json and what stands beside it: which tokens begin and end a text, tokens that
// were added to a vocabulary, chat templates.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/added_tokens.h"

namespace alcca {

inline constexpr int64_t kMaxTokenId = 1'000'000;

struct TokenizerConfig {
  std::string bos_token, eos_token, unk_token, pad_token;  // empty: none
  std::optional<bool> add_bos, add_eos;                    // whether a text begins, ends with one
  std::vector<std::string> control_tokens;                 // additional_special_tokens
  std::vector<AddedToken> added;                           // added_tokens_decoder, by id
  // Name and source; a template without a name is "default".
  std::vector<std::pair<std::string, std::string>> chat_templates;
};

// `name` stands for the file in error messages. INVALID_ARGUMENT: one line with file and key.
absl::StatusOr<TokenizerConfig> ParseTokenizerConfig(std::string_view text, std::string_view name);

// Of a model folder: tokenizer_config.json, and added_tokens.json for ids that it does not have. A
// folder without either has none of all this.
absl::StatusOr<TokenizerConfig> LoadTokenizerConfig(const std::string& dir);

}  // namespace alcca
