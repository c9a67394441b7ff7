#pragma once

// A tokenizer's vocabulary as constraints see it.

#include <cstdint>
#include <span>

#include "engine/constraint/vocabulary.h"
#include "engine/text/tokenizer.h"

namespace alcca {

// Of a model with `vocab_size` ids, whatever the tokenizer has: ids beyond its own add no text.
VocabularyBytes BytesOf(const Tokenizer& tokenizer, int32_t vocab_size,
                        std::span<const int32_t> end_tokens);

}  // namespace alcca
