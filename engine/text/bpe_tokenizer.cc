#include "engine/text/bpe_tokenizer.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "base/utf8.h"
#include "engine/text/bpe_text.h"

namespace alcca {
namespace {

std::string ToValidUtf8(std::string_view text) {
  std::string valid;
  while (!text.empty()) {
    const int size = Utf8CharLength(text);
    valid += size > 0 ? text.substr(0, size) : kReplacementCharacter;
    text.remove_prefix(static_cast<size_t>(std::max(1, size)));
  }
  return valid;
}

}  // namespace

bool LooksLikeControl(std::string_view piece) {
  const auto between = [piece](std::string_view begin, std::string_view end) {
    return piece.size() > begin.size() + end.size() && piece.starts_with(begin) &&
           piece.ends_with(end);
  };
  const bool marked = between("<|", "|>") || between("<\uFF5C", "\uFF5C>");
  return marked && piece.find(' ') == std::string_view::npos;
}

// The memory of one Encode.
struct BpeTokenizer::Scratch {
  MatchMemory matches;
  BpeModel::Memory model;
};

BpeTokenizer::BpeTokenizer(BpeParts parts) : parts_(std::move(parts)) {
  ids_.reserve(parts_.pieces.size());
  for (size_t id = 0; id < parts_.pieces.size(); ++id) {
    const BpePiece& piece = parts_.pieces[id];
    longest_piece_ = std::max({longest_piece_, static_cast<int32_t>(piece.spelling.size()),
                               static_cast<int32_t>(piece.text.size())});
    if (!piece.spelling.empty()) {
      ids_.emplace(piece.spelling, static_cast<int32_t>(id));
    }
  }
}

absl::StatusOr<std::unique_ptr<BpeTokenizer>> BpeTokenizer::Make(BpeParts parts) {
  std::vector<AddedToken> raw, normalized;
  MatchMemory memory;
  for (AddedToken& token : parts.added) {
    // A control token is looked for in the text as it was written, of which alone it is known who
    // wrote what.
    if (!token.normalized || token.control || parts.normalizer.empty()) {
      raw.push_back(std::move(token));
      continue;
    }
    ASSIGN_OR_RETURN(token.text, parts.normalizer.Apply(token.text, &memory));
    if (!token.text.empty()) {
      normalized.push_back(std::move(token));
    }
  }
  parts.added.clear();
  std::unique_ptr<BpeTokenizer> tokenizer(new BpeTokenizer(std::move(parts)));
  tokenizer->added_ = AddedTokens(std::move(raw));
  tokenizer->added_normalized_ = AddedTokens(std::move(normalized));
  return tokenizer;
}

const BpePiece& BpeTokenizer::PieceAt(int32_t id) const {
  static const BpePiece* const none = new BpePiece;
  return id < 0 || id >= vocab_size() ? *none : parts_.pieces[static_cast<size_t>(id)];
}

int32_t BpeTokenizer::PieceToId(std::string_view piece) const {
  const auto it = ids_.find(absl::string_view(piece.data(), piece.size()));
  return it == ids_.end() ? -1 : it->second;
}

absl::Status BpeTokenizer::AppendIds(std::span<const TextRun> runs,
                                     std::vector<int32_t>* ids) const {
  std::string text;
  TrustedBytes trusted;
  for (const TextRun& run : runs) {
    const size_t begin = text.size();
    text += IsValidUtf8(run.text) ? std::string(run.text) : ToValidUtf8(run.text);
    trusted.Append(text.size() - begin, run.trusted);
  }
  Scratch scratch;
  for (const AddedTokens::Part& part : added_.Cut(text, trusted)) {
    if (part.id >= 0) {
      ids->push_back(part.id);
      continue;
    }
    ASSIGN_OR_RETURN(
        const std::string normalized,
        parts_.normalizer.Apply(text.substr(part.range.begin, part.range.end - part.range.begin),
                                &scratch.matches));
    const bool at_start = part.range.begin == 0;
    for (const AddedTokens::Part& inner : added_normalized_.Cut(normalized, TrustedBytes())) {
      if (inner.id >= 0) {
        ids->push_back(inner.id);
        continue;
      }
      RETURN_IF_ERROR(
          AppendTextIds(normalized.substr(inner.range.begin, inner.range.end - inner.range.begin),
                        at_start && inner.range.begin == 0, &scratch, ids));
    }
  }
  return absl::OkStatus();
}

absl::Status BpeTokenizer::AppendTextIds(std::string text, bool at_start, Scratch* scratch,
                                         std::vector<int32_t>* ids) const {
  ASSIGN_OR_RETURN(const Words words,
                   parts_.pre_tokenizer.Cut(std::move(text), at_start, &scratch->matches));
  size_t begin = 0;
  for (const size_t end : words.ends) {
    parts_.model.AppendIds(std::string_view(words.text).substr(begin, end - begin), &scratch->model,
                           ids);
    begin = end;
  }
  return absl::OkStatus();
}

bool BpeTokenizer::BeginsText(std::span<const int32_t> prompt_tail) const {
  return BpeText(this, prompt_tail, /*skip_special=*/true).at_start();
}

std::unique_ptr<TextStream> BpeTokenizer::NewText(std::span<const int32_t> prompt_tail,
                                                  bool skip_special) const {
  return std::make_unique<BpeText>(this, prompt_tail, skip_special);
}

}  // namespace alcca
