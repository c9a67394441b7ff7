// What a request may ask of its answer's text, compiled against a vocabulary.

#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/constraint/automaton.h"
#include "engine/constraint/grammar.h"
#include "engine/constraint/json_schema.h"
#include "engine/constraint/vocabulary.h"

namespace alcca {

struct ConstraintSpec {
  enum class Kind : uint8_t {
    kJsonSchema,     // text: the schema.
    kJsonObject,     // Any JSON object.
    kRegex,          // text: an expression that the whole answer matches (regex.h).
    kGrammar,        // text: GBNF, or Lark's notation (ebnf.h).
    kChoice,         // choices: one of these texts.
    kStructuralTag,  // text: JSON (structural_tag.h).
  };
  Kind kind = Kind::kJsonObject;
  std::string text;
  std::vector<std::string> choices;
  JsonSchemaOptions json;  // Of every JSON in it.
};

struct ConstraintLimits {
  size_t text_bytes = 1 << 20;
  GrammarLimits grammar;
  AutomatonLimits automaton;
};

// A vocabulary with what masks of every constraint share. Built once per model (tens of
// milliseconds for 32,000 tokens), immutable.
class ConstraintVocabulary {
 public:
  static absl::StatusOr<std::shared_ptr<const ConstraintVocabulary>> Build(VocabularyBytes bytes);

  const TokenTrie& trie() const { return *trie_; }
  const LocalMask& free_string() const { return free_string_; }

 private:
  ConstraintVocabulary() = default;
  std::shared_ptr<const TokenTrie> trie_;
  LocalMask free_string_;
};

// Immutable for its users; shared by all answers under it, which learn its automaton together.
class CompiledConstraint {
 public:
  CompiledConstraint(Grammar grammar, std::shared_ptr<const ConstraintVocabulary> vocabulary,
                     const AutomatonLimits& limits);

  const ConstraintVocabulary& vocabulary() const { return *vocabulary_; }
  // The grammar's memory; what is learned is bounded by AutomatonLimits::bytes besides.
  size_t bytes() const { return grammar_.bytes(); }
  const Grammar& grammar() const { return grammar_; }
  // Even the first configuration is over a limit.
  bool StartsDead() const { return automaton_->start() == kDead; }

 private:
  friend class Matcher;
  const Grammar grammar_;
  const std::shared_ptr<const ConstraintVocabulary> vocabulary_;
  const AutomatonLimits limits_;
  mutable std::mutex mutex_;  // Guards every automaton of this constraint.
  mutable std::shared_ptr<Automaton> automaton_;
  // What may come first where a text begins and tokens lose their space; empty: not known yet.
  mutable std::vector<uint32_t> first_mask_;
};

// Takes time that grows with the text and its limits (milliseconds as a rule): call it off the
// engine's thread. INVALID_ARGUMENT if the text is wrong, says what is not supported, needs more
// than a limit, or if nothing satisfies it; the message names the place.
absl::StatusOr<std::shared_ptr<const CompiledConstraint>> CompileConstraint(
    const ConstraintSpec& spec, std::shared_ptr<const ConstraintVocabulary> vocabulary,
    const ConstraintLimits& limits = {});

// Compiled constraints of one vocabulary by content, the latest used first. Thread-safe; two calls
// at once may both compile. Failures are not kept.
class ConstraintCache {
 public:
  ConstraintCache(std::shared_ptr<const ConstraintVocabulary> vocabulary, ConstraintLimits limits,
                  size_t max_bytes)
      : vocabulary_(std::move(vocabulary)), limits_(limits), max_bytes_(max_bytes) {}

  absl::StatusOr<std::shared_ptr<const CompiledConstraint>> Get(const ConstraintSpec& spec);
  // Without compiling: null if it is not there, which counts as nothing.
  std::shared_ptr<const CompiledConstraint> Find(const ConstraintSpec& spec);

  struct Counters {
    uint64_t hits = 0, misses = 0, failures = 0;
    size_t entries = 0, bytes = 0;
  };
  Counters counters() const;

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<const CompiledConstraint> constraint;
    size_t bytes = 0;
  };

  std::shared_ptr<const CompiledConstraint> FindKey(const std::string& key);

  const std::shared_ptr<const ConstraintVocabulary> vocabulary_;
  const ConstraintLimits limits_;
  const size_t max_bytes_;
  mutable std::mutex mutex_;
  std::list<Entry> entries_;
  std::unordered_map<std::string, std::list<Entry>::iterator> by_key_;
  Counters counters_;
};

}  // namespace alcca
