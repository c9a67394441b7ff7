// Regular expressions: ECMA-262's syntax as JSON schema uses it (also what most of Python's and
// Rust's expressions are). What a finite automaton cannot do (look-around, back references, word
// borders, flags) is refused with its byte offset.
//
// `.` is any character but \n, \r, U+2028, U+2029; \d is [0-9], \w is [A-Za-z0-9_], \s is ECMA's
// white space. Lazy quantifiers are read and mean what greedy ones do: which texts match is the
// same.

#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/constraint/char_dfa.h"
#include "engine/constraint/grammar.h"

namespace alcca {

// Sorted, disjoint, not adjacent ranges of characters, both ends included.
using CharSet = std::vector<std::pair<uint32_t, uint32_t>>;
CharSet NormalizeSet(CharSet set);
CharSet ComplementOf(const CharSet& set);

struct Regex {
  enum class Kind : uint8_t { kChars, kSequence, kChoice, kRepeat, kBegin, kEnd };
  Kind kind = Kind::kSequence;  // An empty sequence matches the empty text.
  CharSet chars{};
  std::vector<Regex> children{};
  uint32_t min = 0, max = 0;  // Of kRepeat; max may be kUnbounded.
};

// INVALID_ARGUMENT with the byte offset.
absl::StatusOr<Regex> ParseRegex(std::string_view pattern);

// The strings in which the pattern is found somewhere (JSON schema's "pattern").
absl::StatusOr<DfaPtr> RegexSearchDfa(const Regex& regex, DfaBudget* budget);
// The strings that the pattern matches from begin to end.
absl::StatusOr<DfaPtr> RegexMatchDfa(const Regex& regex, DfaBudget* budget);

// States that read a text which the pattern matches from begin to end, then go to `next`. Anchors
// may stand only where they say nothing.
absl::StatusOr<StateId> RegexStates(const Regex& regex, StateId next, GrammarBuilder* builder);

// A whole constraint: the text matches from begin to end.
absl::StatusOr<Grammar> CompileRegex(std::string_view pattern, const GrammarLimits& limits);

}  // namespace alcca
