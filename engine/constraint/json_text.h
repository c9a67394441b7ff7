// JSON's own syntax as states of a grammar: strings, numbers, separators, any value.

#pragma once

#include "engine/constraint/char_dfa.h"
#include "engine/constraint/grammar.h"

namespace alcca {

enum class JsonWhitespace : uint8_t {
  kCompact,   // None.
  kFlexible,  // Any, wherever JSON allows it inside of the outermost value.
};

// Pieces that many schemas share are made once per grammar.
class JsonText {
 public:
  JsonText(JsonWhitespace whitespace, GrammarBuilder* builder)
      : whitespace_(whitespace), builder_(*builder) {}

  // White space as the policy has it, then `next`.
  StateId Space(StateId next);
  // `c` with white space before and behind it.
  StateId Separator(char c, StateId next) { return Space(builder_.Literal({&c, 1}, Space(next))); }

  // Rules. Any string with its quotes; any number; any value.
  RuleId String();
  RuleId Number();
  RuleId Value();
  RuleId Object();
  RuleId Array();
  // The inside and the closing quote of a string of these characters. What JSON must escape is
  // escaped in the shortest way, nothing else is; \/ and \uXXXX are read in free strings alone.
  RuleId StringTail(const DfaPtr& strings, uint32_t max = kUnbounded);
  // The same of min..max characters, any.
  RuleId StringTail(uint32_t min, uint32_t max);
  // A text of these ASCII characters as it is.
  RuleId Plain(const DfaPtr& texts);

 private:
  StateId DfaEdges(const CharDfa& dfa, uint32_t state, std::span<const StateId> starts);
  StateId Escape(const std::vector<std::pair<uint32_t, StateId>>& characters);
  StateId DigitsThen(StateId next);

  const JsonWhitespace whitespace_;
  GrammarBuilder& builder_;
  RuleId space_ = kUnbounded;
  RuleId string_ = kUnbounded, number_ = kUnbounded, value_ = kUnbounded, object_ = kUnbounded,
         array_ = kUnbounded;
};

}  // namespace alcca
