// Grammars: what is accepted after left recursion was turned into loops and counters, against
// Earley's algorithm on the grammar as it was written. Input: a byte for the length of the text,
// the text, the grammar.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "engine/constraint/ebnf.h"
#include "tests/engine/constraint/reference.h"
#include "tests/fuzz/constraint_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view in(reinterpret_cast<const char*>(data), std::min(size, size_t{512}));
  if (in.empty()) {
    return 0;
  }
  const size_t length = static_cast<uint8_t>(in[0]) % 16;
  in.remove_prefix(1);
  const std::string_view text = in.substr(0, length);
  in.remove_prefix(text.size());
  alcca::ConstraintSpec spec;
  spec.kind = alcca::ConstraintSpec::Kind::kGrammar;
  spec.text = in;
  const auto constraint =
      alcca::CompileConstraint(spec, alcca::FuzzVocabulary(), alcca::FuzzLimits());
  if (!constraint.ok()) {
    return 0;
  }
  alcca::WalkByMask(*constraint, text);
  alcca::GrammarBuilder builder;
  const absl::StatusOr<alcca::RuleId> start = alcca::AddEbnf(in, &builder);
  ALCCA_CHECK(start.ok());
  alcca::Grammar written = builder.grammar();
  written.start = *start;
  alcca::Matcher matcher(*constraint);
  const absl::Status status = matcher.AcceptText(text);
  if (!absl::IsResourceExhausted(status)) {
    ALCCA_CHECK(alcca::ReferenceVerdict(written, text).complete ==
                (status.ok() && matcher.MayEnd()));
  }
  return 0;
}
