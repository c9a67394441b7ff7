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

absl::Status Apply(const std::string& yaml, const std::string& name, ServerConfig* config) {
  std::vector<std::string> warnings;
  const absl::Status status = ApplyYaml(yaml, name, config, &warnings);
  EXPECT_THAT(warnings, ::testing::IsEmpty());
  return status;
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
  EXPECT_EQ(TextOf("k", config->attention), "5");
  EXPECT_EQ(config->model, "/m");
  EXPECT_EQ(config->page_tokens, ServerConfig().page_tokens);
}

TEST(Config, TheLastFlagWins) {
  const testing::TempDir dir;
  const std::string first = dir.Write("a.yaml", "max_n: 3\nmax_num_seqs: 4");
  const std::string second = dir.Write("b.yaml", "max_n: 5");
  const auto config =
      Parse({"--config", first, "--max-logprobs=1", "--config", second, "--max-logprobs", "2"});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->max_n, 5);
  EXPECT_EQ(config->max_num_seqs, ServerConfig().max_num_seqs);
  EXPECT_EQ(config->max_logprobs, 2);
}

TEST(Config, AnEmptyValueIsAValue) {
  const auto config = Parse({"--metrics-listen=", "--max-n", "2"});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->metrics_listen, "");
  EXPECT_EQ(config->max_n, 2);
  EXPECT_FALSE(Parse({"--max-n="}).ok());
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
           {"exact_search: gpu", {"exact_search", "fused faiss", "gpu"}},
           {"reflection: maybe", {"reflection", "true or false"}},
           {"drain_timeout_seconds: .nan", {"drain_timeout_seconds"}},
           {"drain_timeout_seconds: -1", {"drain_timeout_seconds", "[0, "}},
           {"attention:\n  kk: 3", {"attention.kk", "attention.k"}},
           {"attention:\n  mode: sparse", {"attention.mode", "dense"}},
           {"- a\n- b", {"map"}},
           {"max_n: {}", {"max_n", "single value"}},
           {"max_n: {a: 1}", {"max_n", "single value"}},
           {"max_n:", {"max_n", "integer"}},
           {"bogus: {}", {"f.yaml", "unknown key 'bogus'"}},
           {"bogus: {a: 1}", {"unknown key 'bogus'"}},
           {"attention: &x\n  y: *x", {"unknown key 'attention.y'"}},  // a cycle
           {"attention: {k: 3}\nattention: {theta: 1}", {"attention", "twice"}},
           {"attention.k: 3\nattention:\n  k: 4", {"attention.k", "twice"}},
           {"max_n: 3\n---\nmax_n: 4", {"f.yaml", "one document"}},
           {"[a, b]: 3", {"f.yaml"}},
           {"attention:\n  k: 2049", {"attention.k", "2048"}},
           {"drain_timeout_seconds: .inf", {"drain_timeout_seconds"}},
           {"drain_timeout_seconds: 1e400", {"drain_timeout_seconds"}},
           {"listen: [a]", {"listen", "single value"}},
           {"a: [1", {"f.yaml"}},
           {"\t x: {", {"f.yaml"}},
       }) {
    ServerConfig config;
    const absl::Status status = Apply(row.yaml, "f.yaml", &config);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << row.yaml;
    for (const char* part : row.says) {
      EXPECT_THAT(std::string(status.message()), HasSubstr(part)) << row.yaml;
    }
  }
  ServerConfig config;
  EXPECT_TRUE(Apply("", "f", &config).ok());
  EXPECT_TRUE(Apply("# only a comment\n", "f", &config).ok());
}

TEST(Config, NestedKeysReadWholeMaps) {
  ServerConfig config;
  const absl::Status status = Apply(
      "attention:\n  mode: alcca\n  theta: 0.25\n  k: 2048\n  epsilon: 0.05\n"
      "threads: 2\n",
      "f", &config);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(config.attention.mode, AttentionMode::kAlcca);
  EXPECT_EQ(TextOf("theta", config.attention), "0.25");
  EXPECT_EQ(TextOf("k", config.attention), "2048");
  EXPECT_EQ(TextOf("epsilon", config.attention), "0.05");
  EXPECT_EQ(config.threads, 2);
}

