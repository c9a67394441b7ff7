// Text to ids and back, over the pieces that tokenizer_model.cc has read.

#include "engine/text/tokenizer.h"

#include <algorithm>
#include <functional>
#include <queue>
#include <utility>

#include "base/utf8.h"
#include "engine/text/detokenizer.h"

namespace alcca {

int32_t Tokenizer::PieceToId(std::string_view piece) const {
  const size_t mask = slots_.size() - 1;
  size_t slot = std::hash<std::string_view>{}(piece)&mask;
  for (; slots_[slot] >= 0; slot = (slot + 1) & mask) {
    if (IdToPiece(slots_[slot]) == piece) {
      return slots_[slot];
    }
  }
  return -1;
}

std::string_view Tokenizer::IdToPiece(int32_t id) const {
  if (id < 0 || id >= vocab_size()) {
    return {};
  }
  return {text_.data() + pieces_[id].offset, pieces_[id].bytes};
}

int32_t Tokenizer::TextPiece(std::string_view piece) const {
  const int32_t id = PieceToId(piece);
  if (id < 0) {
    return -1;
  }
  const PieceType type = pieces_[id].type;
  const bool is_text =
      type == PieceType::kNormal || type == PieceType::kUserDefined || type == PieceType::kUnused;
  return is_text ? id : -1;
}

size_t Tokenizer::MatchUserDefined(std::string_view s) const {
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

std::string Tokenizer::Normalize(std::string_view text) const {
  // The next unit of `text`: a user-defined piece, else a character, U+FFFD for a stray byte.
  const auto take = [this](std::string_view* rest) {
    size_t size = MatchUserDefined(*rest);
    if (size == 0) {
      size = static_cast<size_t>(std::max(0, Utf8CharLength(*rest)));
    }
    const std::string_view unit = size == 0 ? kReplacementCharacter : rest->substr(0, size);
    rest->remove_prefix(std::max<size_t>(size, 1));
    return unit;
  };
  if (remove_extra_whitespaces_) {
    for (std::string_view rest = text; !rest.empty() && take(&rest) == " ";) {
      text = rest;
    }
  }
  std::string normalized;
  if (text.empty()) {
    return normalized;
  }
  normalized.reserve(text.size() + text.size() / 2);
  const std::string_view space = escape_whitespaces_ ? kSpaceSymbol : std::string_view(" ");
  if (add_dummy_prefix_) {
    normalized += space;
  }
  bool after_space = remove_extra_whitespaces_;
  while (!text.empty()) {
    std::string_view unit = take(&text);
    while (after_space && unit.starts_with(' ')) {
      unit.remove_prefix(1);
    }
    if (unit.empty()) {
      continue;
    }
    for (const char c : unit) {
      if (c == ' ') {
        normalized += space;
      } else {
        normalized += c;
      }
    }
    after_space = remove_extra_whitespaces_ && unit.ends_with(' ');
  }
  if (remove_extra_whitespaces_) {
    while (normalized.ends_with(space)) {
      normalized.resize(normalized.size() - space.size());
    }
  }
  return normalized;
}

// One Encode: characters become symbols, and the pair of neighbours whose union is the piece of
// the highest score (leftmost on a tie) is merged until no pair is a piece. That is done between
// one place where nothing can merge and the next, a word as a rule: the same result as all at once,
// from the memory of the longest word instead of the text.
class Tokenizer::Merger {
 public:
  Merger(const Tokenizer& tokenizer, std::string_view text) : tokenizer_(tokenizer), text_(text) {}

  void Run(std::vector<int32_t>* ids) {
    for (size_t begin = 0; begin < text_.size();) {
      const Symbol next = SymbolAt(begin);
      // (No text has a word of so many characters; indices hold no more.)
      if (!symbols_.empty() &&
          (NeverMerge(symbols_.back(), next) || symbols_.size() == INT32_MAX)) {
        Flush(ids);
      }
      const auto index = static_cast<int32_t>(symbols_.size());
      symbols_.push_back(next);
      symbols_[index].prev = index - 1;
      if (index > 0) {
        symbols_[index - 1].next = index;
        MaybeAddPair(index - 1, index);
      }
      begin += next.size;
    }
    Flush(ids);
  }

 private:
  struct Symbol {
    size_t begin;        // In text_.
    uint32_t size;       // 0 = merged into an earlier symbol.
    int32_t prev, next;  // Indices of the living neighbours; -1 at the ends.
    bool frozen;         // A user-defined piece: never merged.
  };
  struct Pair {
    float score;
    int32_t left, right;
    uint32_t size;  // Of the merged piece.
    bool operator<(const Pair& other) const {
      return score != other.score ? score < other.score : left > other.left;
    }
  };

  std::string_view View(const Symbol& symbol) const {
    return text_.substr(symbol.begin, symbol.size);
  }

  Symbol SymbolAt(size_t begin) const {
    const std::string_view rest = text_.substr(begin);
    const size_t defined = tokenizer_.MatchUserDefined(rest);
    const auto size = static_cast<uint32_t>(defined > 0 ? defined : Utf8CharLength(rest));
    return {.begin = begin, .size = size, .prev = -1, .next = -1, .frozen = defined > 0};
  }

  // Merges what has been gathered and writes its ids.
  void Flush(std::vector<int32_t>* ids) {
    MergePairs();
    for (int32_t i = symbols_.empty() ? -1 : 0; i >= 0; i = symbols_[i].next) {
      Emit(View(symbols_[i]), ids);
    }
    symbols_.clear();
  }

  // Whether it is certain that these neighbours, as SymbolAt made them, end up in two pieces.
  bool NeverMerge(const Symbol& left, const Symbol& right) const {
    if (!tokenizer_.words_are_separate_) {
      return false;
    }
    return left.frozen || right.frozen ||
           (View(right) == kSpaceSymbol &&
            !tokenizer_.before_space_.contains(PackedChar(View(left))));
  }

  void MergePairs() {
    while (!pairs_.empty()) {
      const Pair pair = pairs_.top();
      pairs_.pop();
      Symbol& left = symbols_[pair.left];
      Symbol& right = symbols_[pair.right];
      // Stale if an earlier merge took or grew one of the two.
      if (left.size == 0 || right.size == 0 || left.size + right.size != pair.size) {
        continue;
      }
      left.size = pair.size;
      right.size = 0;
      left.next = right.next;
      if (right.next >= 0) {
        symbols_[right.next].prev = pair.left;
      }
      MaybeAddPair(left.prev, pair.left);
      MaybeAddPair(pair.left, left.next);
    }
  }

  void MaybeAddPair(int32_t left, int32_t right) {
    if (left < 0 || right < 0 || symbols_[left].frozen || symbols_[right].frozen) {
      return;
    }
    const uint32_t size = symbols_[left].size + symbols_[right].size;
    const std::string_view piece = text_.substr(symbols_[left].begin, size);
    const int32_t id = tokenizer_.TextPiece(piece);
    if (id < 0) {
      return;
    }
    pairs_.push({tokenizer_.pieces_[id].score, left, right, size});
    if (tokenizer_.pieces_[id].type == PieceType::kUnused) {
      halves_[piece] = {View(symbols_[left]), View(symbols_[right])};
    }
  }

  // An unused piece helps merging but is no output: it falls apart into what it was made of.
  void Emit(std::string_view piece, std::vector<int32_t>* ids) {
    const int32_t id = tokenizer_.TextPiece(piece);
    if (id >= 0 && tokenizer_.pieces_[id].type == PieceType::kUnused) {
      if (const auto halves = halves_.find(piece); halves != halves_.end()) {
        Emit(halves->second.first, ids);
        Emit(halves->second.second, ids);
        return;
      }
    }
    if (id >= 0) {
      ids->push_back(id);
    } else if (!tokenizer_.byte_ids_.empty()) {
      for (const char c : piece) {
        ids->push_back(tokenizer_.byte_ids_[static_cast<uint8_t>(c)]);
      }
    } else if (!after_unknown_) {  // A run of unknown characters is one UNKNOWN piece.
      ids->push_back(tokenizer_.unk_id_);
    }
    after_unknown_ = id < 0;
  }

  const Tokenizer& tokenizer_;
  const std::string_view text_;
  std::vector<Symbol> symbols_;
  std::priority_queue<Pair> pairs_;
  std::unordered_map<std::string_view, std::pair<std::string_view, std::string_view>> halves_;
  bool after_unknown_ = false;
};

std::vector<int32_t> Tokenizer::Encode(std::string_view text, EncodeOptions options) const {
  std::vector<int32_t> ids;
  if (options.bos && bos_id_ >= 0) {
    ids.push_back(bos_id_);
  }
  const std::string normalized = Normalize(text);
  Merger(*this, normalized).Run(&ids);
  if (options.eos && eos_id_ >= 0) {
    ids.push_back(eos_id_);
  }
  return ids;
}

std::string Tokenizer::Decode(std::span<const int32_t> ids, bool skip_special) const {
  Detokenizer detokenizer(this, skip_special);
  std::string text;
  for (const int32_t id : ids) {
    text += detokenizer.Push(id);
  }
  return text += detokenizer.Flush();
}

}  // namespace alcca
