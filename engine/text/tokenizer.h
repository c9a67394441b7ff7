// SentencePiece BPE tokenizer: our own bounded reader of tokenizer.model and an encoder that gives
// the same ids as the SentencePiece library.
//
// A model file is outside input. FromBytes holds it to these rules, allocates nothing in
// proportion to a number that the file merely claims, and every error is one line that names file
// and rule:
//   file <= 64 MiB, well-formed protobuf wire format, 1..1,000,000 pieces
//   a piece is valid UTF-8, 1..1024 bytes, unique, of a known type, with a score that is no NaN
//   exactly one UNKNOWN piece; BYTE pieces <0x00>..<0xFF>: all 256 with byte_fallback, else none
//   model_type BPE; identity normalizer and denormalizer; no whitespace-as-suffix
//   trainer_spec's unk_id, bos_id and eos_id agree with the pieces
// Codes: NotFound (cannot be opened), InvalidArgument (malformed), Unimplemented (well-formed, but
// asks for something that this tokenizer does not do).

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace alcca {

inline constexpr size_t kMaxTokenizerBytes = size_t{64} << 20;
inline constexpr size_t kMaxTokenizerPieces = 1'000'000;
inline constexpr size_t kMaxPieceBytes = 1024;

struct EncodeOptions {
  bool bos = false;  // Begin with bos_id, where the model has one.
  bool eos = false;  // End with eos_id, where the model has one.
};

// Immutable after loading, so safe for any number of threads.
class Tokenizer {
 public:
  static absl::StatusOr<Tokenizer> Load(const std::string& path);
  // `name` stands for the file in error messages.
  static absl::StatusOr<Tokenizer> FromBytes(std::string_view bytes, std::string_view name);

  Tokenizer(Tokenizer&&) = default;
  Tokenizer& operator=(Tokenizer&&) = default;

  // The ids of `text`, in O(n log n). Callers pass valid UTF-8; each byte that is not part of a
  // valid character is read as U+FFFD, as SentencePiece does. No text ever gives a CONTROL, BYTE
  // (but for byte fallback) or UNKNOWN piece by its name: "</s>" is four ordinary characters.
  std::vector<int32_t> Encode(std::string_view text, EncodeOptions options = {}) const;

  // The text of `ids`, always valid UTF-8. One leading space is dropped if the model adds a dummy
  // prefix. Ids outside [0, vocab_size) and, with `skip_special`, control pieces are invisible.
  std::string Decode(std::span<const int32_t> ids, bool skip_special = true) const;

  int32_t vocab_size() const { return static_cast<int32_t>(pieces_.size()); }
  int32_t longest_piece() const { return longest_piece_; }  // bytes
  int32_t unk_id() const { return unk_id_; }
  int32_t bos_id() const { return bos_id_; }  // -1: the model has none.
  int32_t eos_id() const { return eos_id_; }  // -1: the model has none.

  // -1 if there is no such piece. Finds control pieces too: never call it with a client's text.
  int32_t PieceToId(std::string_view piece) const;
  // The piece as the file spells it (U+2581 for a space); "" for an id out of range. The view
  // lives as long as the tokenizer.
  std::string_view IdToPiece(int32_t id) const;

  // All of these are false for an id out of range.
  bool IsControl(int32_t id) const { return HasType(id, PieceType::kControl); }
  bool IsUnknown(int32_t id) const { return HasType(id, PieceType::kUnknown); }
  bool IsByte(int32_t id) const { return HasType(id, PieceType::kByte); }
  // The value of a byte piece, 0..255; -1 for any other id.
  int ByteValue(int32_t id) const { return IsByte(id) ? pieces_[id].byte : -1; }

  // What the detokenizer needs of the model's normalizer.
  bool add_dummy_prefix() const { return add_dummy_prefix_; }
  bool remove_extra_whitespaces() const { return remove_extra_whitespaces_; }
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
  class Merger;

  static constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";  // U+2581
  // The bytes of one UTF-8 character as a number.
  static uint32_t PackedChar(std::string_view character) {
    uint32_t packed = 0;
    for (const char c : character) {
      packed = packed << 8 | static_cast<uint8_t>(c);
    }
    return packed;
  }

  Tokenizer() = default;

  absl::Status Build(std::string_view bytes);
  absl::Status AddPiece(std::string_view message);
  absl::Status CheckPieces(const ModelSpec& spec);
  absl::Status FindSpecial(const ModelSpec& spec);
  absl::Status IndexPieces();

  bool HasType(int32_t id, PieceType type) const {
    return id >= 0 && id < vocab_size() && pieces_[id].type == type;
  }
  // The id that text may merge into: a normal, user-defined or unused piece; else -1.
  int32_t TextPiece(std::string_view piece) const;
  // Bytes of the longest user-defined piece at the front of `s`; 0 if none.
  size_t MatchUserDefined(std::string_view s) const;
  std::string Normalize(std::string_view text) const;

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