// The table's flags and what the command line asks for.
TEST(Config, Actions) {
  const auto action = [](const std::vector<std::string>& args) {
    const auto command = ParseCommandLine(args);
    EXPECT_TRUE(command.ok()) << command.status();
    return command.ok() ? command->action : CommandLine::Action::kExit;
  };
  EXPECT_EQ(action({}), CommandLine::Action::kServe);
  EXPECT_EQ(action({"--check"}), CommandLine::Action::kCheck);
  EXPECT_EQ(action({"--print-config"}), CommandLine::Action::kPrintConfig);
  EXPECT_EQ(action({"--version"}), CommandLine::Action::kExit);
  EXPECT_EQ(TextOf("k", Parse({"--attention-k", "5"})->attention), "5");
  EXPECT_EQ(Parse({"--reflection=false"})->reflection, false);
}

TEST(Config, CommandLineErrors) {
  EXPECT_TRUE(absl::IsInvalidArgument(Parse({"--nope"}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Parse({"stray"}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Parse({"--max-n"}).status()));
  EXPECT_TRUE(absl::IsNotFound(Parse({"--config=/no/such"}).status()));
  const testing::TempDir dir;
  EXPECT_FALSE(Parse({"--config", dir.path()}).ok());  // a folder reads as an empty file
  EXPECT_TRUE(absl::IsInvalidArgument(Parse({"--attention-k=2049"}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Parse({"--device=tpu"}).status()));
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
  config.attention.mode = AttentionMode::kAlcca;
  ASSERT_TRUE(Set("theta", "2.5", &config.attention).ok());
  config.log_level = "debug";
  config.metrics_listen = "";
  ServerConfig read;
  const absl::Status status = Apply(PrintConfig(config), "printed", &read);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(PrintConfig(read), PrintConfig(config));
  EXPECT_EQ(read.model, config.model);
  EXPECT_EQ(TextOf("theta", read.attention), "2.5");
}

// Every key of attention set, to another value than its default.
AttentionSettings EveryAttentionKey() {
  AttentionSettings settings;
  settings.mode = AttentionMode::kAlcca;
  settings.search = KeySearch::kTree;
  for (const Knob& knob : kKnobs) {
    EXPECT_TRUE(
        Set(knob, IsInteger(knob) ? Default(knob) + 1 : 0.123456789012345678, &settings).ok());
  }
  return settings;
}

// Every field away from its default, in values that are hard to print.
TEST(Config, PrintConfigReadsBackEveryField) {
  const ServerConfig config = {.model = "/a\nb\tc\r\x01 # : \xC3\xA9",
                               .served_model_name = "true",
                               .device = "cpu",
                               .weight_dtype = "int8",
                               .device_memory_bytes = 4,
                               .row_independent = true,
                               .exact_search = "faiss",
                               .cuda_graph_rows = 5,
                               .isa = "portable",
                               .threads = 3,
                               .listen = "[::1]:1",
                               .metrics_listen = "",
                               .metrics_vllm_names = true,
                               .health_listen = "[::]:2",
                               .tls_cert = "/tls/tls.crt",
                               .tls_key = "/tls/tls.key",
                               .tls_client_ca = "/tls/ca.crt",
                               .reflection = false,
                               .max_message_bytes = 2147483647,
                               .max_concurrent_streams = 5,
                               .max_undelivered_bytes = 1025,
                               .undelivered_timeout_seconds = 2.5,
                               .max_context = 77,
                               .max_num_seqs = 6,
                               .max_batch_tokens = 65536,
                               .max_prefill_chunk = 65535,
                               .max_queued_requests = 9,
                               .max_queued_tokens = 10,
                               .kv_cache_bytes = 999'999'999'999'999,
                               .page_tokens = 12,
                               .prefix_cache_bytes = 16,
                               .default_max_tokens = 13,
                               .max_n = 14,
                               .max_logprobs = 15,
                               .max_stop_strings = 17,
                               .max_stop_bytes = 18,
                               .max_logit_bias = 19,
                               .constraint_whitespace = "flexible",
                               .constraint_key_order = "any",
                               .constraint_threads = 2,
                               .constraint_queue = 20,
                               .constraint_text_bytes = 21,
                               .constraint_states = 1022,
                               .constraint_work = 1023,
                               .constraint_learned_bytes = 65537,
                               .constraint_cache_bytes = 25,
                               .attention = EveryAttentionKey(),
                               .attention_recall_bar = 0.245,
                               .drain_timeout_seconds = 1.0 / 3,
                               .watchdog_seconds = 12345.678901234,
                               .unready_after_full_seconds = 0.5,
                               .log_level = "debug",
                               .log_format = "json"};
  ServerConfig read;
  const absl::Status status = Apply(PrintConfig(config), "printed", &read);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(PrintConfig(read), PrintConfig(config));
  EXPECT_EQ(read.model, config.model);
  EXPECT_EQ(read.served_model_name, config.served_model_name);
  EXPECT_EQ(read.kv_cache_bytes, config.kv_cache_bytes);
  EXPECT_EQ(read.attention.values, config.attention.values);
  EXPECT_EQ(read.attention.search, config.attention.search);
  EXPECT_EQ(read.drain_timeout_seconds, config.drain_timeout_seconds);
  EXPECT_EQ(read.watchdog_seconds, config.watchdog_seconds);
  // Each line that sets a key differs from the default's: no key is printed from elsewhere.
  std::istringstream ours(PrintConfig(config)), defaults(PrintConfig({}));
  for (std::string a, b; std::getline(ours, a) && std::getline(defaults, b);) {
    if (!a.empty() && !a.ends_with(':') && a.find("# ") == std::string::npos) {
      EXPECT_NE(a, b);
    }
  }
}

// What is not set is a comment, with the value that holds if the model's alcca.json has none.
TEST(Config, PrintConfigCommentsWhatSaysNothing) {
  ServerConfig config;
  ASSERT_TRUE(Set("max_keys", "0", &config.attention).ok());
  const std::string text = PrintConfig(config);
  for (const char* line : {"\n  # mode: \"dense\"\n", "\n  # k: 8\n", "\n  # epsilon: 1e-08\n",
                           "\n  max_keys: 0\n", "\n  # recall_sample: 0.001\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  ServerConfig read;
  ASSERT_TRUE(Apply(text, "printed", &read).ok());
  EXPECT_EQ(read.attention.values, config.attention.values);
  EXPECT_FALSE(read.attention.mode || read.attention.search);
}

// Until version 0.1 a negative number, 0 or "" said that a key is not set. One version more.
TEST(Config, TheOldSilenceIsReadWithAWarning) {
  ServerConfig config;
  config.attention = EveryAttentionKey();
  std::vector<std::string> warnings;
  const absl::Status status = ApplyYaml(
      "attention: {mode: '', search: , theta: -1, k: 0, epsilon: 0, tree_distances: 0, "
      "tree_recent: -1, near_share: -0.5, window: 0, sparsity: 0, mass: -1, max_keys: -1, "
      "dense_below: -1, sinks: -1, recent: -1}",
      "f.yaml", &config, &warnings);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_FALSE(config.attention.mode || config.attention.search);
  for (const Knob& knob : RequestKnobs()) {
    EXPECT_FALSE(config.attention[knob]) << knob.name;
  }
  EXPECT_EQ(warnings.size(), 15u);
  EXPECT_THAT(warnings, ::testing::Contains(HasSubstr("f.yaml: attention.k: '0' says nothing")));

  const auto command = ParseCommandLine({"--attention-sinks=-1", "--attention-mode="});
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->warnings.size(), 2u);
  // 0 is a zero where it is a value, and nothing else ever was silence.
  for (const char* yaml :
       {"theta: 0", "tree_recent: 0", "near_share: 0", "mass: 0", "max_keys: 0", "dense_below: 0",
        "sinks: 0", "recall_sample: 0", "index_bytes_max: 0"}) {
    ServerConfig zero;
    EXPECT_TRUE(Apply("attention: {" + std::string(yaml) + "}", "f", &zero).ok()) << yaml;
    const std::string name = std::string(yaml).substr(0, std::string(yaml).find(':'));
    EXPECT_EQ(TextOf(name, zero.attention), "0") << yaml;
  }
  for (const char* yaml : {"recent: 0", "k: -1", "theta: -2", "epsilon: -1", "window: -1",
                           "recall_sample: -1", "index_bytes_max: -1", "error_sample: ''"}) {
    EXPECT_FALSE(Apply("attention: {" + std::string(yaml) + "}", "f", &config).ok()) << yaml;
  }
}

TEST(Config, TlsFilesGoTogether) {
  for (const auto& [args, says] : std::vector<std::pair<std::vector<std::string>, const char*>>{
           {{"--tls-cert=a"}, "tls_cert and tls_key go together"},
           {{"--tls-key=a"}, "tls_cert and tls_key go together"},
           {{"--tls-client-ca=a"}, "tls_client_ca needs"}}) {
    const auto config = Parse(args);
    EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(config.status().message()), HasSubstr(says));
  }
  EXPECT_TRUE(Parse({"--tls-cert=a", "--tls-key=b", "--tls-client-ca=c"}).ok());
}

TEST(Config, HelpNamesEveryKey) {
  const auto help = ParseCommandLine({"--help"});
  ASSERT_TRUE(help.ok());
  EXPECT_EQ(help->action, CommandLine::Action::kExit);
  int keys = 0;
  for (const KeyDescription& key : DescribeKeys()) {
    EXPECT_THAT(help->text, HasSubstr(key.flag));
    ++keys;
  }
  EXPECT_GT(keys, 50);
}

// What we ship as config/ must be what the program says and accepts.
TEST(Config, ShippedFiles) {
  const std::string folder = ALCCA_SOURCE_DIR "/config/";
  const std::string text = ReadFile(folder + "default.yaml");
  ASSERT_FALSE(text.empty());
  EXPECT_EQ(text.substr(text.find("# ---")), PrintConfig({}))
      << "config/default.yaml: write the output of alccad --print-config below its header";
  ServerConfig read;
  ASSERT_TRUE(Apply(text, "default.yaml", &read).ok());
  EXPECT_EQ(PrintConfig(read), PrintConfig({}));
  ServerConfig mistral;
  const absl::Status status =
      Apply(ReadFile(folder + "mistral-7b.yaml"), "mistral-7b.yaml", &mistral);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(mistral.weight_dtype, "int8");
}

TEST(Config, ReferencePageIsWhatTheTableSays) {
  const std::string page = ReadFile(ALCCA_SOURCE_DIR "/docs/configure.md");
  EXPECT_TRUE(page == ConfigReference())
      << "docs/configure.md is stale: build/release/bin/alccad --config-reference > "
         "docs/configure.md";
  const auto command = ParseCommandLine({"--config-reference"});
  ASSERT_TRUE(command.ok());
  EXPECT_EQ(command->text, ConfigReference());
  EXPECT_EQ(command->action, CommandLine::Action::kExit);
  // Every key, flag and default of the help is there.
  const auto rows = DescribeKeys();
  EXPECT_GT(rows.size(), 40u);
  for (const KeyDescription& key : rows) {
    EXPECT_THAT(page, HasSubstr("| `" + key.name + "` | `" + key.flag + "` |"));
    EXPECT_FALSE(key.help.empty()) << key.name;
    EXPECT_EQ(std::count(key.help.begin(), key.help.end(), '|'), 0) << key.name;
  }
}

TEST(Config, BoundsOfTheReferenceAreThoseThatHold) {
  for (const KeyDescription& key : DescribeKeys()) {
    if (key.type != "integer" && key.type != "number") {
      continue;
    }
    const size_t to = key.bounds.find(" to ");
    ASSERT_NE(to, std::string::npos) << key.name;
    const bool above = key.bounds.starts_with("above ");
    const std::string low = key.bounds.substr(above ? 6 : 0, to - (above ? 6 : 0));
    const std::string high = key.bounds.substr(to + 4);
    ServerConfig config;
    const auto set = [&](const std::string& value) {
      const size_t dot = key.name.find('.');
      return Apply(dot == std::string::npos ? key.name + ": " + value
                                            : key.name.substr(0, dot) + ":\n  " +
                                                  key.name.substr(dot + 1) + ": " + value,
                   "f.yaml", &config);
    };
    if (!above) {
      EXPECT_TRUE(set(low).ok()) << key.name << " " << low;
    }
    EXPECT_TRUE(set(high).ok()) << key.name << " " << high;
    EXPECT_FALSE(set(std::to_string(std::stod(low) - 3)).ok()) << key.name;  // -1 was silence
    EXPECT_FALSE(set("1e300").ok()) << key.name;
    EXPECT_FALSE(set("many").ok()) << key.name;
  }
}

}  // namespace
}  // namespace alcca
