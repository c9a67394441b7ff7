#include "engine/text/stop_strings.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace alcca {
namespace {

struct TextAndStop {
  std::string text;
  int matched = -1;
  bool operator==(const TextAndStop&) const = default;
};

// Straight from the contract. Matches that end within the first `blind` bytes do not count.
TextAndStop Oracle(std::string_view text, const std::vector<std::string>& stops, bool include,
                   size_t blind) {
  for (size_t end = blind + 1; end <= text.size(); ++end) {
    int longest = -1;
    for (size_t i = 0; i < stops.size(); ++i) {
      if (text.substr(0, end).ends_with(stops[i]) &&
          (longest < 0 || stops[i].size() > stops[longest].size())) {
        longest = static_cast<int>(i);
      }
    }
    if (longest >= 0) {
      const size_t cut = include ? end : end - stops[longest].size();
      return {std::string(text.substr(0, cut)), longest};
    }
  }
  return {std::string(text), -1};
}

// The most of `text` that may be out: all but the longest suffix that begins a stop string.
size_t Certain(std::string_view text, const std::vector<std::string>& stops) {
  for (size_t from = 0; from < text.size(); ++from) {
    for (const std::string& stop : stops) {
      const std::string_view tail = text.substr(from);
      if (tail.size() < stop.size() && std::string_view(stop).starts_with(tail)) {
        return from;
      }
    }
  }
  return text.size();
}

// Pushes `text` cut after every byte whose bit in `cuts` is set, and checks what is held back.
TextAndStop Stream(std::string_view text, const std::vector<std::string>& stops, bool include,
                   size_t blind, uint32_t cuts) {
  StopMatcher matcher(stops, include);
  TextAndStop result;
  size_t begin = 0;
  for (size_t i = 1; i <= text.size(); ++i) {
    if (i != text.size() && i != blind && !(cuts >> (i % 32) & 1)) {
      continue;
    }
    if (matcher.Push(text.substr(begin, i - begin), begin >= blind, &result.text)) {
      result.matched = matcher.matched();
      return result;
    }
    const size_t certain = include ? i : Certain(text.substr(0, i), stops);
    EXPECT_EQ(result.text, text.substr(0, certain)) << text << " at " << i;
    begin = i;
  }
  result.text += matcher.Flush();
  return result;
}

std::string Word(uint32_t code, size_t length) {
  std::string word;
  for (size_t i = 0; i < length; ++i, code /= 2) {
    word.push_back(code % 2 ? 'b' : 'a');
  }
  return word;
}

TEST(StopStrings, WithoutStopsTextPassesThrough) {
  StopMatcher matcher({}, false);
  std::string out;
  EXPECT_FALSE(matcher.Push("hello ", true, &out));
  EXPECT_FALSE(matcher.Push("world", true, &out));
  EXPECT_EQ(out + matcher.Flush(), "hello world");
  EXPECT_EQ(matcher.matched(), -1);
}

TEST(StopStrings, HoldsBackOnlyWhatMayBecomeAStop) {
  const std::vector<std::string> stops = {"\n\nUser:"};
  StopMatcher matcher(stops, false);
  std::string out;
  EXPECT_FALSE(matcher.Push("fine.\n", true, &out));
  EXPECT_EQ(out, "fine.");
  EXPECT_FALSE(matcher.Push("\nUs", true, &out));
  EXPECT_EQ(out, "fine.");
  EXPECT_FALSE(matcher.Push("e it", true, &out));
  EXPECT_EQ(out, "fine.\n\nUse it");
  EXPECT_TRUE(matcher.Push("\n\nUser: hi", true, &out));
  EXPECT_EQ(out, "fine.\n\nUse it");
  EXPECT_EQ(matcher.matched(), 0);
}

TEST(StopStrings, EarliestEndWinsThenTheLongest) {
  const std::vector<std::string> stops = {"cd", "abcdef", "bcd", "d"};
  StopMatcher matcher(stops, false);
  std::string out;
  EXPECT_TRUE(matcher.Push("xabcdef", true, &out));
  EXPECT_EQ(matcher.matched(), 2);
  EXPECT_EQ(out, "xa");
}

TEST(StopStrings, IncludedStopEndsTheText) {
  const std::vector<std::string> stops = {"END"};
  StopMatcher matcher(stops, true);
  std::string out;
  EXPECT_FALSE(matcher.Push("the E", true, &out));
  EXPECT_EQ(out, "the E");
  EXPECT_TRUE(matcher.Push("ND of it", true, &out));
  EXPECT_EQ(out, "the END");
}

TEST(StopStrings, CutsOnlyBetweenCharacters) {
  const std::vector<std::string> stops = {"é!", "日本"};
  StopMatcher matcher(stops, false);
  std::string out;
  EXPECT_FALSE(matcher.Push("caf", true, &out));
  EXPECT_FALSE(matcher.Push("é", true, &out));
  EXPECT_EQ(out, "caf");
  EXPECT_FALSE(matcher.Push("日", true, &out));
  EXPECT_EQ(out, "café");
  EXPECT_FALSE(matcher.Push("日", true, &out));
  EXPECT_EQ(out, "café日");
  EXPECT_TRUE(matcher.Push("本語", true, &out));
  EXPECT_EQ(out, "café日");
}

TEST(StopStrings, BlindTextPassesButMayBeginAMatch) {
  const std::vector<std::string> stops = {"aba"};
  StopMatcher matcher(stops, false);
  std::string out;
  EXPECT_FALSE(matcher.Push("xaba", false, &out));
  EXPECT_EQ(out, "xab");
  EXPECT_TRUE(matcher.Push("ba", true, &out));  // overlaps the one that was passed by
  EXPECT_EQ(out, "xab");
}

// Every pair of stops of up to 3 letters, every text of up to 7, over {a, b}.
TEST(StopStrings, AgreesWithTheOracleOnEverySmallCase) {
  std::vector<std::string> words;
  for (size_t length = 1; length <= 3; ++length) {
    for (uint32_t code = 0; code < (1u << length); ++code) {
      words.push_back(Word(code, length));
    }
  }
  int64_t cases = 0;
  for (const std::string& first : words) {
    for (const std::string& second : words) {
      const std::vector<std::string> stops = {first, second};
      for (size_t length = 0; length <= 7; ++length) {
        for (uint32_t code = 0; code < (1u << length); ++code) {
          const std::string text = Word(code, length);
          for (const bool include : {false, true}) {
            for (const size_t blind : {size_t{0}, length / 2}) {
              const TextAndStop expected = Oracle(text, stops, include, blind);
              for (const uint32_t cuts : {0u, ~0u, 0x5Au}) {
                ASSERT_EQ(Stream(text, stops, include, blind, cuts), expected)
                    << text << " | " << first << " " << second;
                ++cases;
              }
            }
          }
        }
      }
    }
  }
  EXPECT_EQ(cases, 14 * 14 * 255 * 2 * 2 * 3);
}

TEST(StopStrings, AgreesWithTheOracleOnLongRandomCases) {
  std::mt19937 random(7);
  const auto word = [&](size_t max) {
    std::string text;
    for (size_t i = 1 + random() % max; i > 0; --i) {
      text.push_back("aab"[random() % 3]);
    }
    return text;
  };
  for (int i = 0; i < 20000; ++i) {
    std::vector<std::string> stops;
    for (size_t n = 1 + random() % 4; n > 0; --n) {
      stops.push_back(word(12));
    }
    const std::string text = word(60);
    const size_t blind = random() % 3 == 0 ? random() % text.size() : 0;
    const bool include = random() % 2 == 0;
    ASSERT_EQ(Stream(text, stops, include, blind, static_cast<uint32_t>(random())),
              Oracle(text, stops, include, blind));
  }
}

}  // namespace
}  // namespace alcca
