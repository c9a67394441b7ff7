#pragma once

// Mistral's tekken.json (Nemo, Ministral, Pixtral and later): special tokens first, then byte
// sequences by rank, merged as tiktoken does.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/text/bpe_tokenizer.h"

namespace alcca {

inline constexpr size_t kMaxTekkenBytes = size_t{64} << 20;

// The pattern of the files that Mistral has published, which GGUF calls "tekken".
inline constexpr std::string_view kTekkenPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// `name` stands for the file in error messages. INVALID_ARGUMENT: one line with file and key, also
// if the vocabulary has more than `max_vocab` ids.
absl::StatusOr<std::unique_ptr<BpeTokenizer>> ParseTekken(std::string_view text,
                                                          std::string_view name, int64_t max_vocab);

}  // namespace alcca
