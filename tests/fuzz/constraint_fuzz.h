// What the fuzz targets of constraints share.

#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "engine/constraint/compiler.h"
#include "engine/constraint/matcher.h"

namespace alcca {

// Bytes and some words; the last token ends.
inline std::shared_ptr<const ConstraintVocabulary> FuzzVocabulary() {
  static const auto& kVocabulary = *new std::shared_ptr<const ConstraintVocabulary>([] {
    VocabularyBytes vocabulary;
    for (int byte = 0; byte < 256; ++byte) {
      vocabulary.bytes.emplace_back(1, static_cast<char>(byte));
    }
    for (const char* word : {"{\"", "\":", "\",\"", "\"}", "true", "nu", "ll", "12", "ab", "aaa",
                             "[[", "]}", " ", "\\u00", "\xC3\xA9", "\xE2\x82", "-1", ".5"}) {
      vocabulary.bytes.emplace_back(word);
    }
    vocabulary.end_tokens = {static_cast<int32_t>(vocabulary.bytes.size())};
    vocabulary.bytes.emplace_back();
    return *ConstraintVocabulary::Build(std::move(vocabulary));
  }());
  return kVocabulary;
}

// Small, so that what an input costs is small too.
inline ConstraintLimits FuzzLimits() {
  ConstraintLimits limits;
  limits.grammar = {.states = 20'000, .edges = 60'000, .rules = 2'000};
  limits.automaton = {.bytes = 1 << 20, .items = 500, .depth = 100, .work = 200'000};
  return limits;
}

// Walks by the mask: `choices` says which of the allowed tokens. Each mask must agree with a step,
// and no text may lead into a dead end.
inline void WalkByMask(const std::shared_ptr<const CompiledConstraint>& constraint,
                       std::string_view choices) {
  const TokenTrie& trie = constraint->vocabulary().trie();
  Matcher matcher(constraint);
  std::vector<uint32_t> mask(trie.mask_words());
  for (const char choice : choices) {
    if (!matcher.Mask(mask).ok()) {
      return;  // A limit.
    }
    std::vector<int32_t> allowed;
    for (int32_t token = 0; token < static_cast<int32_t>(trie.vocab_size()); ++token) {
      if (mask[token / 32] >> (token % 32) & 1) {
        allowed.push_back(token);
      }
    }
    ALCCA_CHECK(!allowed.empty());
    const auto other = static_cast<int32_t>(static_cast<uint8_t>(choice));
    Matcher probe = matcher;
    const absl::Status step = probe.Accept(other);
    ALCCA_CHECK(absl::IsResourceExhausted(step) ||
                step.ok() == ((mask[other / 32] >> (other % 32) & 1) != 0));
    const absl::Status status =
        matcher.Accept(allowed[static_cast<uint8_t>(choice) % allowed.size()]);
    ALCCA_CHECK(status.ok() || absl::IsResourceExhausted(status));
    if (!status.ok() || matcher.ended()) {
      return;
    }
  }
}

}  // namespace alcca
