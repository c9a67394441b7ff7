#include "engine/text/sentencepiece_model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/utf8.h"
#include "engine/text/protobuf_reader.h"

namespace alcca {
namespace {

absl::Status BadModel(std::string_view rule) {
  return absl::InvalidArgumentError(std::string(rule));
}

template <typename... Args>
absl::Status PieceError(size_t id, const Args&... rule) {
  return absl::InvalidArgumentError(absl::StrCat("piece ", id, ": ", rule...));
}

// The value of "<0x0A>" etc.; -1 if `piece` is not of this form.
int BytePieceValue(std::string_view piece) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') {
    return -1;
  }
  const size_t high = kDigits.find(piece[3]);
  const size_t low = kDigits.find(piece[4]);
  if (high == std::string_view::npos || low == std::string_view::npos) {
    return -1;
  }
  return static_cast<int>(16 * high + low);
}

}  // namespace

// The fields of trainer_spec, normalizer_spec and denormalizer_spec that change what a tokenizer
// does, with the defaults of the format.
struct SentencePieceModel::ModelSpec {
  int64_t model_type = 1;  // UNIGRAM
  bool byte_fallback = false;
  bool whitespace_as_suffix = false;
  std::optional<int64_t> unk_id, bos_id, eos_id;
  std::string_view unk_surface = " \xE2\x81\x87 ";  // U+2047
  std::string_view bos_piece, eos_piece;
  std::string_view normalizer_name;
  bool has_charsmap = false;
  bool add_dummy_prefix = true, remove_extra_whitespaces = true, escape_whitespaces = true;

  absl::Status ParseTrainer(std::string_view message);
  absl::Status ParseNormalizer(std::string_view message);
  absl::Status CheckSupported() const;
};

absl::Status SentencePieceModel::ModelSpec::ParseTrainer(std::string_view message) {
  ProtobufReader reader(message);
  ProtobufField field;
  while (!reader.done()) {
    RETURN_IF_ERROR(reader.Next(&field));
    switch (field.number) {
      case 3:
      case 24:
      case 35:
      case 40:
      case 41:
      case 42:
        RETURN_IF_ERROR(field.Expect(ProtobufWire::kVarint, "trainer_spec"));
        break;
      case 44:
      case 46:
      case 47:
        RETURN_IF_ERROR(field.Expect(ProtobufWire::kBytes, "trainer_spec"));
        break;
      default:
        break;
    }
    const auto number = static_cast<int32_t>(field.value);  // int32: truncates as protobuf does.
    if (field.number == 3) {
      model_type = number;
    }
    if (field.number == 24) {
      whitespace_as_suffix = field.value != 0;
    }
    if (field.number == 35) {
      byte_fallback = field.value != 0;
    }
    if (field.number == 40) {
      unk_id = number;
    }
    if (field.number == 41) {
      bos_id = number;
    }
    if (field.number == 42) {
      eos_id = number;
    }
    if (field.number == 44) {
      unk_surface = field.bytes;
    }
    if (field.number == 46) {
      bos_piece = field.bytes;
    }
    if (field.number == 47) {
      eos_piece = field.bytes;
    }
  }
  if (!IsValidUtf8(unk_surface)) {
    return BadModel("trainer_spec.unk_surface is not valid UTF-8");
  }
  return absl::OkStatus();
}

absl::Status SentencePieceModel::ModelSpec::ParseNormalizer(std::string_view message) {
  ProtobufReader reader(message);
  ProtobufField field;
  while (!reader.done()) {
    RETURN_IF_ERROR(reader.Next(&field));
    if (field.number <= 2) {
      RETURN_IF_ERROR(field.Expect(ProtobufWire::kBytes, "normalizer_spec"));
    }
    if (field.number >= 3 && field.number <= 5) {
      RETURN_IF_ERROR(field.Expect(ProtobufWire::kVarint, "normalizer_spec"));
    }
    if (field.number == 1) {
      normalizer_name = field.bytes;
    }
    if (field.number == 2) {
      has_charsmap = !field.bytes.empty();
    }
    if (field.number == 3) {
      add_dummy_prefix = field.value != 0;
    }
    if (field.number == 4) {
      remove_extra_whitespaces = field.value != 0;
    }
    if (field.number == 5) {
      escape_whitespaces = field.value != 0;
    }
  }
  return absl::OkStatus();
}

absl::Status SentencePieceModel::ModelSpec::CheckSupported() const {
  if (model_type != 2) {
    return absl::UnimplementedError(
        absl::StrCat("trainer_spec.model_type is ", model_type, ": only 2 (BPE) is supported"));
  }
  if (has_charsmap || (!normalizer_name.empty() && normalizer_name != "identity")) {
    return absl::UnimplementedError(
        "normalizer_spec: only the identity normalizer, without a charsmap, is supported");
  }
  if (whitespace_as_suffix) {
    return absl::UnimplementedError("trainer_spec.treat_whitespace_as_suffix is not supported");
  }
  return absl::OkStatus();
}

