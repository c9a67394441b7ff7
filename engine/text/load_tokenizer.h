#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/text/tokenizer.h"

namespace alcca {

// The tokenizer of a model folder, by the file that is there: tokenizer.model (SentencePiece).
// NOT_FOUND: there is none; else the reader's codes, in one line that names file and rule.
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& dir);

}  // namespace alcca
