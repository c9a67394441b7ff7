// Regular expressions: the states of the grammar against the automaton over characters. Input: a
// byte for the length of the text, the text, the expression.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "engine/constraint/regex.h"
#include "tests/fuzz/constraint_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view in(reinterpret_cast<const char*>(data), std::min(size, size_t{1024}));
  if (in.empty()) {
    return 0;
  }
  const size_t length = static_cast<uint8_t>(in[0]) % 64;
  in.remove_prefix(1);
  const std::string_view text = in.substr(0, length);
  in.remove_prefix(text.size());
  const absl::StatusOr<alcca::Regex> regex = alcca::ParseRegex(in);
  if (!regex.ok()) {
    return 0;
  }
  alcca::ConstraintSpec spec;
  spec.kind = alcca::ConstraintSpec::Kind::kRegex;
  spec.text = in;
  const auto constraint =
      alcca::CompileConstraint(spec, alcca::FuzzVocabulary(), alcca::FuzzLimits());
  alcca::DfaBudget budget = {.cells = 200'000, .max_states = 2'000};
  const absl::StatusOr<alcca::DfaPtr> dfa = alcca::RegexMatchDfa(*regex, &budget);
  if (constraint.ok()) {
    alcca::WalkByMask(*constraint, text);
  }
  if (constraint.ok() && dfa.ok()) {
    alcca::Matcher matcher(*constraint);
    const absl::Status status = matcher.AcceptText(text);
    ALCCA_CHECK(absl::IsResourceExhausted(status) ||
                (*dfa)->Accepts(text) == (status.ok() && matcher.MayEnd()));
  }
  return 0;
}