absl::StatusOr<SentencePieceModel> SentencePieceModel::FromBytes(std::string_view bytes,
                                                                 std::string_view name) {
  SentencePieceModel model;
  if (absl::Status status = model.Build(bytes); !status.ok()) {
    return absl::Status(status.code(), absl::StrCat(std::string(name), ": ", status.message()));
  }
  return model;
}

absl::Status SentencePieceModel::Build(std::string_view bytes) {
  if (bytes.size() > kMaxTokenizerBytes) {
    return BadModel("larger than 64 MiB");
  }
  ModelSpec spec;
  ProtobufReader reader(bytes);
  ProtobufField field;
  while (!reader.done()) {
    RETURN_IF_ERROR(reader.Next(&field));
    if (field.number <= 5) {
      RETURN_IF_ERROR(field.Expect(ProtobufWire::kBytes, "model"));
    }
    if (field.number == 1) {
      RETURN_IF_ERROR(AddPiece(field.bytes));
    }
    if (field.number == 2) {
      RETURN_IF_ERROR(spec.ParseTrainer(field.bytes));
    }
    if (field.number == 3) {
      RETURN_IF_ERROR(spec.ParseNormalizer(field.bytes));
    }
    if (field.number == 5) {
      ModelSpec denormalizer;
      RETURN_IF_ERROR(denormalizer.ParseNormalizer(field.bytes));
      if (denormalizer.has_charsmap) {
        return absl::UnimplementedError("denormalizer_spec is not supported");
      }
    }
  }
  RETURN_IF_ERROR(spec.CheckSupported());
  if (pieces_.empty()) {
    return BadModel("no pieces");
  }
  RETURN_IF_ERROR(IndexPieces());
  RETURN_IF_ERROR(CheckPieces(spec));
  RETURN_IF_ERROR(FindSpecial(spec));
  unk_surface_ = std::string(spec.unk_surface);
  add_dummy_prefix_ = spec.add_dummy_prefix;
  remove_extra_whitespaces_ = spec.remove_extra_whitespaces;
  escape_whitespaces_ = spec.escape_whitespaces;
  return absl::OkStatus();
}

absl::Status SentencePieceModel::AddPiece(std::string_view message) {
  const size_t id = pieces_.size();
  if (id >= kMaxTokenizerPieces) {
    return BadModel("more than 1000000 pieces");
  }
  std::string_view text;
  uint64_t type = 1;
  Piece piece;
  ProtobufReader reader(message);
  ProtobufField field;
  while (!reader.done()) {
    RETURN_IF_ERROR(reader.Next(&field));
    if (field.number == 1) {
      RETURN_IF_ERROR(field.Expect(ProtobufWire::kBytes, "piece"));
      text = field.bytes;
    } else if (field.number == 2) {
      RETURN_IF_ERROR(field.Expect(ProtobufWire::kFixed32, "piece"));
      piece.score = std::bit_cast<float>(static_cast<uint32_t>(field.value));
    } else if (field.number == 3) {
      RETURN_IF_ERROR(field.Expect(ProtobufWire::kVarint, "piece"));
      type = field.value;
    }
  }
  if (text.empty()) {
    return PieceError(id, "is empty");
  }
  if (text.size() > kMaxPieceBytes) {
    return PieceError(id, "is longer than 1024 bytes");
  }
  if (!IsValidUtf8(text)) {
    return PieceError(id, "is not valid UTF-8");
  }
  if (std::isnan(piece.score)) {
    return PieceError(id, "has score NaN");
  }
  if (type < 1 || type > 6) {
    return PieceError(id, "has unknown type ", type);
  }
  piece.type = static_cast<PieceType>(type);
  piece.offset = static_cast<uint32_t>(text_.size());
  piece.bytes = static_cast<uint16_t>(text.size());
  text_.insert(text_.end(), text.begin(), text.end());
  pieces_.push_back(piece);
  return absl::OkStatus();
}

absl::Status SentencePieceModel::IndexPieces() {
  slots_.assign(std::bit_ceil(2 * pieces_.size()), -1);  // At most half full.
  const size_t mask = slots_.size() - 1;
  for (int32_t id = 0; id < vocab_size(); ++id) {
    const std::string_view piece = IdToPiece(id);
    size_t slot = std::hash<std::string_view>{}(piece)&mask;
    for (; slots_[slot] >= 0; slot = (slot + 1) & mask) {
      if (IdToPiece(slots_[slot]) == piece) {
        return PieceError(id, "repeats piece ", slots_[slot]);
      }
    }
    slots_[slot] = id;
    longest_piece_ = std::max(longest_piece_, static_cast<int32_t>(piece.size()));
    if (pieces_[id].type == PieceType::kUnused) {
      words_are_separate_ = false;
    }
    for (size_t at = piece.find(kSentencePieceSpace, 1); at != std::string_view::npos;
         at = piece.find(kSentencePieceSpace, at + 1)) {
      size_t begin = at - 1;
      while ((piece[begin] & 0xC0) == 0x80) {
        --begin;
      }
      before_space_.insert(PackedChar(piece.substr(begin, at - begin)));
    }
  }
  return absl::OkStatus();
}

