#include "engine/constraint/compiler.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/constraint/ebnf.h"
#include "engine/constraint/regex.h"
#include "engine/constraint/structural_tag.h"

namespace alcca {
namespace {

absl::StatusOr<Grammar> CompileChoice(const std::vector<std::string>& choices,
                                      const GrammarLimits& limits) {
  if (choices.empty()) {
    return absl::InvalidArgumentError("choice: expected at least one text");
  }
  GrammarBuilder builder(limits);
  const RuleId rule = builder.NewRule();
  std::vector<StateId> starts;
  for (const std::string& choice : choices) {
    starts.push_back(builder.Literal(choice, kAcceptState));
  }
  builder.SetRule(rule, builder.Split(starts));
  return std::move(builder).Build(rule);
}

absl::StatusOr<Grammar> CompileGrammar(const ConstraintSpec& spec, const GrammarLimits& limits) {
  switch (spec.kind) {
    case ConstraintSpec::Kind::kJsonSchema:
      return CompileJsonSchema(spec.text, spec.json, limits);
    case ConstraintSpec::Kind::kJsonObject:
      return CompileJsonObject(spec.json, limits);
    case ConstraintSpec::Kind::kRegex:
      return CompileRegex(spec.text, limits);
    case ConstraintSpec::Kind::kGrammar:
      return CompileEbnf(spec.text, limits);
    case ConstraintSpec::Kind::kChoice:
      return CompileChoice(spec.choices, limits);
    case ConstraintSpec::Kind::kStructuralTag:
      return CompileStructuralTag(spec.text, spec.json, limits);
  }
  return absl::InvalidArgumentError("unknown kind of constraint");
}

// Equal for equal constraints, different for others.
std::string KeyOf(const ConstraintSpec& spec) {
  std::string key =
      absl::StrCat(static_cast<int>(spec.kind), ",", static_cast<int>(spec.json.whitespace), ",",
                   spec.json.ordered, ",", spec.json.max_alternatives, ",",
                   spec.json.max_expressions, ",", spec.text.size(), ":", spec.text);
  for (const std::string& choice : spec.choices) {
    absl::StrAppend(&key, ",", choice.size(), ":", choice);
  }
  return key;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const ConstraintVocabulary>> ConstraintVocabulary::Build(
    VocabularyBytes bytes) {
  std::shared_ptr<ConstraintVocabulary> vocabulary(new ConstraintVocabulary);
  ASSIGN_OR_RETURN(vocabulary->trie_, TokenTrie::Build(std::move(bytes)));
  vocabulary->free_string_ = FreeStringMask(*vocabulary->trie_);
  return vocabulary;
}

CompiledConstraint::CompiledConstraint(Grammar grammar,
                                       std::shared_ptr<const ConstraintVocabulary> vocabulary,
                                       const AutomatonLimits& limits)
    : grammar_(std::move(grammar)), vocabulary_(std::move(vocabulary)), limits_(limits) {
  automaton_ = std::make_shared<Automaton>(grammar_, vocabulary_->trie(),
                                           &vocabulary_->free_string(), limits_);
}

absl::StatusOr<std::shared_ptr<const CompiledConstraint>> CompileConstraint(
    const ConstraintSpec& spec, std::shared_ptr<const ConstraintVocabulary> vocabulary,
    const ConstraintLimits& limits) {
  size_t bytes = spec.text.size();
  for (const std::string& choice : spec.choices) {
    bytes += choice.size();
  }
  if (bytes > limits.text_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("constraint of ", bytes, " bytes, at most ", limits.text_bytes));
  }
  ASSIGN_OR_RETURN(Grammar grammar, CompileGrammar(spec, limits.grammar));
  auto constraint = std::make_shared<const CompiledConstraint>(
      std::move(grammar), std::move(vocabulary), limits.automaton);
  if (constraint->StartsDead()) {
    return absl::InvalidArgumentError(absl::StrCat("the constraint begins in more than ",
                                                   limits.automaton.items, " ways at once"));
  }
  return constraint;
}

std::shared_ptr<const CompiledConstraint> ConstraintCache::FindKey(const std::string& key) {
  const std::lock_guard lock(mutex_);
  const auto it = by_key_.find(key);
  if (it == by_key_.end()) {
    return nullptr;
  }
  ++counters_.hits;
  entries_.splice(entries_.begin(), entries_, it->second);
  return it->second->constraint;
}

std::shared_ptr<const CompiledConstraint> ConstraintCache::Find(const ConstraintSpec& spec) {
  return FindKey(KeyOf(spec));
}

absl::StatusOr<std::shared_ptr<const CompiledConstraint>> ConstraintCache::Get(
    const ConstraintSpec& spec) {
  std::string key = KeyOf(spec);
  if (std::shared_ptr<const CompiledConstraint> found = FindKey(key)) {
    return found;
  }
  absl::StatusOr<std::shared_ptr<const CompiledConstraint>> constraint =
      CompileConstraint(spec, vocabulary_, limits_);
  const std::lock_guard lock(mutex_);
  ++counters_.misses;
  if (!constraint.ok()) {
    ++counters_.failures;
    return constraint;
  }
  if (by_key_.contains(key)) {
    return constraint;
  }
  // What an automaton may learn counts from the start, so that the bound holds later too.
  const size_t bytes = (*constraint)->bytes() + 2 * key.size() + limits_.automaton.bytes / 16;
  entries_.push_front({key, *constraint, bytes});
  by_key_[std::move(key)] = entries_.begin();
  counters_.bytes += bytes;
  while (counters_.bytes > max_bytes_ && entries_.size() > 1) {
    counters_.bytes -= entries_.back().bytes;
    by_key_.erase(entries_.back().key);
    entries_.pop_back();
  }
  return constraint;
}

ConstraintCache::Counters ConstraintCache::counters() const {
  const std::lock_guard lock(mutex_);
  Counters counters = counters_;
  counters.entries = entries_.size();
  return counters;
}

}  // namespace alcca
