#include "engine/text/sentencepiece_text.h"

#include <algorithm>
#include <string_view>

#include "base/utf8.h"

namespace alcca {
namespace {

// Ids of a prompt that are looked at: more than the bytes of a character, with room for pieces that
// have no text.

}  // namespace

void AppendWithSpaces(std::string_view piece, std::string* out) {
  for (size_t symbol = piece.find(kSentencePieceSpace); symbol != std::string_view::npos;
       symbol = piece.find(kSentencePieceSpace)) {
    out->append(piece.substr(0, symbol));
    out->push_back(' ');
    piece.remove_prefix(symbol + kSentencePieceSpace.size());
  }
  out->append(piece);
}

SentencePieceText::SentencePieceText(const SentencePieceModel* model,
                                     std::span<const int32_t> prompt_tail, bool skip_special)
    : model_(model), skip_special_(skip_special) {
  for (const int32_t id : prompt_tail.last(std::min(prompt_tail.size(), kPromptTailIds))) {
    if (model_->IsControl(id)) {
      Restart();
    } else {
      Push(id);
    }
  }
  held_of_prompt_ = held_.size();
}

void SentencePieceText::Restart() {
  held_.clear();
  at_start_ = true;
  space_dropped_ = false;
  has_text_ = false;
}

std::string SentencePieceText::Push(int32_t id) {
  std::string out;
  if (const int byte = model_->ByteValue(id); byte >= 0) {
    held_.push_back(static_cast<char>(byte));
    Drain(/*all=*/false, &out);
    return out;
  }
  Drain(/*all=*/true, &out);  // A character is spelled by neighbouring byte pieces only.
  if (space_dropped_ || has_text_) {
    at_start_ = false;
  }
  space_dropped_ = false;
  std::string_view piece = model_->IdToPiece(id);
  if (model_->IsControl(id)) {
    if (!skip_special_) {
      out.append(piece);
    }
  } else if (model_->IsUnknown(id)) {
    out.append(model_->unk_surface());
  } else {
    const bool strips = model_->add_dummy_prefix() || model_->remove_extra_whitespaces();
    if (at_start_ && strips && piece.starts_with(kSentencePieceSpace)) {
      piece.remove_prefix(kSentencePieceSpace.size());
      // A model that removes extra whitespace may drop more of it: the start goes on.
      space_dropped_ = !model_->remove_extra_whitespaces();
    }
    AppendWithSpaces(piece, &out);
  }
  has_text_ |= !out.empty();
  return out;
}

std::string SentencePieceText::Flush() {
  std::string out;
  Drain(/*all=*/true, &out);
  return out;
}

void SentencePieceText::Drain(bool all, std::string* out) {
  size_t done = 0;  // Bytes of held_ that are decided.
  while (done < held_.size()) {
    const std::string_view rest = std::string_view(held_).substr(done);
    const int size = Utf8CharLength(rest);
    if (size < 0 && !all) {
      break;
    }
    if (size > 0) {
      out->append(rest.substr(0, size));
    } else if (done >= held_of_prompt_) {
      out->append(kReplacementCharacter);
    }
    done += std::max(size, 1);
  }
  held_.erase(0, done);
  held_of_prompt_ -= std::min(held_of_prompt_, done);
  has_text_ |= done > 0;
}

}  // namespace alcca
