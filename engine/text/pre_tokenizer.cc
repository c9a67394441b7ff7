#include "engine/text/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"

namespace alcca {
namespace {

struct Part {
  TextRange range;
  bool is_match;
};

// Matches and the texts between them, which cover the word.
std::vector<Part> AllParts(const std::vector<TextRange>& matches, size_t size, bool invert) {
  std::vector<Part> parts;
  size_t done = 0;
  for (const TextRange& match : matches) {
    if (done < match.begin) {
      parts.push_back({{done, match.begin}, invert});
    }
    parts.push_back({match, !invert});
    done = match.end;
  }
  if (done < size) {
    parts.push_back({{done, size}, invert});
  }
  return parts;
}

std::vector<TextRange> Behave(const std::vector<Part>& parts, SplitBehavior behavior) {
  std::vector<TextRange> words;
  bool previous = false;  // whether the part before is a match
  for (const Part& part : parts) {
    const bool joins =
        !words.empty() &&
        ((behavior == SplitBehavior::kContiguous && part.is_match == previous) ||
         (behavior == SplitBehavior::kMergedWithPrevious && part.is_match && !previous));
    if (joins) {
      words.back().end = part.range.end;
    } else if (behavior != SplitBehavior::kRemoved || !part.is_match) {
      words.push_back(part.range);
    }
    previous = part.is_match;
  }
  return words;
}

// From right to left: a match takes the text after it, unless that is a match as well.
std::vector<TextRange> MergeWithNext(const std::vector<Part>& parts) {
  std::vector<TextRange> words;
  bool next = false;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (part->is_match && !next && !words.empty()) {
      words.back().begin = part->range.begin;
    } else {
      words.push_back(part->range);
    }
    next = part->is_match;
  }
  std::reverse(words.begin(), words.end());
  return words;
}

std::string Prepared(std::string_view word, const PreTokenizerStep& step, bool first) {
  std::string text;
  if (step.space.empty()) {
    text = word;
  } else {
    for (const char c : word) {
      if (c == ' ') {
        text += step.space;
      } else {
        text += c;
      }
    }
  }
  const bool prefixes = !step.prefix.empty() && (first || !step.prefix_only_first);
  return prefixes && !text.starts_with(step.prefix) ? step.prefix + text : text;
}

absl::Status CutWord(std::string_view word, const PreTokenizerStep& step, MatchMemory* memory,
                     std::vector<TextRange>* matches, Words* out) {
  if (!step.pattern) {
    out->text += word;
    out->ends.push_back(out->text.size());
    return absl::OkStatus();
  }
  matches->clear();
  RETURN_IF_ERROR(step.pattern->FindAll(word, memory, matches));
  const std::vector<Part> parts = AllParts(*matches, word.size(), step.invert);
  for (const TextRange& range : step.behavior == SplitBehavior::kMergedWithNext
                                    ? MergeWithNext(parts)
                                    : Behave(parts, step.behavior)) {
    if (range.begin < range.end) {
      out->text += word.substr(range.begin, range.end - range.begin);
      out->ends.push_back(out->text.size());
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Words> PreTokenizer::Cut(std::string text, bool at_start,
                                        MatchMemory* memory) const {
  Words words{std::move(text), {}};
  if (!words.text.empty()) {
    words.ends.push_back(words.text.size());
  }
  std::vector<TextRange> matches;
  for (const PreTokenizerStep& step : steps_) {
    Words next;
    next.text.reserve(words.text.size());
    next.ends.reserve(words.ends.size());
    size_t begin = 0;
    for (const size_t end : words.ends) {
      const std::string_view word = std::string_view(words.text).substr(begin, end - begin);
      if (step.space.empty() && step.prefix.empty()) {
        RETURN_IF_ERROR(CutWord(word, step, memory, &matches, &next));
      } else {
        const std::string prepared = Prepared(word, step, at_start && begin == 0);
        RETURN_IF_ERROR(CutWord(prepared, step, memory, &matches, &next));
      }
      begin = end;
    }
    words = std::move(next);
  }
  return words;
}

}  // namespace alcca
