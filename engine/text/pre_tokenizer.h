#pragma once

// How a tokenizer cuts a text into words, in which alone its merges work: the "pre_tokenizer" of a
// tokenizer.json.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/text/split_pattern.h"

namespace alcca {

// What becomes of a match and of the text between two.
enum class SplitBehavior : uint8_t {
  kRemoved,             // matches are dropped
  kIsolated,            // each match is a word, and so is each text between
  kMergedWithPrevious,  // a match belongs to the text before it
  kMergedWithNext,
  kContiguous,  // neighbouring matches are one word
};

struct PreTokenizerStep {
  std::string space;               // replaces each ' '; empty: none
  std::string prefix;              // goes before a word that does not begin with it; empty: none
  bool prefix_only_first = false;  // before the first word of the whole text only
  std::optional<SplitPattern> pattern;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;  // the text between matches counts as the matches
};

// A text cut into words, none of them empty: word i is [ends[i - 1], ends[i]) of `text`.
struct Words {
  std::string text;
  std::vector<size_t> ends;
};

class PreTokenizer {
 public:
  PreTokenizer() = default;
  explicit PreTokenizer(std::vector<PreTokenizerStep> steps) : steps_(std::move(steps)) {}

  // `at_start`: nothing stands before `text`, valid UTF-8, in what is encoded. RESOURCE_EXHAUSTED
  // as SplitPattern::FindAll.
  absl::StatusOr<Words> Cut(std::string text, bool at_start, MatchMemory* memory) const;

 private:
  std::vector<PreTokenizerStep> steps_;
};

// GPT-2's words, which ByteLevel cuts and many vocabularies since.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace alcca
