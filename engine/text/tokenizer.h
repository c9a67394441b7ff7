#pragma once

// Text to token ids and back, whatever the vocabulary was made with. Made by LoadTokenizer
// (load_tokenizer.h), as a SentencePieceTokenizer or a BpeTokenizer.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace alcca {

// Of a prompt, so many ids at its end decide how the text behind it begins.
inline constexpr size_t kPromptTailIds = 16;

// A part of a text, and whether its author may write control tokens by their names: a chat template
// may, a client never.
struct TextRun {
  std::string_view text;
  bool trusted = false;
};

struct EncodeOptions {
  bool bos = false;  // Begin with bos_id, if the vocabulary has one.
  bool eos = false;  // End with eos_id, if the vocabulary has one.
};

// The text of one sequence, an id at a time: what a stream may send now. Every part is valid UTF-8;
// bytes that do not make a character yet are held.
class TextStream {
 public:
  virtual ~TextStream() = default;
  // The text that became certain by this id; often empty.
  virtual std::string Push(int32_t id) = 0;
  // The end: bytes still held become U+FFFD, one each or one for all, as the vocabulary's library
  // does. Push may go on afterwards.
  virtual std::string Flush() = 0;
};

// Immutable after loading, so safe for any number of threads.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // The ids of `text`, in O(n log n). Callers pass valid UTF-8; each byte that is not part of a
  // valid character is read as U+FFFD. No text ever gives a control piece by its name.
  // RESOURCE_EXHAUSTED: the vocabulary's regular expressions take too many steps for this text.
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                              EncodeOptions options = {}) const;
  // The same of a text that several wrote: control pieces are found by their names in trusted bytes
  // alone, and what lies between them is encoded whole, whoever wrote it.
  absl::StatusOr<std::vector<int32_t>> Encode(std::span<const TextRun> runs) const;

  // The text of `ids`: the parts of NewText({}, skip_special), one after the other.
  std::string Decode(std::span<const int32_t> ids, bool skip_special = true) const;

  // The text of the ids that will follow `prompt_tail` (a prompt, or its last kPromptTailIds),
  // whose own text is not repeated. After text, the first piece keeps its leading space; after a
  // control piece (<s>, [/INST]) or an empty prompt a new text begins, and a space that the
  // vocabulary adds there is dropped. A character that the prompt left incomplete comes out whole
  // if the next ids complete it, and otherwise not at all. With `skip_special`, control pieces are
  // invisible; else they appear by name ("</s>"). Ids outside [0, vocab_size) are invisible. The
  // tokenizer outlives the stream and does not move.
  virtual std::unique_ptr<TextStream> NewText(std::span<const int32_t> prompt_tail,
                                              bool skip_special) const = 0;

  // The file of a model folder that it was read from.
  virtual std::string_view file_name() const = 0;
  virtual int32_t vocab_size() const = 0;
  virtual int32_t longest_piece() const = 0;  // bytes
  // -1: the vocabulary has none, or begins no text with it.
  virtual int32_t bos_id() const = 0;
  virtual int32_t eos_id() const = 0;  // -1: the vocabulary has none.

  // -1 if there is no such piece. Finds control pieces too: never call it with a client's text.
  virtual int32_t PieceToId(std::string_view piece) const = 0;
  // The piece as the file spells it; "" for an id out of range. The view lives as long as the
  // tokenizer.
  virtual std::string_view IdToPiece(int32_t id) const = 0;
  // False for an id out of range.
  virtual bool IsControl(int32_t id) const = 0;
  // Bytes that the id adds to a text, if it is not the text's first.
  virtual int32_t TextBytes(int32_t id) const = 0;
  // These bytes; they may be a part of a character. Empty for an unknown piece too, which is no
  // text that anyone means.
  virtual std::string TextOf(int32_t id) const = 0;
  // Whether the ids that follow this prompt, or its last kPromptTailIds, begin a text, at which ids
  // that LosesSpace lose the space that their TextOf begins with.
  virtual bool BeginsText(std::span<const int32_t> prompt_tail) const = 0;
  virtual bool LosesSpace(int32_t id) const = 0;

 private:
  virtual absl::Status AppendIds(std::span<const TextRun> runs,
                                 std::vector<int32_t>* ids) const = 0;
};

}  // namespace alcca
