#include "tools/lab/output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/testing/checkpoint_writer.h"

namespace alcca::lab {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::string Content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(WriteFile, ReplacesWholeFilesAndKeepsLinks) {
  const testing::TempDir dir;
  const std::string file = dir.File("alcca.json"), link = dir.File("link.json");
  ASSERT_TRUE(WriteFile(file, "a long first text").ok());
  fs::create_symlink("alcca.json", link);
  ASSERT_TRUE(WriteFile(link, "second").ok());
  EXPECT_TRUE(fs::is_symlink(link));
  EXPECT_EQ(Content(file), "second");
  EXPECT_EQ(std::distance(fs::directory_iterator(dir.path()), {}), 2);
  EXPECT_TRUE(WriteFile("/dev/null", "gone").ok());
  EXPECT_FALSE(fs::is_regular_file("/dev/null"));
}

TEST(WriteFile, WhatWasThereStaysWhenWritingFails) {
  const testing::TempDir dir;
  const std::string file = dir.Write("alcca.json", "first");
  fs::create_directory(file + ".new");
  const absl::Status status = WriteFile(file, "second");
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr(file));
  EXPECT_EQ(Content(file), "first");
  EXPECT_FALSE(WriteFile(dir.File("no/such/folder"), "text").ok());
}

}  // namespace
}  // namespace alcca::lab
