// The syntax tree of a grammar in GBNF or Lark's notation.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/constraint/regex.h"

namespace alcca {

struct EbnfNode {
  enum class Kind : uint8_t { kText, kChars, kRegex, kRule, kSequence, kChoice, kRepeat };
  Kind kind = Kind::kSequence;
  std::string text{};        // Of kText, or the name of a rule.
  bool ignore_case = false;  // Of kText: ASCII letters.
  CharSet chars{};
  Regex regex{};
  std::vector<EbnfNode> children{};
  uint32_t min = 0, max = 0;
  size_t line = 0;  // Of kRule, for errors.
};

struct EbnfRules {
  std::vector<std::pair<std::string, EbnfNode>> rules;
  std::string start;
};

// INVALID_ARGUMENT with line and column.
absl::StatusOr<EbnfRules> ParseEbnf(std::string_view text);

}  // namespace alcca
