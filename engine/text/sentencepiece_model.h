#pragma once

// The checked content of a SentencePiece tokenizer.model: pieces, and how text is normalized.
//
// A model file is outside input. FromBytes holds it to these rules, allocates nothing in
// proportion to a number that the file merely claims, and every error is one line that names file
// and rule:
//   file <= 64 MiB, well-formed protobuf wire format, 1..1,000,000 pieces
//   a piece is valid UTF-8, 1..1024 bytes, unique, of a known type, with a score that is no NaN
//   exactly one UNKNOWN piece; BYTE pieces <0x00>..<0xFF>: all 256 with byte_fallback, else none
//   model_type BPE; identity normalizer and denormalizer; no whitespace-as-suffix
//   trainer_spec's unk_id, bos_id and eos_id agree with the pieces
// Codes: InvalidArgument (malformed), Unimplemented (well-formed, but asks for something that the
// tokenizer does not do).

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/text/added_tokens.h"

namespace alcca {

inline constexpr size_t kMaxTokenizerBytes = size_t{64} << 20;
inline constexpr size_t kMaxTokenizerPieces = 1'000'000;
inline constexpr size_t kMaxPieceBytes = 1024;

inline constexpr std::string_view kSentencePieceSpace = "\xE2\x96\x81";  // U+2581

// Immutable after loading, so safe for any number of threads.
class SentencePieceModel {
 public:
  // `name` stands for the file in error messages.
  static absl::StatusOr<SentencePieceModel> FromBytes(std::string_view bytes,
                                                      std::string_view name);

  // Adds tokens that stand in other files, above the pieces of this one: control pieces, and others
  // as user-defined ones. Ids from `max_vocab` on, and those that the model has, are left out; an
  // id between that nobody named becomes a control piece. INVALID_ARGUMENT: the ids are too far
  // apart.
  absl::Status AddTokens(std::vector<AddedToken> tokens, int64_t max_vocab);

  SentencePieceModel(SentencePieceModel&&) = default;
  SentencePieceModel& operator=(SentencePieceModel&&) = default;

  int32_t vocab_size() const { return static_cast<int32_t>(pieces_.size()); }
  int32_t longest_piece() const { return longest_piece_; }  // bytes
  int32_t unk_id() const { return unk_id_; }
  int32_t bos_id() const { return bos_id_; }  // -1: the model has none.
  int32_t eos_id() const { return eos_id_; }  // -1: the model has none.

  // -1 if there is no such piece. Finds control pieces too.
  int32_t PieceToId(std::string_view piece) const;
  // The piece as the file spells it (U+2581 for a space); "" for an id out of range. The view
  // lives as long as the model.
  std::string_view IdToPiece(int32_t id) const;

  // All of these are false for an id out of range.
  bool IsControl(int32_t id) const { return HasType(id, PieceType::kControl); }
  bool IsUnknown(int32_t id) const { return HasType(id, PieceType::kUnknown); }
  bool IsByte(int32_t id) const { return HasType(id, PieceType::kByte); }
  // An unused piece helps merging but is no output.
  bool IsUnused(int32_t id) const { return HasType(id, PieceType::kUnused); }
  // The value of a byte piece, 0..255; -1 for any other id.
  int ByteValue(int32_t id) const { return IsByte(id) ? pieces_[id].byte : -1; }

  // --- Encoding --------------------------------------------------------------------------------
  // The id that text may merge into: a normal, user-defined or unused piece; else -1.
  int32_t TextPiece(std::string_view piece) const;
  float score(int32_t id) const { return pieces_[id].score; }  // `id` is in range
  // Bytes of the longest user-defined piece at the front of `s`; 0 if none.
  size_t MatchUserDefined(std::string_view s) const;
  // Some piece has this character before a space, so that the two may merge.
  bool StandsBeforeSpace(std::string_view character) const {
    return before_space_.contains(PackedChar(character));
  }
  // True: a space after a character that stands before none begins a word, which merges by itself.
  // False if there are unused pieces, whose parts are kept per text.
  bool words_are_separate() const { return words_are_separate_; }
  // [256] with byte_fallback, else empty.
  const std::vector<int32_t>& byte_ids() const { return byte_ids_; }

  bool add_dummy_prefix() const { return add_dummy_prefix_; }
  bool remove_extra_whitespaces() const { return remove_extra_whitespaces_; }
  bool escape_whitespaces() const { return escape_whitespaces_; }
  std::string_view unk_surface() const { return unk_surface_; }  // Text of an UNKNOWN piece.

 private:
  // Numbers are those of the file format.
  enum class PieceType : uint8_t {
    kNormal = 1,
    kUnknown = 2,
    kControl = 3,
    kUserDefined = 4,
    kUnused = 5,
    kByte = 6,
  };
  struct Piece {
    uint32_t offset = 0;  // Into text_.
    uint16_t bytes = 0;
    PieceType type = PieceType::kNormal;
    uint8_t byte = 0;  // Of a kByte piece.
    float score = 0;
  };
  struct ModelSpec;

  // The bytes of one UTF-8 character as a number.
  static uint32_t PackedChar(std::string_view character) {
    uint32_t packed = 0;
    for (const char c : character) {
      packed = packed << 8 | static_cast<uint8_t>(c);
    }
    return packed;
  }

  SentencePieceModel() = default;

  absl::Status Build(std::string_view bytes);
  absl::Status AddPiece(std::string_view message);
  void AppendPiece(std::string_view text, Piece piece);
  void SortUserDefined();
  absl::Status CheckPieces(const ModelSpec& spec);
  absl::Status FindSpecial(const ModelSpec& spec);
  absl::Status IndexPieces();

  bool HasType(int32_t id, PieceType type) const {
    return id >= 0 && id < vocab_size() && pieces_[id].type == type;
  }

  std::vector<char> text_;             // All pieces, one after the other.
  std::vector<Piece> pieces_;          // [vocab_size]
  std::vector<int32_t> slots_;         // Hash table of ids, open addressing; -1 = free.
  std::vector<int32_t> user_defined_;  // Ids, sorted by piece.
  // Characters that some piece has before a space. After any other character a space begins a word
  // that merges by itself; not so if there are unused pieces, whose parts are kept per text.
  std::unordered_set<uint32_t> before_space_;
  bool words_are_separate_ = true;
  int32_t longest_piece_ = 1;
  std::vector<int32_t> byte_ids_;  // [256] with byte_fallback, else empty.
  std::string unk_surface_;
  int32_t unk_id_ = -1;
  int32_t bos_id_ = -1;
  int32_t eos_id_ = -1;
  bool add_dummy_prefix_ = true;
  bool remove_extra_whitespaces_ = true;
  bool escape_whitespaces_ = true;
};

}  // namespace alcca
