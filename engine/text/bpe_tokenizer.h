#pragma once

// Byte-pair vocabularies that come with a cutting of text into words: those of tokenizer.json
// (tokenizer_json.h), tekken.json (tekken.h) and GGUF (gguf_bpe.h). The same ids and texts as the
// libraries tokenizers, with encode_special_tokens, and mistral-common.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/text/added_tokens.h"
#include "engine/text/bpe_model.h"
#include "engine/text/normalizer.h"
#include "engine/text/pre_tokenizer.h"
#include "engine/text/tokenizer.h"

namespace alcca {

// Limits of all files that hold such a vocabulary.
inline constexpr size_t kMaxBpeTokenBytes = 4096;
inline constexpr size_t kMaxVocabularyValues = 4'000'000;  // tokens, and twice as many merges

// A token as it is read back.
struct BpePiece {
  std::string spelling;  // as the file has it, valid UTF-8; empty: the vocabulary has no such id
  std::string text;      // bytes that it adds to a text
  bool control = false;
  bool unknown = false;  // it stands for text that has no token
};

// What a vocabulary's file says.
struct BpeParts {
  std::string file_name;
  std::vector<BpePiece> pieces;  // by id
  BpeModel model;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::vector<AddedToken> added;
  int32_t bos_id = -1, eos_id = -1;
  // The space at the beginning of a text is the normalizer's and is dropped when it is read back.
  bool drops_leading_space = false;
  // Bytes that make no character become U+FFFD one by one, else as many at a time as begin one.
  bool bytes_stand_alone = false;
};

class BpeTokenizer final : public Tokenizer {
 public:
  // Errors are those of the normalizer, which added tokens pass through.
  static absl::StatusOr<std::unique_ptr<BpeTokenizer>> Make(BpeParts parts);

  std::unique_ptr<TextStream> NewText(std::span<const int32_t> prompt_tail,
                                      bool skip_special) const override;
  std::string_view file_name() const override { return parts_.file_name; }
  int32_t vocab_size() const override { return static_cast<int32_t>(parts_.pieces.size()); }
  int32_t longest_piece() const override { return longest_piece_; }
  int32_t bos_id() const override { return parts_.bos_id; }
  int32_t eos_id() const override { return parts_.eos_id; }
  int32_t PieceToId(std::string_view piece) const override;
  std::string_view IdToPiece(int32_t id) const override { return PieceAt(id).spelling; }
  bool IsControl(int32_t id) const override { return PieceAt(id).control; }
  int32_t TextBytes(int32_t id) const override {
    return static_cast<int32_t>(PieceAt(id).text.size());
  }
  std::string TextOf(int32_t id) const override {
    return PieceAt(id).unknown ? "" : PieceAt(id).text;
  }
  bool BeginsText(std::span<const int32_t> prompt_tail) const override;
  bool LosesSpace(int32_t id) const override {
    return parts_.drops_leading_space && PieceAt(id).text.starts_with(' ');
  }

  // An empty one for an id out of range.
  const BpePiece& PieceAt(int32_t id) const;
  bool drops_leading_space() const { return parts_.drops_leading_space; }
  bool bytes_stand_alone() const { return parts_.bytes_stand_alone; }

 private:
  struct Scratch;

  explicit BpeTokenizer(BpeParts parts);
  absl::Status AppendIds(std::span<const TextRun> runs, std::vector<int32_t>* ids) const override;
  // Of a text that holds no token of `added_`.
  absl::Status AppendTextIds(std::string text, bool at_start, Scratch* scratch,
                             std::vector<int32_t>* ids) const;

  BpeParts parts_;
  AddedTokens added_, added_normalized_;  // looked for before and after the normalizer
  int32_t longest_piece_ = 1;
  absl::flat_hash_map<absl::string_view, int32_t> ids_;  // by spelling
};

// Whether a token is spelled as a control token, <|im_start|> or <\uFF5CUser\uFF5C>: many a file
// marks such a one as ordinary.
bool LooksLikeControl(std::string_view piece);

}  // namespace alcca
