// JSON schemas: compiled or refused, then walked by their masks. Input: a byte of flags (bit 0
// white space, bit 1 any order), a byte for the length of the walk, the walk, the schema.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tests/fuzz/constraint_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view in(reinterpret_cast<const char*>(data), std::min(size, size_t{4096}));
  if (in.size() < 2) {
    return 0;
  }
  const auto flags = static_cast<uint8_t>(in[0]);
  const size_t steps = static_cast<uint8_t>(in[1]) % 64;
  in.remove_prefix(2);
  const std::string_view walk = in.substr(0, steps);
  in.remove_prefix(walk.size());
  alcca::ConstraintSpec spec;
  spec.kind = alcca::ConstraintSpec::Kind::kJsonSchema;
  spec.text = in;
  spec.json = {
      .whitespace = flags & 1 ? alcca::JsonWhitespace::kFlexible : alcca::JsonWhitespace::kCompact,
      .ordered = (flags & 2) == 0,
      .max_alternatives = 20,
      .max_expressions = 500};
  const auto constraint =
      alcca::CompileConstraint(spec, alcca::FuzzVocabulary(), alcca::FuzzLimits());
  ALCCA_CHECK(constraint.ok() || absl::IsInvalidArgument(constraint.status()));
  if (constraint.ok()) {
    alcca::WalkByMask(*constraint, walk);
  }
  return 0;
}
