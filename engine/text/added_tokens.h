#pragma once

// Tokens that are found in a text before anything else is done with it: control tokens and what a
// file calls added tokens.
//
// Control tokens are found only in bytes that are trusted, which a client's never are: what a user
// wrote is text.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/split_pattern.h"

namespace alcca {

inline constexpr size_t kMaxAddedTokenBytes = 1024;

struct AddedToken {
  std::string text;  // at most kMaxAddedTokenBytes, valid UTF-8, not empty
  int32_t id = -1;
  bool control = false;
  bool single_word = false;   // not between word characters
  bool strips_left = false;   // white space before it belongs to it
  bool strips_right = false;  // and after it
  bool normalized = false;    // it is looked for in normalized text
};

// The bytes of a text that may hold control tokens.
class TrustedBytes {
 public:
  // The next bytes of the text.
  void Append(size_t bytes, bool trusted);
  bool Cover(size_t begin, size_t end) const;

 private:
  std::vector<TextRange> ranges_;  // ascending, apart from each other
  size_t size_ = 0;
};

// Immutable, so safe for any number of threads.
class AddedTokens {
 public:
  AddedTokens() = default;
  explicit AddedTokens(std::vector<AddedToken> tokens);

  struct Part {
    TextRange range;
    int32_t id = -1;  // -1: text
  };
  // The text cut at its tokens: the leftmost first, the longest of those at one place. No part of
  // text is empty. Time is linear in the text's size times that of the longest token.
  std::vector<Part> Cut(std::string_view text, const TrustedBytes& trusted) const;

 private:
  const AddedToken* LongestAt(std::string_view text, size_t at, const TrustedBytes& trusted) const;

  std::vector<AddedToken> tokens_;  // by text
  bool begins_[256] = {};           // whether a token begins with the byte
};

}  // namespace alcca
