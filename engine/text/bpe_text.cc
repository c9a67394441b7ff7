#include "engine/text/bpe_text.h"

#include <algorithm>
#include <string_view>

#include "base/utf8.h"
#include "engine/text/bpe_tokenizer.h"

namespace alcca {
namespace {

// Ids of a prompt that are looked at: more than the bytes of a character, with room for pieces that
// have no text.

}  // namespace

BpeText::BpeText(const BpeTokenizer* tokenizer, std::span<const int32_t> prompt_tail,
                 bool skip_special)
    : tokenizer_(tokenizer), skip_special_(skip_special) {
  for (const int32_t id : prompt_tail.last(std::min(prompt_tail.size(), kPromptTailIds))) {
    Push(id);
    if (tokenizer_->IsControl(id)) {
      held_.clear();
    }
  }
  held_of_prompt_ = held_.size();
}

std::string BpeText::Push(int32_t id) {
  std::string out;
  const BpePiece& piece = tokenizer_->PieceAt(id);
  if (piece.control) {
    Drain(/*all=*/true, &out);
    out += skip_special_ ? "" : piece.spelling;
    at_start_ = true;
    return out;
  }
  std::string_view text = piece.text;
  if (at_start_ && tokenizer_->drops_leading_space() && text.starts_with(' ')) {
    text.remove_prefix(1);
  }
  at_start_ = at_start_ && piece.text.empty();
  held_ += text;
  Drain(/*all=*/false, &out);
  return out;
}

std::string BpeText::Flush() {
  std::string out;
  Drain(/*all=*/true, &out);
  return out;
}

size_t BpeText::MalformedBytes(std::string_view rest) const {
  size_t bytes = 1;
  if (!tokenizer_->bytes_stand_alone()) {
    while (bytes < rest.size() && Utf8CharLength(rest.substr(0, bytes + 1)) < 0) {
      ++bytes;
    }
  }
  return bytes;
}

void BpeText::Drain(bool all, std::string* out) {
  size_t done = 0;  // Bytes of held_ that are decided.
  while (done < held_.size()) {
    const std::string_view rest = std::string_view(held_).substr(done);
    const int size = Utf8CharLength(rest);
    if (size < 0 && !all) {
      break;
    }
    if (size > 0) {
      out->append(rest.substr(0, size));
      done += size;
      continue;
    }
    if (done >= held_of_prompt_) {
      out->append(kReplacementCharacter);
    }
    done += MalformedBytes(rest);
  }
  held_.erase(0, done);
  held_of_prompt_ -= std::min(held_of_prompt_, done);
}

}  // namespace alcca
