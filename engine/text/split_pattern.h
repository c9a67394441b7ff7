#pragma once

// Regular expressions that tokenizers cut text with, as their files spell them: Oniguruma's syntax
// (tokenizers) or Rust's (tiktoken), run by PCRE2 with Unicode properties.
//
// Both a pattern and a text are outside input. A pattern's size and nesting are limited, and so are
// the steps and the memory that a text takes: linear in the text's size. PCRE2's JIT compiler is
// not used, because alccad.service forbids memory that is both writable and executable.

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace alcca {

inline constexpr size_t kMaxPatternBytes = size_t{64} << 10;

struct TextRange {
  size_t begin = 0, end = 0;  // bytes
  bool operator==(const TextRange&) const = default;
};

// The memory of one search, which searches in one thread share.
class MatchMemory {
 public:
  MatchMemory();
  ~MatchMemory();
  MatchMemory(const MatchMemory&) = delete;
  MatchMemory& operator=(const MatchMemory&) = delete;

 private:
  friend class SplitPattern;
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

// Immutable, so safe for any number of threads.
class SplitPattern {
 public:
  // INVALID_ARGUMENT: no such pattern; UNIMPLEMENTED: what PCRE2 would read otherwise.
  static absl::StatusOr<SplitPattern> Compile(std::string_view pattern);
  // A pattern that matches this text, which is valid UTF-8, and nothing else.
  static absl::StatusOr<SplitPattern> Literal(std::string_view text);

  // The matches in `text`, valid UTF-8, from left to right; none overlaps another, and an empty one
  // never stands at the end of the one before. RESOURCE_EXHAUSTED: the text takes too many steps.
  absl::Status FindAll(std::string_view text, MatchMemory* memory,
                       std::vector<TextRange>* matches) const;

 private:
  explicit SplitPattern(std::shared_ptr<const void> code) : code_(std::move(code)) {}

  std::shared_ptr<const void> code_;  // pcre2_code
};

// The same pattern in PCRE2's syntax. (Public for tests.)
absl::StatusOr<std::string> ToPcre2(std::string_view pattern);

}  // namespace alcca
