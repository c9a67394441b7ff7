#include "engine/text/vocabulary_bytes.h"

#include <algorithm>

namespace alcca {

VocabularyBytes BytesOf(const Tokenizer& tokenizer, int32_t vocab_size,
                        std::span<const int32_t> end_tokens) {
  VocabularyBytes vocabulary;
  vocabulary.bytes.resize(static_cast<size_t>(vocab_size));
  vocabulary.end_tokens.assign(end_tokens.begin(), end_tokens.end());
  for (int32_t id = 0; id < std::min(vocab_size, tokenizer.vocab_size()); ++id) {
    std::string& bytes = vocabulary.bytes[static_cast<size_t>(id)];
    bytes = tokenizer.TextOf(id);
    if (bytes.starts_with(' ') && tokenizer.LosesSpace(id)) {
      vocabulary.loses_space.push_back(id);
    }
  }
  return vocabulary;
}

}  // namespace alcca
