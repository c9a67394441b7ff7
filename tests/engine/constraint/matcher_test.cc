#include "engine/constraint/matcher.h"

#include <random>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/constraint/harness.h"
#include "tests/engine/constraint/reference.h"

namespace alcca {
namespace {

using Kind = ConstraintSpec::Kind;

bool Has(const std::vector<uint32_t>& mask, int32_t token) {
  return (mask[token / 32] >> (token % 32) & 1) != 0;
}

std::vector<ConstraintSpec> Specs() {
  std::vector<ConstraintSpec> specs = {
      ConstraintSpec(),
      SchemaSpec("true", {.whitespace = JsonWhitespace::kFlexible}),
      SchemaSpec(
          R"({"type":"object","properties":{"name":{"type":"string"},"n":{"type":"integer","minimum":3,"maximum":250},"ab":{"enum":["abc","abcd",null]}},"required":["n"]})"),
      SchemaSpec(
          R"({"type":"object","properties":{"name":{"type":"string","maxLength":5},"na":{"type":"string","minLength":2}},"required":["na"],"minProperties":1})",
          {.ordered = false}),
      SchemaSpec(
          R"({"type":"array","items":{"type":"string","pattern":"^[ab]+$","maxLength":9},"minItems":1,"maxItems":3})"),
      SchemaSpec(R"({"type":"string","minLength":1,"maxLength":200})"),
      SchemaSpec(R"({"type":"string","minLength":120})"),
      SchemaSpec(
          R"({"anyOf":[{"type":"string","maxLength":3},{"type":"string","pattern":"z"},{"type":"array","items":{"$ref":"#"}}]})"),
      SchemaSpec(
          R"({"type":"object","additionalProperties":{"type":"integer"},"not":{"required":["name"]}})"),
      SchemaSpec(
          R"({"type":"array","contains":{"type":"null"},"items":{"type":["null","integer"]}})"),
      SchemaSpec(R"({"type":"array","items":{"enum":["a","ab",12]},"uniqueItems":true})"),
      SchemaSpec(R"({"type":"object","not":{"additionalProperties":{"type":"string"}}})"),
      TextSpec(Kind::kRegex, "(ab|a{2,60}c|[^b]{3}){1,4}x?"),
      TextSpec(Kind::kRegex, "((a?b{0,3}){2,5}|a{100})z*"),
      TextSpec(Kind::kGrammar, "root ::= s\ns ::= s s | \"a\" | \"[\" s \"]\" | \"12\""),
      TextSpec(Kind::kGrammar, "root ::= e\ne ::= e [-+] t | t\nt ::= [0-9]{1,4} | \"[\" e \"]\""),
      TextSpec(
          Kind::kStructuralTag,
          R"({"structures":[{"begin":"a\"","schema":{"type":"integer"},"end":"]"}],"triggers":["a"]})"),
  };
  return specs;
}

// Every mask on random paths, against a step with each token.
TEST(MatcherTest, MasksAreExact) {
  const auto vocabulary = JsonVocabulary();
  const TokenTrie& trie = vocabulary->trie();
  const auto size = static_cast<int32_t>(trie.vocab_size());
  std::mt19937 random(7);
  for (const ConstraintSpec& spec : Specs()) {
    const auto constraint = CompileConstraint(spec, vocabulary);
    ASSERT_TRUE(constraint.ok()) << constraint.status() << spec.text;
    std::vector<uint32_t> mask(trie.mask_words());
    for (int round = 0; round < 12; ++round) {
      Matcher matcher(*constraint);
      for (int step = 0; step < 40 && !matcher.ended(); ++step) {
        ASSERT_TRUE(matcher.Mask(mask).ok());
        std::vector<int32_t> allowed;
        for (int32_t token = 0; token < size; ++token) {
          Matcher next = matcher;
          const bool accepted = next.Accept(token).ok();
          ASSERT_EQ(Has(mask, token), accepted)
              << spec.text << " token " << token << " '" << trie.bytes(token) << "' step " << step;
          if (accepted) {
            allowed.push_back(token);
          }
        }
        ASSERT_FALSE(allowed.empty()) << spec.text << ": a dead end";
        // Words lead further than bytes do.
        const auto words =
            std::partition(allowed.begin(), allowed.end(), [](int32_t t) { return t < 256; });
        const bool word = words != allowed.end() && random() % 3 != 0;
        const auto from = word ? words : allowed.begin();
        const auto count = static_cast<uint32_t>(allowed.end() - from);
        ASSERT_TRUE(matcher.Accept(from[random() % count]).ok());
      }
    }
  }
}

