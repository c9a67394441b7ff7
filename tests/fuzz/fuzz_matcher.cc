// The recogniser against Earley's algorithm, byte by byte. Input: a byte that says which
// constraint, then the text.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "tests/engine/constraint/reference.h"
#include "tests/fuzz/constraint_fuzz.h"

namespace {

using Kind = alcca::ConstraintSpec::Kind;

std::vector<std::shared_ptr<const alcca::CompiledConstraint>> Compile() {
  const std::pair<Kind, const char*> kTexts[] = {
      {Kind::kJsonSchema, "true"},
      {Kind::kJsonSchema,
       R"({"type":"object","properties":{"a":{"type":"integer"},"ab":{"type":"string","maxLength":3}},"required":["a"],"maxProperties":3})"},
      {Kind::kJsonSchema, R"({"type":"array","contains":{"type":"null"},"maxItems":3})"},
      {Kind::kJsonSchema, R"({"type":"array","items":{"enum":["a","b",1]},"uniqueItems":true})"},
      {Kind::kRegex, "((a?b{0,3}){2,5}|(ab|a){3})*c"},
      {Kind::kGrammar, "root ::= s\ns ::= s s | \"a\" | \"[\" s \"]\""},
      {Kind::kGrammar, "root ::= e\ne ::= e [-+] t | t\nt ::= [0-9]{1,4} | \"[\" e \"]\" |"},
      {Kind::kStructuralTag,
       R"({"structures":[{"begin":"ab","schema":{"type":"integer"},"end":"]"}],"triggers":["a"]})"},
  };
  std::vector<std::shared_ptr<const alcca::CompiledConstraint>> compiled;
  for (const auto& [kind, text] : kTexts) {
    alcca::ConstraintSpec spec;
    spec.kind = kind;
    spec.text = text;
    compiled.push_back(*alcca::CompileConstraint(spec, alcca::FuzzVocabulary()));
    spec.json.ordered = false;
    compiled.push_back(*alcca::CompileConstraint(spec, alcca::FuzzVocabulary()));
  }
  return compiled;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto& kCompiled =
      *new std::vector<std::shared_ptr<const alcca::CompiledConstraint>>(Compile());
  std::string_view in(reinterpret_cast<const char*>(data), std::min(size, size_t{48}));
  if (in.empty()) {
    return 0;
  }
  const auto& constraint = kCompiled[static_cast<uint8_t>(in[0]) % kCompiled.size()];
  in.remove_prefix(1);
  alcca::Matcher matcher(constraint);
  size_t accepted = 0;
  while (accepted < in.size() && matcher.AcceptText(in.substr(accepted, 1)).ok()) {
    ++accepted;
  }
  const alcca::Verdict verdict =
      alcca::ReferenceVerdict(constraint->grammar(), in.substr(0, accepted));
  ALCCA_CHECK(verdict.prefix && verdict.complete == matcher.MayEnd());
  if (accepted < in.size()) {
    ALCCA_CHECK(!alcca::ReferenceVerdict(constraint->grammar(), in.substr(0, accepted + 1)).prefix);
  }
  alcca::WalkByMask(constraint, in);
  return 0;
}
