#include "base/utf8.h"
#include "engine/text/detokenizer.h"

#include <algorithm>

namespace alcca {
namespace {

constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";  // U+2581

// Ids of a prompt that Prime looks at: more than the bytes of a character, with room for pieces
// that have no text.
constexpr size_t kPrimeIds = 16;

void AppendWithSpaces(std::string_view piece, std::string* out) {
  for (size_t symbol = piece.find(kSpaceSymbol); symbol != std::string_view::npos;
       symbol = piece.find(kSpaceSymbol)) {
    out->append(piece.substr(0, symbol));
    out->push_back(' ');
    piece.remove_prefix(symbol + kSpaceSymbol.size());
  }
  out->append(piece);
}

}  // namespace

void Detokenizer::Prime(std::span<const int32_t> prompt_tail) {
  *this = Detokenizer(tokenizer_, skip_special_);
  for (const int32_t id : prompt_tail.last(std::min(prompt_tail.size(), kPrimeIds))) {
    if (tokenizer_->IsControl(id)) {
      *this = Detokenizer(tokenizer_, skip_special_);
    } else {
      Push(id);
    }
  }
  held_of_prompt_ = held_.size();
}

std::string Detokenizer::Push(int32_t id) {
  std::string out;
  if (const int byte = tokenizer_->ByteValue(id); byte >= 0) {
    held_.push_back(static_cast<char>(byte));
    Drain(/*all=*/false, &out);
    return out;
  }
  Drain(/*all=*/true, &out);  // A character is spelled by neighbouring byte pieces only.
  if (space_dropped_ || has_text_) {
    at_start_ = false;
  }
  space_dropped_ = false;
  std::string_view piece = tokenizer_->IdToPiece(id);
  if (tokenizer_->IsControl(id)) {
    if (!skip_special_) {
      out.append(piece);
    }
  } else if (tokenizer_->IsUnknown(id)) {
    out.append(tokenizer_->unk_surface());
  } else {
    const bool strips = tokenizer_->add_dummy_prefix() || tokenizer_->remove_extra_whitespaces();
    if (at_start_ && strips && piece.starts_with(kSpaceSymbol)) {
      piece.remove_prefix(kSpaceSymbol.size());
      // A model that removes extra whitespace may drop more of it: the start goes on.
      space_dropped_ = !tokenizer_->remove_extra_whitespaces();
    }
    AppendWithSpaces(piece, &out);
  }
  has_text_ |= !out.empty();
  return out;
}

std::string Detokenizer::Flush() {
  std::string out;
  Drain(/*all=*/true, &out);
  return out;
}

void Detokenizer::Drain(bool all, std::string* out) {
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
