#include "server/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "tests/testing/checkpoint_writer.h"

namespace alcca {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<ServerConfig> Parse(const std::vector<std::string>& args) {
  const auto command = ParseCommandLine(args);
  if (!command.ok()) {
    return command.status();
  }
  return command->config;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(Config, FlagOverFileOverDefault) {
  const testing::TempDir dir;
  const std::string file =
      dir.Write("a.yaml", "max_num_seqs: 7\nmax_n: 3\nattention:\n  k: 5\nmodel: /m\n");
  const auto config = Parse({"--config", file, "--max-num-seqs", "9"});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->max_num_seqs, 9);
  EXPECT_EQ(config->max_n, 3);
  EXPECT_EQ(config->attention_k, 5);
  EXPECT_EQ(config->model, "/m");
  EXPECT_EQ(config->page_tokens, ServerConfig().page_tokens);
}

TEST(Config, BadTextNamesFileKeyAndRule) {
  struct Row {
    const char* yaml;
    std::vector<const char*> says;
  };
  for (const Row& row : std::initializer_list<Row>{
           {"max_num_seq: 7", {"f.yaml", "max_num_seq'", "did you mean 'max_num_seqs'"}},
           {"max_num_seqs: many", {"max_num_seqs", "integer", "many"}},
           {"max_num_seqs: 1.5", {"max_num_seqs", "integer"}},
           {"max_num_seqs: -1", {"max_num_seqs", "[1, "}},
           {"max_num_seqs: 99999999999999999999", {"max_num_seqs"}},
           {"max_num_seqs: [1, 2]", {"max_num_seqs", "single value"}},
           {"max_num_seqs: 1\nmax_num_seqs: 2", {"max_num_seqs", "twice"}},
           {"device: tpu", {"device", "auto cpu cuda", "tpu"}},
           {"reflection: maybe", {"reflection", "true or false"}},
           {"drain_timeout_seconds: .nan", {"drain_timeout_seconds"}},
           {"drain_timeout_seconds: -1", {"drain_timeout_seconds", "[0, "}},
           {"attention:\n  kk: 3", {"attention.kk", "attention.k"}},
           {"attention:\n  mode: sparse", {"attention.mode", "dense"}},
           {"- a\n- b", {"map"}},
           {"a: [1", {"f.yaml"}},
           {"\t x: {", {"f.yaml"}},
       }) {
    ServerConfig config;
    const absl::Status status = ApplyYaml(row.yaml, "f.yaml", &config);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << row.yaml;
    for (const char* part : row.says) {
      EXPECT_THAT(std::string(status.message()), HasSubstr(part)) << row.yaml;
    }
  }
  ServerConfig config;
  EXPECT_TRUE(ApplyYaml("", "f", &config).ok());
  EXPECT_TRUE(ApplyYaml("# only a comment\n", "f", &config).ok());
}

TEST(Config, CommandLineErrors) {
  EXPECT_TRUE(absl::IsInvalidArgument(Parse({"--nope"}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Parse({"stray"}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Parse({"--max-n"}).status()));
  EXPECT_TRUE(absl::IsNotFound(Parse({"--config=/no/such"}).status()));
  const auto chunk = Parse({"--max-prefill-chunk=600"});
  EXPECT_THAT(std::string(chunk.status().message()), HasSubstr("max_batch_tokens (512)"));
  EXPECT_TRUE(absl::IsInvalidArgument(Parse({"--max-num-seqs=600"}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Parse({"--attention-epsilon=1e-40"}).status()));
}

TEST(Config, PrintConfigReadsBack) {
  ServerConfig config;
  config.model = "/a folder/with \"quotes\" and \\";
  config.max_num_seqs = 3;
  config.reflection = false;
  config.attention_mode = "alcca";
  config.attention_theta = 2.5;
  config.log_level = "debug";
  config.metrics_listen = "";
  ServerConfig read;
  const absl::Status status = ApplyYaml(PrintConfig(config), "printed", &read);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(PrintConfig(read), PrintConfig(config));
  EXPECT_EQ(read.model, config.model);
  EXPECT_EQ(read.attention_theta, 2.5);
}

TEST(Config, HelpNamesEveryKey) {
  const auto help = ParseCommandLine({"--help"});
  ASSERT_TRUE(help.ok());
  EXPECT_EQ(help->action, CommandLine::Action::kExit);
  std::istringstream yaml(PrintConfig({}));
  int keys = 0;
  for (std::string line; std::getline(yaml, line);) {
    const size_t colon = line.find(':');
    if (line.empty() || line[0] == '#' || line.find("# ") != std::string::npos ||
        colon == line.size() - 1) {
      continue;
    }
    const bool nested = line[0] == ' ';
    std::string flag =
        (nested ? "--attention-" : "--") + line.substr(nested ? 2 : 0, colon - (nested ? 2 : 0));
    std::replace(flag.begin(), flag.end(), '_', '-');
    EXPECT_THAT(help->text, HasSubstr(flag));
    ++keys;
  }
  EXPECT_GT(keys, 30);
}

// What we ship as config/ must be what the program says and accepts.
TEST(Config, ShippedFiles) {
  const std::string folder = ALCCA_SOURCE_DIR "/config/";
  const std::string text = ReadFile(folder + "default.yaml");
  ASSERT_FALSE(text.empty());
  EXPECT_EQ(text.substr(text.find("# ---")), PrintConfig({}))
      << "config/default.yaml: write the output of alccad --print-config below its header";
  ServerConfig mistral;
  const absl::Status status =
      ApplyYaml(ReadFile(folder + "mistral-7b.yaml"), "mistral-7b.yaml", &mistral);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(mistral.weight_dtype, "int8");
}

}  // namespace
}  // namespace alcca
