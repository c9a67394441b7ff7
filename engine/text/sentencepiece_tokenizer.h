#pragma once

// Encoder and decoder of SentencePiece's BPE models: the same ids and texts as the SentencePiece
// library.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/sentencepiece_model.h"
#include "engine/text/tokenizer.h"

namespace alcca {

// No text ever gives a CONTROL, BYTE (but for byte fallback) or UNKNOWN piece by its name: "</s>"
// is four ordinary characters.
class SentencePieceTokenizer final : public Tokenizer {
 public:
  explicit SentencePieceTokenizer(SentencePieceModel model) : model_(std::move(model)) {}
  // The rules and codes are SentencePieceModel's. Load adds those of ReadTextFile.
  static absl::StatusOr<SentencePieceTokenizer> Load(const std::string& path);
  static absl::StatusOr<SentencePieceTokenizer> FromBytes(std::string_view bytes,
                                                          std::string_view name);

  const SentencePieceModel& model() const { return model_; }

  std::unique_ptr<TextStream> NewText(std::span<const int32_t> prompt_tail,
                                      bool skip_special) const override;
  std::string_view file_name() const override { return "tokenizer.model"; }
  int32_t vocab_size() const override { return model_.vocab_size(); }
  int32_t longest_piece() const override { return model_.longest_piece(); }
  int32_t bos_id() const override { return model_.bos_id(); }
  int32_t eos_id() const override { return model_.eos_id(); }
  int32_t PieceToId(std::string_view piece) const override { return model_.PieceToId(piece); }
  std::string_view IdToPiece(int32_t id) const override { return model_.IdToPiece(id); }
  bool IsControl(int32_t id) const override { return model_.IsControl(id); }
  int32_t TextBytes(int32_t id) const override;
  std::string TextOf(int32_t id) const override;
  bool BeginsText(std::span<const int32_t> prompt_tail) const override;
  bool LosesSpace(int32_t id) const override;

 private:
  class Merger;

  void AppendIds(std::string_view text, std::vector<int32_t>* ids) const override;
  std::string Normalize(std::string_view text) const;

  SentencePieceModel model_;
};

}  // namespace alcca