// Accepted and refused texts, byte by byte, against Earley's algorithm.
TEST(MatcherTest, AgreesWithTheReference) {
  const auto vocabulary = JsonVocabulary();
  const TokenTrie& trie = vocabulary->trie();
  std::mt19937 random(11);
  for (const ConstraintSpec& spec : Specs()) {
    const auto constraint = CompileConstraint(spec, vocabulary);
    ASSERT_TRUE(constraint.ok()) << constraint.status();
    std::vector<uint32_t> mask(trie.mask_words());
    for (int round = 0; round < 6; ++round) {
      Matcher matcher(*constraint);
      std::string text;
      for (int step = 0; step < 8; ++step) {
        ASSERT_TRUE(matcher.Mask(mask).ok());
        std::vector<int32_t> allowed;
        for (int32_t token = 0; token < static_cast<int32_t>(trie.vocab_size()); ++token) {
          if (Has(mask, token) && !trie.IsEnd(token)) {
            allowed.push_back(token);
          }
        }
        if (allowed.empty()) {
          break;
        }
        const std::string& bytes = trie.bytes(allowed[random() % allowed.size()]);
        ASSERT_TRUE(matcher.AcceptText(bytes).ok());
        text += bytes;
        const Verdict verdict = ReferenceVerdict((*constraint)->grammar(), text);
        ASSERT_TRUE(verdict.prefix) << spec.text << "\n" << text;
        ASSERT_EQ(verdict.complete, matcher.MayEnd()) << spec.text << "\n" << text;
      }
      // One byte of it changed.
      if (!text.empty()) {
        text[random() % text.size()] = "ab\"[]{},:0 z"[random() % 12];
        const Verdict verdict = ReferenceVerdict((*constraint)->grammar(), text);
        Matcher other(*constraint);
        const bool accepted = other.AcceptText(text).ok();
        ASSERT_EQ(verdict.prefix, accepted) << spec.text << "\n" << text;
        ASSERT_EQ(verdict.complete, accepted && other.MayEnd()) << spec.text << "\n" << text;
      }
    }
  }
}

TEST(MatcherTest, AnyCutOfATextIsAccepted) {
  const auto vocabulary = JsonVocabulary();
  const TokenTrie& trie = vocabulary->trie();
  const auto constraint = CompileConstraint(Specs()[1], vocabulary);
  const std::string text =
      "{ \"name\": [true, null, \"a\\\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\\u00e9\"], \"ab\": "
      "-1.5e+12 }";
  std::mt19937 random(3);
  std::vector<uint32_t> mask(trie.mask_words());
  for (int round = 0; round < 50; ++round) {
    Matcher matcher(*constraint);
    for (size_t at = 0; at < text.size();) {
      std::vector<int32_t> fits;
      for (int32_t token = 0; token < static_cast<int32_t>(trie.vocab_size()); ++token) {
        const std::string& bytes = trie.bytes(token);
        if (!bytes.empty() && text.compare(at, bytes.size(), bytes) == 0) {
          fits.push_back(token);
        }
      }
      const int32_t token = fits[random() % fits.size()];
      ASSERT_TRUE(matcher.Mask(mask).ok());
      ASSERT_TRUE(Has(mask, token)) << text.substr(0, at) << "|" << trie.bytes(token);
      ASSERT_TRUE(matcher.Accept(token).ok());
      at += trie.bytes(token).size();
    }
    ASSERT_TRUE(matcher.MayEnd());
  }
}

TEST(MatcherTest, EndTokensOnlyWhereTheTextMayEnd) {
  const auto vocabulary = JsonVocabulary();
  const int32_t end = vocabulary->trie().end_tokens()[0];
  Matcher matcher(*CompileConstraint(TextSpec(Kind::kRegex, "ab?"), vocabulary));
  std::vector<uint32_t> mask(vocabulary->trie().mask_words());
  ASSERT_TRUE(matcher.Mask(mask).ok());
  EXPECT_FALSE(Has(mask, end));
  EXPECT_FALSE(matcher.Accept(end).ok());
  ASSERT_TRUE(matcher.Accept('a').ok());
  ASSERT_TRUE(matcher.Mask(mask).ok());
  EXPECT_TRUE(Has(mask, end));
  EXPECT_TRUE(Has(mask, 'b'));
  ASSERT_TRUE(matcher.Accept(end).ok());
  EXPECT_TRUE(matcher.ended());
  ASSERT_TRUE(matcher.Mask(mask).ok());
  EXPECT_THAT(mask, ::testing::Each(0u));
  EXPECT_FALSE(matcher.Accept('b').ok());
  matcher.Rollback(1);
  EXPECT_TRUE(matcher.Accept('b').ok());
}

