#include "engine/text/sentencepiece_tokenizer.h"

#include <algorithm>
#include <queue>
#include <unordered_map>
#include <utility>

#include "base/files.h"
#include "base/status_macros.h"
#include "base/utf8.h"
#include "engine/text/sentencepiece_text.h"

namespace alcca {

std::string SentencePieceTokenizer::Normalize(std::string_view text) const {
  // The next unit of `text`: a user-defined piece, else a character, U+FFFD for a stray byte.
  const auto take = [this](std::string_view* rest) {
    size_t size = model_.MatchUserDefined(*rest);
    if (size == 0) {
      size = static_cast<size_t>(std::max(0, Utf8CharLength(*rest)));
    }
    const std::string_view unit = size == 0 ? kReplacementCharacter : rest->substr(0, size);
    rest->remove_prefix(std::max<size_t>(size, 1));
    return unit;
  };
  if (model_.remove_extra_whitespaces()) {
    for (std::string_view rest = text; !rest.empty() && take(&rest) == " ";) {
      text = rest;
    }
  }
  std::string normalized;
  if (text.empty()) {
    return normalized;
  }
  normalized.reserve(text.size() + text.size() / 2);
  const std::string_view space =
      model_.escape_whitespaces() ? kSentencePieceSpace : std::string_view(" ");
  if (model_.add_dummy_prefix()) {
    normalized += space;
  }
  bool after_space = model_.remove_extra_whitespaces();
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
    after_space = model_.remove_extra_whitespaces() && unit.ends_with(' ');
  }
  if (model_.remove_extra_whitespaces()) {
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
class SentencePieceTokenizer::Merger {
 public:
  Merger(const SentencePieceModel& model, std::string_view text) : model_(model), text_(text) {}

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
    const size_t defined = model_.MatchUserDefined(rest);
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
    if (!model_.words_are_separate()) {
      return false;
    }
    return left.frozen || right.frozen ||
           (View(right) == kSentencePieceSpace && !model_.StandsBeforeSpace(View(left)));
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
    const int32_t id = model_.TextPiece(piece);
    if (id < 0) {
      return;
    }
    pairs_.push({model_.score(id), left, right, size});
    if (model_.IsUnused(id)) {
      halves_[piece] = {View(symbols_[left]), View(symbols_[right])};
    }
  }

  // An unused piece helps merging but is no output: it falls apart into what it was made of.
  void Emit(std::string_view piece, std::vector<int32_t>* ids) {
    const int32_t id = model_.TextPiece(piece);
    if (id >= 0 && model_.IsUnused(id)) {
      if (const auto halves = halves_.find(piece); halves != halves_.end()) {
        Emit(halves->second.first, ids);
        Emit(halves->second.second, ids);
        return;
      }
    }
    if (id >= 0) {
      ids->push_back(id);
    } else if (!model_.byte_ids().empty()) {
      for (const char c : piece) {
        ids->push_back(model_.byte_ids()[static_cast<uint8_t>(c)]);
      }
    } else if (!after_unknown_) {  // A run of unknown characters is one UNKNOWN piece.
      ids->push_back(model_.unk_id());
    }
    after_unknown_ = id < 0;
  }

  const SentencePieceModel& model_;
  const std::string_view text_;
  std::vector<Symbol> symbols_;
  std::priority_queue<Pair> pairs_;
  std::unordered_map<std::string_view, std::pair<std::string_view, std::string_view>> halves_;
  bool after_unknown_ = false;
};

absl::StatusOr<SentencePieceTokenizer> SentencePieceTokenizer::Load(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadTextFile(path, kMaxTokenizerBytes));
  return FromBytes(bytes, path);
}

absl::StatusOr<SentencePieceTokenizer> SentencePieceTokenizer::FromBytes(std::string_view bytes,
                                                                         std::string_view name) {
  ASSIGN_OR_RETURN(SentencePieceModel model, SentencePieceModel::FromBytes(bytes, name));
  return SentencePieceTokenizer(std::move(model));
}

void SentencePieceTokenizer::AppendIds(std::string_view text, std::vector<int32_t>* ids) const {
  const std::string normalized = Normalize(text);
  Merger(model_, normalized).Run(ids);
}

std::unique_ptr<TextStream> SentencePieceTokenizer::NewText(std::span<const int32_t> prompt_tail,
                                                            bool skip_special) const {
  return std::make_unique<SentencePieceText>(&model_, prompt_tail, skip_special);
}

int32_t SentencePieceTokenizer::TextBytes(int32_t id) const {
  if (IsControl(id)) {
    return 0;
  }
  if (model_.IsByte(id)) {
    return 1;
  }
  const std::string_view piece = IdToPiece(id);
  auto bytes = static_cast<int32_t>(piece.size());
  for (size_t at = piece.find(kSentencePieceSpace); at != std::string_view::npos;
       at = piece.find(kSentencePieceSpace, at + kSentencePieceSpace.size())) {
    bytes -= static_cast<int32_t>(kSentencePieceSpace.size()) - 1;  // it stands for one space
  }
  return bytes;
}

std::string SentencePieceTokenizer::TextOf(int32_t id) const {
  std::string text;
  if (IsControl(id) || model_.IsUnknown(id)) {
    return text;
  }
  if (const int byte = model_.ByteValue(id); byte >= 0) {
    text.push_back(static_cast<char>(byte));
    return text;
  }
  AppendWithSpaces(IdToPiece(id), &text);
  return text;
}

bool SentencePieceTokenizer::BeginsText(std::span<const int32_t> prompt_tail) const {
  return SentencePieceText(&model_, prompt_tail, /*skip_special=*/true).begins();
}

bool SentencePieceTokenizer::LosesSpace(int32_t id) const {
  return !IsControl(id) && !model_.IsUnknown(id) && model_.ByteValue(id) < 0 &&
         (model_.add_dummy_prefix() || model_.remove_extra_whitespaces()) &&
         IdToPiece(id).starts_with(kSentencePieceSpace);
}

}  // namespace alcca
