#pragma once

// The text of a sequence of a byte-pair vocabulary, an id at a time.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "engine/text/tokenizer.h"

namespace alcca {

class BpeTokenizer;

// One per sequence. Holds at most 3 undecided bytes: the beginning of a character.
class BpeText final : public TextStream {
 public:
  // As Tokenizer::NewText. `tokenizer` outlives this.
  BpeText(const BpeTokenizer* tokenizer, std::span<const int32_t> prompt_tail, bool skip_special);

  std::string Push(int32_t id) override;
  std::string Flush() override;
  bool at_start() const { return at_start_; }

 private:
  // Moves what is decided from held_ to *out; with `all`, everything.
  void Drain(bool all, std::string* out);
  // Bytes at the front of `rest`, which begins no valid character, that become one U+FFFD.
  size_t MalformedBytes(std::string_view rest) const;

  const BpeTokenizer* tokenizer_;
  const bool skip_special_;
  std::string held_;
  size_t held_of_prompt_ = 0;  // leading bytes of held_ that the prompt's ids gave
  bool at_start_ = true;       // of a text
};

}  // namespace alcca
