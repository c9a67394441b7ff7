#pragma once

// Stop strings in a stream of text: what may be sent now, and whether the text has ended.

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace alcca {

// Each stop string advances like Knuth-Morris-Pratt, so a byte of text costs O(stops) and the text
// held back is exactly the longest suffix that may still become a stop string. The stops are whole
// UTF-8 strings, so what is held or cut begins on a character whatever the text was cut into.
class StopMatcher {
 public:
  // `stops` is not empty strings and outlives this. With `include`, a stop string stays in the text
  // (nothing is held back then: whatever follows, the bytes are wanted).
  StopMatcher(std::span<const std::string> stops, bool include);

  // Takes `text` and appends to `out` what is certain. True when a stop string ended inside `text`:
  // the earliest end counts, and of several that end there the longest. Text after it is dropped,
  // and Push must not be called again. While !may_match, stop strings that end in `text` are passed
  // by, though one that begins in it may end later (min_tokens).
  bool Push(std::string_view text, bool may_match, std::string* out);

  // The end without a match: what was held back.
  std::string Flush();

  // After a match: index in `stops`; else -1.
  int matched() const { return matched_; }

 private:
  struct Pattern {
    std::string_view text;
    std::vector<size_t> fail;  // [size + 1]: longest proper prefix that ends the first i bytes
    size_t length = 0;         // of the longest prefix that the stream now ends with
  };

  // Advances every pattern; the index of the longest complete one, or -1.
  int Step(char byte);
  size_t Held() const;

  std::vector<Pattern> patterns_;
  const bool include_;
  std::string held_;  // received, not yet released
  int matched_ = -1;
};

}  // namespace alcca
