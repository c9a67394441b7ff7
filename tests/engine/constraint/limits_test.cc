// Constraints that are made to hurt end in an error that says why, or within their budget.

#include <chrono>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/constraint/harness.h"

namespace alcca {
namespace {

using ::testing::HasSubstr;
using Kind = ConstraintSpec::Kind;

// Compiles and walks 100 bytes; any status but a crash is well, in time.
absl::Status Survive(const ConstraintSpec& spec, std::string_view bytes) {
  const auto begin = std::chrono::steady_clock::now();
  const auto constraint = CompileConstraint(spec, JsonVocabulary());
  absl::Status status = constraint.status();
  if (constraint.ok()) {
    Matcher matcher(*constraint);
    std::vector<uint32_t> mask(JsonVocabulary()->trie().mask_words());
    for (const char c : bytes) {
      status = matcher.Mask(mask);
      if (status.ok()) {
        status = matcher.AcceptText({&c, 1});
      }
      if (!status.ok()) {
        break;
      }
    }
  }
  const auto took = std::chrono::steady_clock::now() - begin;
  EXPECT_LT(std::chrono::duration<double>(took).count(), 60) << spec.text.substr(0, 100);
  return status;
}

TEST(ConstraintLimitsTest, ExponentialExpressions) {
  const std::string text(100, 'a');
  EXPECT_TRUE(Survive(TextSpec(Kind::kRegex, "(a*)*b|(a|a)*|(a|aa)+"), text).ok());
  // 10^8 ways to have read the same: too many at some byte.
  EXPECT_TRUE(absl::IsResourceExhausted(
      Survive(TextSpec(Kind::kRegex, "(((a{0,100}){0,100}){0,100}){0,100}"), text)));
  EXPECT_TRUE(Survive(TextSpec(Kind::kRegex, "(a|b)*a(a|b){500}"), text).ok());
  std::string nested = "a";
  for (int i = 0; i < 150; ++i) {
    nested = "(" + nested + "|" + "b)*";
  }
  EXPECT_TRUE(Survive(TextSpec(Kind::kRegex, nested), text).ok());
  // As a pattern it must be a deterministic automaton, whose size is 2^40.
  EXPECT_THAT(
      std::string(Survive(SchemaSpec(R"({"type":"string","pattern":"^(a|b)*a(a|b){40}$"})"), text)
                      .message()),
      HasSubstr("automaton of more than"));
}

TEST(ConstraintLimitsTest, AmbiguousGrammars) {
  const std::string text(100, 'a');
  for (const char* grammar :
       {"root ::= s\ns ::= s s s | s s | \"a\"", "root ::= a*\na ::= b*\nb ::= \"a\"*",
        "root ::= (root root)? | \"a\"", "root ::= x\nx ::= y x | \"a\"\ny ::= x y | \"a\""}) {
    const absl::Status status = Survive(TextSpec(Kind::kGrammar, grammar), text);
    EXPECT_TRUE(status.ok() || absl::IsResourceExhausted(status) || absl::IsInvalidArgument(status))
        << status;
  }
}

TEST(ConstraintLimitsTest, Megabytes) {
  EXPECT_THAT(std::string(Survive(TextSpec(Kind::kRegex, std::string(2 << 20, 'a')), "").message()),
              HasSubstr("at most"));
  EXPECT_FALSE(Survive(TextSpec(Kind::kRegex, std::string(1 << 20, 'a')), "").ok());
  EXPECT_FALSE(Survive(TextSpec(Kind::kRegex, std::string(1 << 20, '(')), "").ok());
  EXPECT_FALSE(Survive(SchemaSpec(std::string(1 << 20, '[')), "").ok());
  std::string rules = "root ::= r0\n";
  for (int i = 0; i < 30000; ++i) {
    rules += "r" + std::to_string(i) + " ::= r" + std::to_string(i + 1) + " | \"a\"\n";
  }
  rules += "r30000 ::= \"b\"\n";
  const absl::Status chain = Survive(TextSpec(Kind::kGrammar, rules), "b");
  EXPECT_TRUE(chain.ok() || absl::IsInvalidArgument(chain)) << chain;
  std::string words = "{\"enum\":[\"x\"";
  for (int i = 0; i < 20000; ++i) {
    words += ",\"word" + std::to_string(i * 7919) + "\"";
  }
  EXPECT_TRUE(Survive(SchemaSpec(words + "]}"), "\"word7919\"").ok());
}

TEST(ConstraintLimitsTest, SchemasThatMultiply) {
  // 2^30 alternatives of objects.
  std::string all = "{\"type\":\"object\",\"allOf\":[";
  for (int i = 0; i < 30; ++i) {
    const std::string name = std::to_string(i);
    all += std::string(i > 0 ? "," : "") + "{\"anyOf\":[{\"required\":[\"a" + name +
           "\"]},{\"required\":[\"b" + name + "\"]}]}";
  }
  EXPECT_THAT(std::string(Survive(SchemaSpec(all + "]}"), "").message()),
              HasSubstr("alternatives"));
  // Deep nesting of the text, not of the schema.
  const std::string deep(3000, '[');
  EXPECT_TRUE(Survive(SchemaSpec(R"({"type":"array","items":{"$ref":"#"}})"), deep).ok());
  EXPECT_FALSE(
      Survive(SchemaSpec(R"({"type":"array","items":{"$ref":"#"}})"), std::string(6000, '[')).ok());
}

TEST(ConstraintLimitsTest, HugeCounts) {
  EXPECT_TRUE(Survive(SchemaSpec(R"({"type":"string","minLength":1000000,"maxLength":4000000000})"),
                      "\"abc")
                  .ok());
  EXPECT_TRUE(Survive(SchemaSpec(R"({"type":"array","minItems":1000000,"items":{"type":"null"}})"),
                      "[null,null")
                  .ok());
  EXPECT_TRUE(
      Survive(SchemaSpec(R"({"type":"integer","minimum":1e30,"maximum":1e300})"), "1").ok());
  EXPECT_FALSE(Survive(SchemaSpec(R"({"type":"integer","minimum":1e999999999})"), "1").ok());
}

TEST(ConstraintCacheTest, ByContentWithinItsBound) {
  const auto vocabulary = JsonVocabulary();
  ConstraintCache cache(vocabulary, {}, 8 << 20);
  const auto first = cache.Get(SchemaSpec("true"));
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(*first, *cache.Get(SchemaSpec("true")));
  EXPECT_NE(*first, *cache.Get(SchemaSpec("true", {.whitespace = JsonWhitespace::kFlexible})));
  EXPECT_FALSE(cache.Get(SchemaSpec("{")).ok());
  EXPECT_EQ(cache.counters().hits, 1u);
  EXPECT_EQ(cache.counters().misses, 3u);
  EXPECT_EQ(cache.counters().failures, 1u);
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(cache.Get(SchemaSpec("{\"const\":" + std::to_string(i) + "}")).ok());
  }
  EXPECT_LE(cache.counters().bytes, size_t{8} << 20);
  EXPECT_LT(cache.counters().entries, 20u);
  EXPECT_TRUE(cache.Get(SchemaSpec("true")).ok());  // Compiled again.
}

}  // namespace
}  // namespace alcca
