// Tokens that a SentencePiece model got after it was made.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/utf8.h"
#include "engine/text/bpe_tokenizer.h"
#include "engine/text/sentencepiece_model.h"

namespace alcca {

void SentencePieceModel::AppendPiece(std::string_view text, Piece piece) {
  piece.offset = static_cast<uint32_t>(text_.size());
  piece.bytes = static_cast<uint16_t>(text.size());
  text_.insert(text_.end(), text.begin(), text.end());
  pieces_.push_back(piece);
}

void SentencePieceModel::SortUserDefined() {
  std::sort(user_defined_.begin(), user_defined_.end(),
            [this](int32_t a, int32_t b) { return IdToPiece(a) < IdToPiece(b); });
}

absl::Status SentencePieceModel::AddTokens(std::vector<AddedToken> tokens, int64_t max_vocab) {
  constexpr int32_t kMaxHoles = 65'536;
  const int32_t own = vocab_size();
  std::sort(tokens.begin(), tokens.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  const auto add = [this](std::string_view text, bool control) {
    const int32_t id = vocab_size();
    AppendPiece(text, {.type = control ? PieceType::kControl : PieceType::kUserDefined});
    if (!control) {
      user_defined_.push_back(id);
    }
  };
  std::vector<std::string_view> names;  // of the tokens before, in order
  for (const AddedToken& token : tokens) {
    if (token.id < vocab_size() || token.id >= max_vocab) {
      continue;
    }
    if (token.id - vocab_size() > kMaxHoles) {
      return absl::InvalidArgumentError(absl::StrCat("the added token with the id ", token.id,
                                                     " stands far above the ", own, " pieces"));
    }
    while (vocab_size() < token.id) {
      add(absl::StrCat("<unnamed_", vocab_size(), ">"), true);
    }
    // A name that is taken, or too long for a piece, would make two ids of one text.
    const bool free = PieceToId(token.text) < 0 && token.text.size() <= kMaxPieceBytes &&
                      IsValidUtf8(token.text) &&
                      std::find(names.begin(), names.end(), token.text) == names.end();
    if (free) {
      names.push_back(token.text);
      add(token.text, token.control || LooksLikeControl(token.text));
    } else {
      add(absl::StrCat("<unnamed_", vocab_size(), ">"), true);
    }
  }
  SortUserDefined();
  return IndexPieces();
}

}  // namespace alcca