TEST(MatcherTest, RollbackAndCopies) {
  const auto vocabulary = JsonVocabulary();
  Matcher matcher(*CompileConstraint(ConstraintSpec(), vocabulary));
  ASSERT_TRUE(matcher.AcceptText("{\"a\"").ok());
  std::vector<uint32_t> before(vocabulary->trie().mask_words());
  ASSERT_TRUE(matcher.Mask(before).ok());
  Matcher copy = matcher;
  ASSERT_TRUE(matcher.Accept(':').ok());
  ASSERT_TRUE(matcher.Accept('1').ok());
  EXPECT_FALSE(matcher.Accept('x').ok());  // Stays.
  ASSERT_TRUE(matcher.Accept('}').ok());
  EXPECT_TRUE(matcher.MayEnd());
  EXPECT_FALSE(copy.MayEnd());
  matcher.Rollback(3);
  std::vector<uint32_t> after(before.size());
  ASSERT_TRUE(matcher.Mask(after).ok());
  EXPECT_EQ(before, after);
}

// What was learned is forgotten at its bound; answers go on as if nothing had happened.
TEST(MatcherTest, ForgettingChangesNothing) {
  const auto vocabulary = JsonVocabulary();
  ConstraintLimits limits;
  limits.automaton.bytes = 1;
  for (const ConstraintSpec& spec : Specs()) {
    const auto forgetful = CompileConstraint(spec, vocabulary, limits);
    const auto plain = CompileConstraint(spec, vocabulary);
    ASSERT_TRUE(forgetful.ok() && plain.ok());
    Matcher a(*forgetful);
    Matcher other(*forgetful);
    Matcher b(*plain);
    std::mt19937 random(5);
    std::vector<uint32_t> mask_a(vocabulary->trie().mask_words());
    std::vector<uint32_t> mask_b(mask_a.size());
    for (int step = 0; step < 25 && !a.ended(); ++step) {
      ASSERT_TRUE(a.Mask(mask_a).ok());
      ASSERT_TRUE(b.Mask(mask_b).ok());
      ASSERT_EQ(mask_a, mask_b) << spec.text;
      std::vector<int32_t> allowed;
      for (int32_t token = 0; token < static_cast<int32_t>(vocabulary->trie().vocab_size());
           ++token) {
        if (Has(mask_a, token)) {
          allowed.push_back(token);
        }
      }
      const int32_t token = allowed[random() % allowed.size()];
      ASSERT_TRUE(a.Accept(token).ok());
      ASSERT_TRUE(b.Accept(token).ok());
      ASSERT_TRUE(other.Mask(mask_b).ok());
    }
    const size_t back = 1;
    a.Rollback(back);
    b.Rollback(back);
    ASSERT_TRUE(a.Mask(mask_a).ok());
    ASSERT_TRUE(b.Mask(mask_b).ok());
    ASSERT_EQ(mask_a, mask_b);
  }
}

