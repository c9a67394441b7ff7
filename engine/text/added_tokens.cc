#include "engine/text/added_tokens.h"

#include <algorithm>
#include <utility>

#include "engine/text/unicode_normalization.h"

namespace alcca {
namespace {

bool EndsWithWordCharacter(std::string_view text) {
  size_t bytes = 0;
  return !text.empty() && IsWordCharacter(FrontCharacter(
                              text.substr(text.size() - BackCharacterBytes(text)), &bytes));
}

bool BeginsWithWordCharacter(std::string_view text) {
  size_t bytes = 0;
  return !text.empty() && IsWordCharacter(FrontCharacter(text, &bytes));
}

}  // namespace

void TrustedBytes::Append(size_t bytes, bool trusted) {
  if (trusted && bytes > 0) {
    if (!ranges_.empty() && ranges_.back().end == size_) {
      ranges_.back().end += bytes;
    } else {
      ranges_.push_back({size_, size_ + bytes});
    }
  }
  size_ += bytes;
}

bool TrustedBytes::Cover(size_t begin, size_t end) const {
  const auto it = std::upper_bound(ranges_.begin(), ranges_.end(), begin,
                                   [](size_t x, const TextRange& range) { return x < range.end; });
  return it != ranges_.end() && it->begin <= begin && end <= it->end;
}

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::stable_sort(tokens_.begin(), tokens_.end(),
                   [](const AddedToken& a, const AddedToken& b) { return a.text < b.text; });
  for (const AddedToken& token : tokens_) {
    begins_[static_cast<uint8_t>(token.text.front())] = true;
  }
}

const AddedToken* AddedTokens::LongestAt(std::string_view text, size_t at,
                                         const TrustedBytes& trusted) const {
  const AddedToken* found = nullptr;
  auto first = tokens_.begin(), last = tokens_.end();
  // Narrows the tokens to those that begin as the text does, byte by byte.
  for (size_t size = 0; first != last; ++size) {
    if (first->text.size() == size) {
      const bool allowed = !first->control || trusted.Cover(at, at + size);
      const bool stands = !first->single_word || (!EndsWithWordCharacter(text.substr(0, at)) &&
                                                  !BeginsWithWordCharacter(text.substr(at + size)));
      found = size > 0 && allowed && stands ? &*first : found;
    }
    if (at + size == text.size()) {
      break;
    }
    const auto byte = static_cast<uint8_t>(text[at + size]);
    const auto at_size = [size](const AddedToken& token) {
      return token.text.size() == size ? -1 : static_cast<uint8_t>(token.text[size]);
    };
    first =
        std::partition_point(first, last, [&](const AddedToken& t) { return at_size(t) < byte; });
    last =
        std::partition_point(first, last, [&](const AddedToken& t) { return at_size(t) == byte; });
  }
  return found;
}

std::vector<AddedTokens::Part> AddedTokens::Cut(std::string_view text,
                                                const TrustedBytes& trusted) const {
  std::vector<Part> parts;
  size_t done = 0;
  for (size_t at = 0; at < text.size() && !tokens_.empty();) {
    const AddedToken* token =
        begins_[static_cast<uint8_t>(text[at])] ? LongestAt(text, at, trusted) : nullptr;
    if (token == nullptr) {
      ++at;
      continue;
    }
    TextRange range{at, at + token->text.size()};
    size_t bytes = 0;
    while (token->strips_left && range.begin > done) {
      const size_t last = BackCharacterBytes(text.substr(done, range.begin - done));
      if (!IsWhiteSpace(FrontCharacter(text.substr(range.begin - last), &bytes))) {
        break;
      }
      range.begin -= last;
    }
    while (token->strips_right && range.end < text.size() &&
           IsWhiteSpace(FrontCharacter(text.substr(range.end), &bytes))) {
      range.end += bytes;
    }
    if (done < range.begin) {
      parts.push_back({{done, range.begin}, -1});
    }
    parts.push_back({range, token->id});
    at = done = range.end;
  }
  if (done < text.size()) {
    parts.push_back({{done, text.size()}, -1});
  }
  return parts;
}

}  // namespace alcca
