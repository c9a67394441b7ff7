// What the tests of constraints share: a small vocabulary, compilation, verdicts.

#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/constraint/compiler.h"
#include "engine/constraint/matcher.h"

namespace alcca {

// Tokens 0..255 are the bytes, then `words`, then one end token.
std::shared_ptr<const ConstraintVocabulary> ByteVocabulary(const std::vector<std::string>& words);
// Bytes and what JSON texts are often made of, with tokens across its borders.
std::shared_ptr<const ConstraintVocabulary> JsonVocabulary();

ConstraintSpec SchemaSpec(std::string schema, JsonSchemaOptions options = {});
ConstraintSpec TextSpec(ConstraintSpec::Kind kind, std::string text);

// Whether the whole text satisfies the constraint; fails the test if it does not compile.
bool Accepts(const ConstraintSpec& spec, std::string_view text);
// The compiler's message, "" if it compiles.
std::string CompileError(const ConstraintSpec& spec);

// One line of a table: what satisfies the constraint, and what does not.
struct Case {
  std::string text;
  std::vector<std::string> accepted;
  std::vector<std::string> refused;
};
void CheckCases(ConstraintSpec spec, const std::vector<Case>& cases);

}  // namespace alcca