TEST(MatcherTest, ThreadsShareAConstraint) {
  const auto vocabulary = JsonVocabulary();
  const auto constraint = *CompileConstraint(Specs()[2], vocabulary);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&constraint, &vocabulary, t] {
      std::vector<uint32_t> mask(vocabulary->trie().mask_words());
      for (int round = 0; round < 20; ++round) {
        Matcher matcher(constraint);
        for (const char c :
             std::string("{\"name\":\"abc\",\"n\":") + std::to_string(10 + t) + "}") {
          EXPECT_TRUE(matcher.Mask(mask).ok());
          EXPECT_TRUE(matcher.Accept(static_cast<uint8_t>(c)).ok());
        }
        EXPECT_TRUE(matcher.MayEnd());
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

TEST(TokenTrieTest, SubtreesAndDuplicates) {
  const auto trie = TokenTrie::Build(
      {.bytes = {"a", "ab", "b", "", "a", "abc", "end"}, .end_tokens = {6}, .loses_space = {}});
  ASSERT_TRUE(trie.ok());
  EXPECT_EQ((*trie)->size(), 5u);  // Root, a, ab, abc, b.
  EXPECT_EQ((*trie)->nodes()[1].subtree_end, 4u);
  EXPECT_THAT((*trie)->tokens(1), ::testing::ElementsAre(0, 4));
  EXPECT_THAT((*trie)->tokens(3), ::testing::ElementsAre(5));
  EXPECT_EQ((*trie)->longest_token(), 3u);
  EXPECT_FALSE(TokenTrie::Build({.bytes = {""}, .end_tokens = {}, .loses_space = {}}).ok());
  EXPECT_FALSE(TokenTrie::Build({.bytes = {"a"}, .end_tokens = {1}, .loses_space = {}}).ok());
  EXPECT_FALSE(TokenTrie::Build({.bytes = {"a"}, .end_tokens = {}, .loses_space = {0}}).ok());
}

// As SentencePiece's dummy prefix: where a text begins, a token's space is not written.
TEST(MatcherTest, WhereATextBeginsTokensLoseTheirSpace) {
  VocabularyBytes bytes;
  for (int byte = 0; byte < 256; ++byte) {
    bytes.bytes.emplace_back(1, static_cast<char>(byte));
  }
  const auto add = [&bytes](std::string text, bool loses_space) {
    const auto id = static_cast<int32_t>(bytes.bytes.size());
    bytes.bytes.push_back(std::move(text));
    if (loses_space) {
      bytes.loses_space.push_back(id);
    }
    return id;
  };
  const int32_t yes = add(" yes", true), space = add(" ", true), kept = add(" yes", false),
                bare = add("yes", false);
  bytes.end_tokens = {add("", false)};
  const auto vocabulary = ConstraintVocabulary::Build(std::move(bytes));
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  std::vector<uint32_t> mask((*vocabulary)->trie().mask_words());
  const auto allowed = [&](const std::string& regex, bool begins, std::vector<int32_t> before) {
    const auto constraint = CompileConstraint(TextSpec(Kind::kRegex, regex), *vocabulary);
    EXPECT_TRUE(constraint.ok()) << constraint.status();
    Matcher matcher(*constraint, begins);
    for (const int32_t token : before) {
      EXPECT_TRUE(matcher.Accept(token).ok()) << token;
    }
    std::vector<int32_t> found;
    for (int round = 0; round < 2; ++round) {  // computed, then known
      EXPECT_TRUE(matcher.Mask(mask).ok());
      found.clear();
      for (const int32_t token : {yes, space, kept, bare}) {
        Matcher probe = matcher;
        EXPECT_EQ(probe.Accept(token).ok(), Has(mask, token)) << token;
        if (Has(mask, token)) {
          found.push_back(token);
        }
      }
    }
    return found;
  };
  using ::testing::ElementsAre;
  using ::testing::IsEmpty;
  EXPECT_THAT(allowed("yes( yes)*", true, {}), ElementsAre(yes, bare));
  EXPECT_THAT(allowed("yes( yes)*", false, {}), ElementsAre(bare));
  EXPECT_THAT(allowed("yes( yes)*", true, {yes}), ElementsAre(yes, space, kept));
  // A token that would add nothing is never first; a space can still be written by a byte.
  EXPECT_THAT(allowed(" yes", true, {}), ElementsAre(kept));
  EXPECT_THAT(allowed(" yes", false, {}), ElementsAre(yes, space, kept));
  EXPECT_THAT(allowed(" yes", true, {' '}), ElementsAre(bare));
  EXPECT_THAT(allowed("no", true, {}), IsEmpty());
}

TEST(MatcherTest, MustEndOnlyWhereNothingFollows) {
  const auto constraint = CompileConstraint(TextSpec(Kind::kRegex, "ab(cd)?"), JsonVocabulary());
  ASSERT_TRUE(constraint.ok()) << constraint.status();
  Matcher matcher(*constraint);
  EXPECT_FALSE(matcher.MayEnd() || matcher.MustEnd());
  ASSERT_TRUE(matcher.AcceptText("ab").ok());
  EXPECT_TRUE(matcher.MayEnd());
  EXPECT_FALSE(matcher.MustEnd());
  ASSERT_TRUE(matcher.AcceptText("cd").ok());
  EXPECT_TRUE(matcher.MayEnd() && matcher.MustEnd());
  matcher.Rollback(1);
  EXPECT_FALSE(matcher.MustEnd());
}

}  // namespace
}  // namespace alcca
