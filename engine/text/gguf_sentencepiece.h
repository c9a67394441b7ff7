#pragma once

// The SentencePiece vocabulary inside a GGUF file (tokenizer.ggml.model "llama"), from its
// metadata.

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/tokenizer.h"

namespace alcca {

// Under the keys "tokenizer.ggml.NAME"; views into the file.
struct GgufSentencePiece {
  std::vector<std::string_view> tokens;      // by id
  std::vector<float> scores;                 // of each token
  std::vector<int64_t> token_types;          // token_type of each; numbers are SentencePiece's
  std::optional<std::string_view> bos, eos;  // the tokens of bos_token_id and eos_token_id
  bool add_space_prefix = true;
};

// `name` stands for the file in error messages. Codes and rules are SentencePieceModel's;
// INVALID_ARGUMENT also if the lists are not of one length.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeGgufSentencePieceTokenizer(
    const GgufSentencePiece& vocabulary, std::string_view name);

}  // namespace alcca
