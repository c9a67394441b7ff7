#pragma once

// The byte-pair vocabulary inside a GGUF file (tokenizer.ggml.model "gpt2"), from its metadata.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/tokenizer.h"

namespace alcca {

// Under the keys "tokenizer.ggml.NAME".
struct GgufBpe {
  std::vector<std::string> tokens;   // by id; ordinary ones in GPT-2's letters (byte_letters.h)
  std::vector<int32_t> token_types;  // token_type: 1 normal, 2 unknown, 3 control, 4 user defined,
                                     // 5 unused, 6 byte; empty: all normal
  std::vector<std::string> merges;   // "LEFT RIGHT", the first merged first
  std::string pre;                   // how text is cut into words; empty: "default"
  int32_t bos_id = -1, eos_id = -1;  // bos_token_id, eos_token_id
  std::optional<bool> add_bos;  // add_bos_token: a text begins with bos_id; absent: if texts of
                                // the models that `pre` is named after do
};

// `name` stands for the file in error messages, which name the key.
// INVALID_ARGUMENT: the parts contradict each other. UNIMPLEMENTED: another `pre`.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeGgufBpeTokenizer(GgufBpe vocabulary,
                                                                std::string_view name);

}  // namespace alcca
