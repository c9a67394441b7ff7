// The lab's commands as a user types them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/testing/process.h"

namespace alcca::lab {
namespace {

using ::testing::HasSubstr;
using testing::RunProgram;

constexpr char kModel[] = "--model=" ALCCA_MODEL_DIR;

TEST(LabCli, ExplainWritesJsonAndPage) {
  const auto page = std::filesystem::path(::testing::TempDir()) / "alcca_explain_test.html";
  const auto result =
      RunProgram(ALCCA_CLI_PATH, {"explain", kModel, "--prompt=The old bear", "--max-new=3",
                                  "--theta=4.5", "--json=-", "--html=" + page.string()});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["schema"], "alcca.explain");
  EXPECT_EQ(json["tokens"].back()["generated"], true);
  std::ifstream file(page);
  const std::string html{std::istreambuf_iterator<char>(file), {}};
  EXPECT_THAT(html, HasSubstr("alcca.explain"));
  std::filesystem::remove(page);
}

TEST(LabCli, ExplainRefusesALongPrompt) {
  const auto result = RunProgram(
      ALCCA_CLI_PATH, {"explain", kModel, "--prompt=one two three four", "--max-tokens=3"});
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.err, HasSubstr("explain takes 3 together"));
}

TEST(LabCli, AMissingModelAndAWrongFlagAreNamed) {
  auto result = RunProgram(ALCCA_CLI_PATH, {"explain", "--model=/nowhere", "--prompt=x"});
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_THAT(result.err, HasSubstr("/nowhere"));
  result = RunProgram(ALCCA_CLI_PATH, {"explain", kModel, "--prompt=x", "--k=0"});
  EXPECT_EQ(result.exit_code, 64);
  EXPECT_THAT(result.err, HasSubstr("--k"));
  EXPECT_EQ(RunProgram(ALCCA_CLI_PATH, {"explain", "--prompt=x"}).exit_code, 64);
}

TEST(LabCli, FidelityPrintsATable) {
  const auto result =
      RunProgram(ALCCA_CLI_PATH, {"fidelity", kModel, "--text=" ALCCA_MODEL_DIR "/heldout.txt",
                                  "--modes=dense,window:window=8", "--length=60", "--windows=1"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("window:window=8"));
  EXPECT_THAT(result.out, HasSubstr("nats/token by position"));
}

TEST(LabCli, CalibrateWritesAFileThatTheModelTakes) {
  const auto dir = std::filesystem::path(::testing::TempDir()) / "alcca_calibrate_test";
  std::filesystem::remove_all(dir);
  std::filesystem::copy(ALCCA_MODEL_DIR, dir);
  const auto result = RunProgram(
      ALCCA_CLI_PATH, {"calibrate", "--model=" + dir.string(), "--target=near=0.3", "--length=64",
                       "--windows=2", "--text=" ALCCA_MODEL_DIR "/heldout.txt"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("calibrated"));
  EXPECT_THAT(result.out, HasSubstr("alcca.json"));
  const auto json = nlohmann::json::parse(std::ifstream(dir / "alcca.json"));
  EXPECT_EQ(json["theta"].size(), 6u);
  EXPECT_EQ(json["_calibrated"]["target"], "near=0.3");
  const auto used = RunProgram(
      ALCCA_CLI_PATH, {"explain", "--model=" + dir.string(), "--prompt=The old bear", "--json=-"});
  ASSERT_EQ(used.exit_code, 0) << used.err;
  EXPECT_GT(nlohmann::json::parse(used.out)["counters"]["prefill"]["near_queries"], 0);
  std::filesystem::remove_all(dir);
}

TEST(LabCli, CalibrateNamesAWrongTarget) {
  const auto result = RunProgram(ALCCA_CLI_PATH, {"calibrate", kModel, "--target=best",
                                                  "--text=" ALCCA_MODEL_DIR "/heldout.txt"});
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.err, HasSubstr("'best'"));
}

}  // namespace
}  // namespace alcca::lab
