#include "engine/text/gguf_sentencepiece.h"

#include <bit>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/text/sentencepiece_tokenizer.h"

namespace alcca {
namespace {

constexpr int64_t kBytePiece = 6;

// Fields of protobuf's wire format.
void AppendVarint(uint64_t value, std::string* out) {
  for (; value >= 0x80; value >>= 7) {
    out->push_back(static_cast<char>(value | 0x80));
  }
  out->push_back(static_cast<char>(value));
}

void AppendNumber(uint32_t field, uint64_t value, std::string* out) {
  AppendVarint(field << 3, out);
  AppendVarint(value, out);
}

void AppendBytes(uint32_t field, std::string_view bytes, std::string* out) {
  AppendVarint(field << 3 | 2, out);
  AppendVarint(bytes.size(), out);
  out->append(bytes);
}

void AppendFloat(uint32_t field, float value, std::string* out) {
  AppendVarint(field << 3 | 5, out);
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  for (int shift = 0; shift < 32; shift += 8) {
    out->push_back(static_cast<char>(bits >> shift));
  }
}

// The same vocabulary as a tokenizer.model: its one reader holds it to the rules of such files.
std::string AsTokenizerModel(const GgufSentencePiece& v) {
  std::string model;
  bool bytes = false;
  for (size_t i = 0; i < v.tokens.size(); ++i) {
    std::string piece;
    AppendBytes(1, v.tokens[i], &piece);
    AppendFloat(2, v.scores[i], &piece);
    AppendNumber(3, static_cast<uint64_t>(v.token_types[i]), &piece);
    AppendBytes(1, piece, &model);
    bytes |= v.token_types[i] == kBytePiece;
  }
  std::string trainer;
  AppendNumber(3, 2, &trainer);               // model_type: BPE
  AppendNumber(35, bytes ? 1 : 0, &trainer);  // byte_fallback
  if (v.bos) {
    AppendBytes(46, *v.bos, &trainer);  // bos_piece
  }
  if (v.eos) {
    AppendBytes(47, *v.eos, &trainer);  // eos_piece
  }
  AppendBytes(2, trainer, &model);
  std::string normalizer;
  AppendBytes(1, "identity", &normalizer);
  AppendNumber(3, v.add_space_prefix ? 1 : 0, &normalizer);  // add_dummy_prefix
  AppendNumber(4, 0, &normalizer);                           // remove_extra_whitespaces
  AppendNumber(5, 1, &normalizer);                           // escape_whitespaces
  AppendBytes(3, normalizer, &model);
  return model;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeGgufSentencePieceTokenizer(
    const GgufSentencePiece& vocabulary, std::string_view name) {
  const auto one_for_each = [&](const char* key, size_t size) {
    return size == vocabulary.tokens.size()
               ? absl::OkStatus()
               : absl::InvalidArgumentError(absl::StrCat(
                     std::string(name), ": key 'tokenizer.ggml.", key, "': ", size,
                     " items, expected one for each of ", vocabulary.tokens.size(), " tokens"));
  };
  RETURN_IF_ERROR(one_for_each("scores", vocabulary.scores.size()));
  RETURN_IF_ERROR(one_for_each("token_type", vocabulary.token_types.size()));
  ASSIGN_OR_RETURN(SentencePieceTokenizer tokenizer,
                   SentencePieceTokenizer::FromBytes(
                       AsTokenizerModel(vocabulary),
                       absl::StrCat(std::string(name), ": key 'tokenizer.ggml.tokens'")));
  return std::make_unique<SentencePieceTokenizer>(std::move(tokenizer));
}

}  // namespace alcca
