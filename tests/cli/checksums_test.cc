#include "tools/cli/checksums.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace alcca::cli {
namespace {

using ::testing::HasSubstr;

const std::string kSum(64, 'a');

TEST(Checksums, ReadsWhatSha256sumWrites) {
  std::string error;
  const auto sums = ParseChecksums(
      "# a comment\n" + kSum + "  config.json\n\n" + kSum + " *sub/a b.bin\r\n", &error);
  ASSERT_EQ(sums.size(), 2u) << error;
  EXPECT_EQ(sums[0].hex, kSum);
  EXPECT_EQ(sums[0].file, "config.json");
  EXPECT_EQ(sums[1].file, "sub/a b.bin");
}

TEST(Checksums, EveryMistakeIsNamed) {
  const std::string good = kSum + "  a\n";
  for (const auto& [text, says] : std::vector<std::pair<std::string, const char*>>{
           {"", "no file"},
           {"# only a comment\n", "no file"},
           {good + kSum.substr(1) + "  b\n", "line 2: expected 64 hex digits"},
           {std::string(64, 'A') + "  a\n", "line 1: expected 64 hex digits"},
           {kSum + " a\n", "line 1: expected 64 hex digits"},
           {kSum + "  \n", "line 1: expected 64 hex digits"},
           {good + good, "line 2: 'a' is listed twice"},
           {kSum + "  /etc/passwd\n", "not a path inside"},
           {kSum + "  ../a\n", "not a path inside"},
           {kSum + "  a/../../b\n", "not a path inside"},
           {kSum + "  a//b\n", "not a path inside"},
           {kSum + "  a/\n", "not a path inside"}}) {
    std::string error;
    EXPECT_TRUE(ParseChecksums(text, &error).empty()) << text;
    EXPECT_THAT(error, HasSubstr(says)) << text;
  }
}

}  // namespace
}  // namespace alcca::cli