absl::Status SentencePieceModel::CheckPieces(const ModelSpec& spec) {
  if (spec.byte_fallback) {
    byte_ids_.assign(256, -1);
  }
  for (int32_t id = 0; id < vocab_size(); ++id) {
    Piece& piece = pieces_[id];
    if (piece.type == PieceType::kUserDefined) {
      user_defined_.push_back(id);
    }
    if (piece.type == PieceType::kUnknown) {
      if (unk_id_ >= 0) {
        return PieceError(id, "is a second UNKNOWN piece, after ", unk_id_);
      }
      unk_id_ = id;
    }
    if (piece.type == PieceType::kByte) {
      const int value = BytePieceValue(IdToPiece(id));
      if (value < 0) {
        return PieceError(id, "is a BYTE piece, but not of the form <0xAB>");
      }
      if (!spec.byte_fallback) {
        return PieceError(id, "is a BYTE piece without byte_fallback");
      }
      piece.byte = static_cast<uint8_t>(value);
      byte_ids_[value] = id;
    }
  }
  if (unk_id_ < 0) {
    return BadModel("no UNKNOWN piece");
  }
  if (std::find(byte_ids_.begin(), byte_ids_.end(), -1) != byte_ids_.end()) {
    return BadModel("byte_fallback without all 256 BYTE pieces");
  }
  std::sort(user_defined_.begin(), user_defined_.end(),
            [this](int32_t a, int32_t b) { return IdToPiece(a) < IdToPiece(b); });
  return absl::OkStatus();
}

absl::Status SentencePieceModel::FindSpecial(const ModelSpec& spec) {
  bos_id_ = PieceToId(spec.bos_piece.empty() ? "<s>" : spec.bos_piece);
  eos_id_ = PieceToId(spec.eos_piece.empty() ? "</s>" : spec.eos_piece);
  if (!IsControl(bos_id_)) {
    bos_id_ = -1;
  }
  if (!IsControl(eos_id_)) {
    eos_id_ = -1;
  }
  const auto check = [](std::string_view key, std::optional<int64_t> said, int32_t found) {
    // A negative id says that the model has no such piece; the pieces then decide alone.
    if (!said.has_value() || *said < 0 || *said == found) {
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(absl::StrCat("trainer_spec.", std::string(key), " is ", *said,
                                                   ", but by its piece it is ", found));
  };
  RETURN_IF_ERROR(check("unk_id", spec.unk_id, unk_id_));
  RETURN_IF_ERROR(check("bos_id", spec.bos_id, bos_id_));
  return check("eos_id", spec.eos_id, eos_id_);
}

int32_t SentencePieceModel::PieceToId(std::string_view piece) const {
  const size_t mask = slots_.size() - 1;
  size_t slot = std::hash<std::string_view>{}(piece)&mask;
  for (; slots_[slot] >= 0; slot = (slot + 1) & mask) {
    if (IdToPiece(slots_[slot]) == piece) {
      return slots_[slot];
    }
  }
  return -1;
}

std::string_view SentencePieceModel::IdToPiece(int32_t id) const {
  if (id < 0 || id >= vocab_size()) {
    return {};
  }
  return {text_.data() + pieces_[id].offset, pieces_[id].bytes};
}

int32_t SentencePieceModel::TextPiece(std::string_view piece) const {
  const int32_t id = PieceToId(piece);
  if (id < 0) {
    return -1;
  }
  const PieceType type = pieces_[id].type;
  const bool is_text =
      type == PieceType::kNormal || type == PieceType::kUserDefined || type == PieceType::kUnused;
  return is_text ? id : -1;
}

size_t SentencePieceModel::MatchUserDefined(std::string_view s) const {
  // [first, last) is the run of sorted pieces that begin with s[0, size); the run narrows byte by
  // byte, and a piece that is all of s[0, size) stands first in it.
  auto first = user_defined_.begin();
  auto last = user_defined_.end();
  size_t longest = 0;
  for (size_t size = 1; size <= s.size() && first != last; ++size) {
    const std::string_view prefix = s.substr(0, size);
    first = std::lower_bound(first, last, prefix, [this, size](int32_t id, std::string_view p) {
      return IdToPiece(id).substr(0, size) < p;
    });
    last = std::upper_bound(first, last, prefix, [this, size](std::string_view p, int32_t id) {
      return p < IdToPiece(id).substr(0, size);
    });
    if (first != last && IdToPiece(*first).size() == size) {
      longest = size;
    }
  }
  return longest;
}

}  // namespace alcca
