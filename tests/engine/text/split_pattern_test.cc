#include "engine/text/split_pattern.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "engine/text/pre_tokenizer.h"

namespace alcca {
namespace {

std::vector<TextRange> Find(const SplitPattern& pattern, const std::string& text) {
  MatchMemory memory;
  std::vector<TextRange> matches;
  EXPECT_TRUE(pattern.FindAll(text, &memory, &matches).ok());
  return matches;
}

std::vector<TextRange> Find(std::string_view pattern, const std::string& text) {
  return Find(SplitPattern::Compile(pattern).value(), text);
}

using Ranges = std::vector<TextRange>;

TEST(SplitPattern, FindsFromLeftToRight) {
  EXPECT_EQ(Find("ab", "abxab"), (Ranges{{0, 2}, {3, 5}}));
  EXPECT_EQ(Find("x*", "axb"), (Ranges{{0, 0}, {1, 2}, {3, 3}}));
  EXPECT_EQ(Find(R"(\p{Lu})", "a\u00C9B"), (Ranges{{1, 3}, {3, 4}}));
  EXPECT_EQ(Find("(?i:s)", "S\u017F"), (Ranges{{0, 1}, {1, 3}}));
  EXPECT_EQ(Find("^a$", "a\na"), (Ranges{{0, 1}, {2, 3}}));  // Lines, as in Oniguruma.
}

// White space is Unicode's White_Space, which PCRE2's \s is not: U+180E is none.
TEST(SplitPattern, ClassesAreOniguruma) {
  EXPECT_EQ(Find(R"(\s+)", "a\u0085\u3000b\u180E"), (Ranges{{1, 6}}));
  EXPECT_EQ(Find(R"([^\s]+)", "a\u180E b"), (Ranges{{0, 4}, {5, 6}}));
  EXPECT_EQ(Find(R"(\S+)", "a\u180E b"), (Ranges{{0, 4}, {5, 6}}));
  EXPECT_EQ(Find(R"(\w+)", "\u0301_\u2160-"), (Ranges{{0, 6}}));
  EXPECT_EQ(Find(R"(\p{Han})", "\u4E00\u3001"), (Ranges{{0, 3}}));  // no script extensions
  EXPECT_EQ(ToPcre2(R"([\p{L}\p{^Han}\h])").value(), R"([\p{L}\p{^sc:Han}0-9A-Fa-f])");
}

TEST(SplitPattern, LiteralIsNoPattern) {
  EXPECT_EQ(Find(SplitPattern::Literal("a.*|_b").value(), "axx|_b a.*|_b"), (Ranges{{7, 13}}));
  EXPECT_EQ(Find(SplitPattern::Literal("\u2581").value(), "a\u2581"), (Ranges{{1, 4}}));
  EXPECT_EQ(Find(SplitPattern::Literal(" ").value(), "a b"), (Ranges{{1, 2}}));
}

TEST(SplitPattern, SaysWhatItDoesNotRead) {
  using absl::StatusCode;
  const auto code = [](std::string_view p) { return SplitPattern::Compile(p).status().code(); };
  EXPECT_EQ(code("(a"), StatusCode::kInvalidArgument);
  EXPECT_EQ(code("a\xFF"), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(R"(\p{NoScript})"), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(std::string(kMaxPatternBytes + 1, 'a')), StatusCode::kInvalidArgument);
  EXPECT_EQ(code("[a&&b]"), StatusCode::kUnimplemented);
  EXPECT_EQ(code("[a[b]]"), StatusCode::kUnimplemented);
  EXPECT_EQ(code(R"([\S])"), StatusCode::kUnimplemented);
  EXPECT_EQ(code("a{1,3}+"), StatusCode::kUnimplemented);
  EXPECT_EQ(code("[[:alpha:]]"), StatusCode::kOk);
}

// Steps are counted, so that no pattern keeps a thread for longer than linear in the text's size.
TEST(SplitPattern, GivesUpAfterLinearlyManySteps) {
  MatchMemory memory;
  std::vector<TextRange> matches;
  for (const char* pattern : {"(a+)+b", R"(\s+$x)", "(a|aa)+$", R"((?:\s|a)*b)"}) {
    const std::string text = std::string(20'000, 'a') + std::string(20'000, ' ') + "x";
    const absl::Status status =
        SplitPattern::Compile(pattern).value().FindAll(text, &memory, &matches);
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << pattern;
  }
  const std::string spaces(1 << 20, ' ');
  matches.clear();
  EXPECT_TRUE(
      SplitPattern::Compile(kGpt2Pattern).value().FindAll(spaces + "a", &memory, &matches).ok());
  EXPECT_EQ(matches.size(), 2U);
}

}  // namespace
}  // namespace alcca
