#pragma once

// The tokenizer.json of Hugging Face's library tokenizers: byte-pair vocabularies, byte-level or
// with byte fallback, and the steps around them. Other kinds of model (Unigram, WordPiece) and
// steps that no such vocabulary uses are refused by name.

#include <cstddef>
#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/text/bpe_tokenizer.h"
#include "engine/text/tokenizer_config.h"

namespace alcca {

inline constexpr size_t kMaxTokenizerJsonBytes = size_t{64} << 20;

// `name` stands for the file in error messages. Tokens with ids from `max_vocab` on, which the
// model does not have, are left out if they were added; others are an error. INVALID_ARGUMENT,
// UNIMPLEMENTED: one line with file and key.
absl::StatusOr<std::unique_ptr<BpeTokenizer>> ParseTokenizerJson(std::string_view text,
                                                                 std::string_view name,
                                                                 const TokenizerConfig& config,
                                                                 int64_t max_vocab);

}  // namespace alcca
