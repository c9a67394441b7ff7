// Grammars in two notations, told apart by their definitions: GBNF (`name ::= ...`, llama.cpp) and
// the common part of Lark's (`name: ...`). docs/constraints.md has what of each is read.
//
// Both: "text" with escapes, [a-z] and [^a-z], (...), | , * + ?, {n} {n,} {n,m}, comments, left
// recursion. GBNF: the start is `root`; `.` is any character. Lark: the start is `start`;
// /regex/, "a".."z", 'i' after a string for ASCII case, ~ n..m repeats, NAME and name alike,
// %ignore is refused as are templates, priorities and %import.

#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "engine/constraint/grammar.h"

namespace alcca {

// INVALID_ARGUMENT with line and column.
absl::StatusOr<Grammar> CompileEbnf(std::string_view text, const GrammarLimits& limits);
// Adds the rules to a grammar that is being built; the start rule.
absl::StatusOr<RuleId> AddEbnf(std::string_view text, GrammarBuilder* builder);

}  // namespace alcca
