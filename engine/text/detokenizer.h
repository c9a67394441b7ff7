// Token ids to text, one id at a time: what a stream may send now.
//
// The pieces of text concatenate to exactly Tokenizer::Decode of all the ids, whatever the ids are
// (Decode is this class in a loop), and each of them is valid UTF-8: the bytes of a character that
// is spelled in byte pieces are held until the character is complete.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "engine/text/tokenizer.h"

namespace alcca {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

// One per sequence. Cheap to make and to copy; holds at most 3 undecided bytes.
class Detokenizer {
 public:
  // `tokenizer` outlives this. With `skip_special`, control pieces are invisible; else they appear
  // as their name ("</s>").
  explicit Detokenizer(const Tokenizer* tokenizer, bool skip_special = true)
      : tokenizer_(tokenizer), skip_special_(skip_special) {}

  // Starts afresh, behind a prompt (its last ids suffice) whose text is not to be repeated. After
  // text, the first piece keeps its leading space; after a control piece (<s>, [/INST]) or an
  // empty prompt a new text begins, and that space is dropped. A character that the prompt left
  // incomplete is emitted whole if the next ids complete it, and otherwise not at all.
  void Prime(std::span<const int32_t> prompt_tail);

  // The text that became certain by this id; often empty.
  std::string Push(int32_t id);

  // The end: bytes still held become U+FFFD, one each. Push may go on afterwards.
  std::string Flush();

 private:
  // Moves decided characters from held_ to `out`; with `all`, nothing stays held.
  void Drain(bool all, std::string* out);

  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::string held_;            // Byte pieces, not yet a character.
  size_t held_of_prompt_ = 0;   // How many of them, from the front, came with Prime.
  bool at_start_ = true;        // The dummy prefix may still come.
  bool space_dropped_ = false;  // The last piece began with the dummy prefix.
  bool has_text_ = false;
};

}  // namespace alcca
