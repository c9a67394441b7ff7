#pragma once

// The text of a SentencePiece sequence, an id at a time.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "engine/text/sentencepiece_model.h"
#include "engine/text/tokenizer.h"

namespace alcca {

// The piece with a space for each of SentencePiece's signs of one.
void AppendWithSpaces(std::string_view piece, std::string* out);

// One per sequence. Holds at most 3 undecided bytes: the beginning of a character that is spelled
// in byte pieces.
class SentencePieceText final : public TextStream {
 public:
  // As Tokenizer::NewText. `model` outlives this.
  SentencePieceText(const SentencePieceModel* model, std::span<const int32_t> prompt_tail,
                    bool skip_special);

  std::string Push(int32_t id) override;
  std::string Flush() override;
  // The next piece, if it is no byte's, is the first of a text.
  bool begins() const { return at_start_ && !space_dropped_ && !has_text_ && held_.empty(); }

 private:
  // A new text begins.
  void Restart();
  // Moves decided characters from held_ to `out`; with `all`, nothing stays held.
  void Drain(bool all, std::string* out);

  const SentencePieceModel* const model_;
  const bool skip_special_;
  std::string held_;            // Byte pieces, not yet a character.
  size_t held_of_prompt_ = 0;   // How many of them, from the front, are the prompt's.
  bool at_start_ = true;        // The dummy prefix may still come.
  bool space_dropped_ = false;  // The last piece began with the dummy prefix.
  bool has_text_ = false;
};

}  // namespace alcca
