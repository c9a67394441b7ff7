#include "tests/engine/constraint/harness.h"

#include "gtest/gtest.h"

namespace alcca {

std::shared_ptr<const ConstraintVocabulary> ByteVocabulary(const std::vector<std::string>& words) {
  VocabularyBytes vocabulary;
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary.bytes.emplace_back(1, static_cast<char>(byte));
  }
  vocabulary.bytes.insert(vocabulary.bytes.end(), words.begin(), words.end());
  vocabulary.end_tokens = {static_cast<int32_t>(vocabulary.bytes.size())};
  vocabulary.bytes.emplace_back();
  auto built = ConstraintVocabulary::Build(std::move(vocabulary));
  EXPECT_TRUE(built.ok()) << built.status();
  return *built;
}

std::shared_ptr<const ConstraintVocabulary> JsonVocabulary() {
  static const auto& kVocabulary = *new std::shared_ptr<const ConstraintVocabulary>(
      ByteVocabulary({"{\"",      "\":",
                      "\",",      "\"}",
                      "\",\"",    "\": \"",
                      "true",     "false",
                      "null",     "nu",
                      "ll",       "12",
                      "00",       "name",
                      "na",       "me\"",
                      "ab",       "abc",
                      "abcd",     "[[",
                      "]]",       "]}",
                      "}}",       "},{",
                      " ",        "  ",
                      "\n",       "\\n",
                      "\\u00",    "\\\"",
                      "\xC3\xA9", "\xE2\x82",
                      "\xAC",     "\xF0\x9F\x98\x80",
                      "a\"",      "a\":1",
                      "-1",       ".5",
                      "1e",       "e+",
                      "x\",",     "tr",
                      "ue,",      "\"a\"",
                      "\"b\":",   "aaaaaaaa",
                      "zz"}));
  return kVocabulary;
}

ConstraintSpec SchemaSpec(std::string schema, JsonSchemaOptions options) {
  ConstraintSpec spec;
  spec.kind = ConstraintSpec::Kind::kJsonSchema;
  spec.text = std::move(schema);
  spec.json = options;
  return spec;
}

ConstraintSpec TextSpec(ConstraintSpec::Kind kind, std::string text) {
  ConstraintSpec spec;
  spec.kind = kind;
  spec.text = std::move(text);
  return spec;
}

bool Accepts(const ConstraintSpec& spec, std::string_view text) {
  const auto constraint = CompileConstraint(spec, JsonVocabulary());
  EXPECT_TRUE(constraint.ok()) << constraint.status() << "\n" << spec.text;
  if (!constraint.ok()) {
    return false;
  }
  Matcher matcher(*constraint);
  return matcher.AcceptText(text).ok() && matcher.MayEnd();
}

std::string CompileError(const ConstraintSpec& spec) {
  const auto constraint = CompileConstraint(spec, JsonVocabulary());
  if (!constraint.ok()) {
    EXPECT_EQ(constraint.status().code(), absl::StatusCode::kInvalidArgument);
  }
  return std::string(constraint.status().message());
}

void CheckCases(ConstraintSpec spec, const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    spec.text = c.text;
    for (const std::string& text : c.accepted) {
      EXPECT_TRUE(Accepts(spec, text)) << c.text << "\nshould accept " << text;
    }
    for (const std::string& text : c.refused) {
      EXPECT_FALSE(Accepts(spec, text)) << c.text << "\nshould refuse " << text;
    }
  }
}

}  // namespace alcca
