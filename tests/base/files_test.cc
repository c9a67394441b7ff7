#include "base/files.h"

#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <thread>

#include "gtest/gtest.h"

namespace alcca {
namespace {

class FilesTest : public ::testing::Test {
 protected:
  FilesTest() { std::filesystem::create_directory(dir_); }
  ~FilesTest() override { std::filesystem::remove_all(dir_); }
  std::string Path(const std::string& name) const { return dir_ + "/" + name; }
  // The message if reading fails with this code.
  void ExpectError(const absl::StatusOr<std::string>& read, absl::StatusCode code,
                   const std::string& part) {
    EXPECT_EQ(read.status().code(), code) << read.status();
    EXPECT_NE(read.status().message().find(dir_), std::string::npos) << read.status();
    EXPECT_NE(read.status().message().find(part), std::string::npos) << read.status();
  }

  const std::string dir_ = ::testing::TempDir() + "files_test_" +
                           ::testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(FilesTest, WhatIsWrittenIsRead) {
  const std::string text = std::string("a\0b\n", 4) + std::string(200'000, 'x');
  ASSERT_TRUE(WriteTextFile(Path("f"), "longer than the text that takes its place").ok());
  for (const std::string& content : {text, std::string("short"), std::string()}) {
    ASSERT_TRUE(WriteTextFile(Path("f"), content).ok());
    EXPECT_EQ(ReadTextFile(Path("f"), content.size()).value(), content);
  }
  EXPECT_TRUE(absl::IsNotFound(WriteTextFile(Path("no/f"), "")));
}

TEST_F(FilesTest, TheBoundIsTheLastSizeThatPasses) {
  ASSERT_TRUE(WriteTextFile(Path("f"), "12345").ok());
  EXPECT_EQ(ReadTextFile(Path("f"), 5).value(), "12345");
  ExpectError(ReadTextFile(Path("f"), 4), absl::StatusCode::kInvalidArgument,
              "file of 5 bytes, at most 4");
}

TEST_F(FilesTest, WhatIsNoFileIsRefusedByName) {
  ExpectError(ReadTextFile(Path("absent"), 10), absl::StatusCode::kNotFound, "cannot be read");
  for (const FileKind kind : {FileKind::kRegular, FileKind::kAny}) {
    ExpectError(ReadTextFile(dir_, 10, kind), absl::StatusCode::kInvalidArgument,
                "not a regular file");
  }
}

TEST_F(FilesTest, APipeIsReadToItsEndIfAPersonNamedIt) {
  ASSERT_EQ(mkfifo(Path("pipe").c_str(), 0600), 0);
  ExpectError(ReadTextFile(Path("pipe"), 10), absl::StatusCode::kInvalidArgument,
              "not a regular file");  // and does not wait for a writer
  const std::string text(300'000, 'y');
  for (const uint64_t most : {uint64_t{300'000}, uint64_t{299'999}}) {
    std::thread writer([&] { (void)WriteTextFile(Path("pipe"), text); });
    const absl::StatusOr<std::string> read = ReadTextFile(Path("pipe"), most, FileKind::kAny);
    writer.join();
    if (most == text.size()) {
      EXPECT_EQ(read.value(), text);
    } else {
      ExpectError(read, absl::StatusCode::kInvalidArgument, "more than 299999 bytes");
    }
  }
}

}  // namespace
}  // namespace alcca
