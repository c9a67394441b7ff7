// `alcca verify` beside the real sha256sum.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/testing/checkpoint_writer.h"
#include "tests/testing/process.h"

namespace alcca::e2e {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::ProgramResult;
using testing::RunProgram;

ProgramResult Verify(const std::string& folder, const std::string& list) {
  return RunProgram(ALCCA_CLI_PATH, {"verify", folder, "--sums", list});
}

TEST(Verify, AgreesWithSha256sumAndNamesWhatDiffers) {
  const testing::TempDir dir;
  fs::create_directory(dir.path() + "/model");
  for (const char* file : {"config.json", "model.safetensors", "tokenizer.model"}) {
    fs::copy(std::string(ALCCA_MODEL_DIR) + "/" + file, dir.path() + "/model/" + file);
  }
  std::ofstream(dir.path() + "/model/empty");
  const std::string model = dir.path() + "/model";
  const ProgramResult sums = RunProgram(
      "sh",
      {"-c", "cd \"$0\" && sha256sum config.json empty model.safetensors tokenizer.model", model});
  ASSERT_EQ(sums.exit_code, 0) << sums.err;
  const std::string list = dir.Write("sums", sums.out);
  const ProgramResult good = Verify(model, list);
  EXPECT_EQ(good.exit_code, 0) << good.err;
  EXPECT_THAT(good.out, AllOf(HasSubstr("model.safetensors: OK"), HasSubstr("4 files")));

  fs::resize_file(model + "/model.safetensors", 1000);  // a download that stopped
  fs::remove(model + "/empty");
  const ProgramResult bad = Verify(model, list);
  EXPECT_EQ(bad.exit_code, 65);
  EXPECT_THAT(bad.err, AllOf(HasSubstr("model.safetensors: sha256 is"), HasSubstr("1000 bytes"),
                             HasSubstr("empty: No such file"), HasSubstr("2 of 4 files")));
  EXPECT_THAT(bad.err, Not(HasSubstr("config.json")));
}

TEST(Verify, AMissingOrWrongListIsNamed) {
  const testing::TempDir dir;
  const ProgramResult missing = Verify(dir.path(), "/no/such/list");
  EXPECT_EQ(missing.exit_code, 66);
  EXPECT_THAT(missing.err, HasSubstr("/no/such/list"));
  const ProgramResult wrong = Verify(dir.path(), dir.Write("sums", "not a list\n"));
  EXPECT_EQ(wrong.exit_code, 65);
  EXPECT_THAT(wrong.err, HasSubstr("line 1"));
  EXPECT_EQ(RunProgram(ALCCA_CLI_PATH, {"verify", dir.path()}).exit_code, 64);
}

}  // namespace
}  // namespace alcca::e2e
