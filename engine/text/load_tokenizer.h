#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/tokenizer.h"

namespace alcca {

// The files of a model folder that hold its whole tokenizer, the one that is read first. What a
// model was made with goes before what was converted from it: tekken.json, tokenizer.model
// (SentencePiece), tokenizer.json. A tokenizer.model of tiktoken's kind, as Llama 3 has, is none.
std::vector<std::string> TokenizerFiles(const std::string& dir);

// The tokenizer of a model folder. Tokens with ids from `max_vocab` on, which the model does not
// have, are left out if they were added to a vocabulary; else they are an error.
// NOT_FOUND: there is none; else the reader's codes, in one line that names file and rule.
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& dir,
                                                         int64_t max_vocab = INT64_MAX);

}  // namespace alcca
