// The client `alcca` against a real daemon, as a user types it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/e2e/client.h"
#include "tests/testing/checkpoint_writer.h"

namespace alcca::e2e {
namespace {

using testing::DaemonProcess;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::ProgramResult;
using testing::RunProgram;

class Cli : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(daemon_.serving()); }

  ProgramResult Alcca(std::vector<std::string> args, const std::string& input = "") {
    args.push_back("--target=" + daemon_.grpc());
    return RunProgram(ALCCA_CLI_PATH, args, input);
  }

  // `alcca eval` on the held-out stories.
  nlohmann::json EvalJson(std::vector<std::string> args) {
    args.insert(args.begin(), {"eval", "--text=" ALCCA_MODEL_DIR "/heldout.txt", "--json"});
    const ProgramResult result = Alcca(args);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return nlohmann::json::parse(result.out, nullptr, false);
  }

  // No near queries, whose number only the weights know: counts follow from lengths.
  DaemonProcess daemon_{{"--attention-theta=0"}};
};

TEST_F(Cli, GenerateStreamsTheSameTextAsTheService) {
  const std::string expected = Client(daemon_.grpc()).Generate(Greedy("Once upon a time", 30)).text;
  const ProgramResult plain =
      Alcca({"generate", "Once upon a time", "--max-tokens=30", "--temperature=0", "--ignore-eos"});
  EXPECT_EQ(plain.exit_code, 0) << plain.err;
  EXPECT_EQ(plain.out, expected + "\n");
  const ProgramResult piped = Alcca(
      {"generate", "-", "--max-tokens=30", "--temperature=0", "--ignore-eos"}, "Once upon a time");
  EXPECT_EQ(piped.out, plain.out);
  const ProgramResult stats = Alcca({"generate", "Once upon a time", "--echo", "--stats",
                                     "--max-tokens=5", "--mode=alcca", "--k=4", "--theta=0"});
  EXPECT_EQ(stats.out.rfind("Once upon a time", 0), 0u);
  EXPECT_THAT(stats.out, HasSubstr("alcca k=4"));
  EXPECT_THAT(stats.out, HasSubstr("% of"));
}

TEST_F(Cli, JsonIsOneMessageALine) {
  const ProgramResult result =
      Alcca({"generate", "Once", "--json", "--max-tokens=6", "--ignore-eos", "--logprobs=1"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  std::istringstream lines(result.out);
  nlohmann::json last;
  for (std::string line; std::getline(lines, line);) {
    last = nlohmann::json::parse(line);
  }
  EXPECT_EQ(last["complete"]["completion_tokens"], 6);
}

TEST_F(Cli, ChatKeepsTheConversation) {
  const ProgramResult one = Alcca({"chat", "Tell me a story.", "--max-tokens=12", "--seed=1"});
  EXPECT_EQ(one.exit_code, 0) << one.err;
  EXPECT_GT(one.out.size(), 10u);
  const ProgramResult two =
      Alcca({"chat", "--max-tokens=12", "--seed=1"}, "Tell me a story.\nAnd then?\n");
  EXPECT_EQ(two.exit_code, 0) << two.err;
  EXPECT_EQ(two.out.rfind(one.out, 0), 0u) << two.out;  // the first answer, then another
  EXPECT_GT(two.out.size(), one.out.size() + 5);
}

TEST_F(Cli, TokenizeAndDetokenizeAreInverse) {
  const ProgramResult tokens = Alcca({"tokenize", "The bear"});
  ASSERT_EQ(tokens.exit_code, 0) << tokens.err;
  std::vector<std::string> args = {"detokenize"};
  std::istringstream lines(tokens.out);
  for (std::string line; std::getline(lines, line);) {
    args.push_back(std::to_string(std::stoi(line)));
  }
  EXPECT_EQ(Alcca(args).out, "The bear\n");
}

TEST_F(Cli, HealthInfoAndErrors) {
  EXPECT_EQ(Alcca({"health"}).out, "SERVING\n");
  EXPECT_EQ(Alcca({"health", "--service=nobody"}).exit_code, 5);  // NOT_FOUND
  EXPECT_THAT(Alcca({"info"}).out, HasSubstr("\"served_model_name\": \"afia-5m\""));
  const ProgramResult bad = Alcca({"generate", "x", "--top-p=7"});
  EXPECT_EQ(bad.exit_code, 3);  // INVALID_ARGUMENT
  EXPECT_THAT(bad.err, HasSubstr("top_p"));
  EXPECT_EQ(RunProgram(ALCCA_CLI_PATH, {"no-such-command"}).exit_code, 64);
  const ProgramResult nobody = RunProgram(ALCCA_CLI_PATH, {"health", "--target=127.0.0.1:1"});
  EXPECT_EQ(nobody.exit_code, 14);  // UNAVAILABLE
}

TEST_F(Cli, BenchReportsTheFourLatencies) {
  const testing::TempDir dir;
  const ProgramResult result =
      Alcca({"bench", "--requests=6", "--concurrency=3", "--input-len=20", "--output-len=10",
             "--goodput=ttft:100000", "--json=" + dir.File("bench.json")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  for (const char* name : {"TTFT", "TPOT", "ITL", "E2EL", "goodput", "output token throughput"}) {
    EXPECT_THAT(result.out, HasSubstr(name));
  }
  const ProgramResult file = RunProgram("cat", {dir.File("bench.json")});
  const nlohmann::json json = nlohmann::json::parse(file.out);
  EXPECT_EQ(json["requests finished"], 6);
  EXPECT_GE(json["E2EL_ms"]["p50"], json["TTFT_ms"]["p50"]);
  EXPECT_GE(json["TPOT_ms"]["p99"], json["TPOT_ms"]["p50"]);
}

// A server that falls behind is asked at the same pace, and its queue is in the latencies.
TEST_F(Cli, BenchArrivalsDoNotWaitForAnswers) {
  const ProgramResult result = Alcca({"bench", "--requests=20", "--request-rate=10000",
                                      "--input-len=100", "--output-len=20", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const nlohmann::json json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["requests finished"], 20);
  // All came within some milliseconds: the last ones' end is the run's.
  EXPECT_GT(json["E2EL_ms"]["max"], 700 * double(json["duration"]));
  const ProgramResult one =
      Alcca({"bench", "--requests=20", "--request-rate=10000", "--concurrency=1", "--input-len=100",
             "--output-len=20", "--json"});
  ASSERT_EQ(one.exit_code, 0) << one.err;
  const nlohmann::json bounded = nlohmann::json::parse(one.out);
  EXPECT_GT(bounded["TTFT_ms"]["max"], 700 * double(bounded["duration"]));
  EXPECT_GT(bounded["latest send after its arrival"], 700 * double(bounded["duration"]));
}

TEST_F(Cli, BenchFailsAsItsRequestsDo) {
  const ProgramResult result = Alcca({"bench", "--requests=2", "--output-len=5000", "--json"});
  EXPECT_EQ(result.exit_code, 3) << result.err;  // INVALID_ARGUMENT
  const nlohmann::json json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["requests failed"], 2);
  EXPECT_TRUE(json["TTFT_ms"].is_null());
}

// A document is tokenized whole, whatever the model's context.
TEST_F(Cli, EvalTakesMoreTextThanAContextHolds) {
  const testing::TempDir dir;
  std::ofstream file(dir.File("long.txt"));
  for (int i = 0; i < 800; ++i) {
    file << "Once there was a bear who walked over the hill to see the sea. ";
  }
  file.close();
  const ProgramResult result =
      Alcca({"eval", "--text=" + dir.File("long.txt"), "--length=512", "--modes=window:window=10"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("window"));
  // A piece of it is not: that is said, not cut.
  const ProgramResult cut = Alcca({"eval", "--text=" + dir.File("long.txt"), "--length=5000"});
  EXPECT_EQ(cut.exit_code, 3);  // INVALID_ARGUMENT
  EXPECT_THAT(cut.err, HasSubstr("--length 5000"));
}

TEST_F(Cli, BenchReportsWhatAttentionCost) {
  const auto bench = [&](std::vector<std::string> args) {
    args.insert(args.begin(),
                {"bench", "--requests=3", "--input-len=20", "--output-len=11", "--json"});
    const ProgramResult result = Alcca(args);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.err, HasSubstr("interactions per output token"));  // the text gives way
    return nlohmann::json::parse(result.out, nullptr, false);
  };
  // Ten tokens are fed by decoding, at 21 to 30 keys.
  const nlohmann::json dense = bench({"--mode=dense"});
  EXPECT_EQ(dense["interactions per output token"], 2 * 25.5);
  EXPECT_EQ(dense["causal dense per output token"], 2 * 25.5);
  EXPECT_EQ(dense["saving against causal dense"], 0);
  const nlohmann::json window = bench({"--mode=window", "--window=5"});
  EXPECT_EQ(window["interactions per output token"], 2 * 5);
  EXPECT_EQ(window["of these on the query-key side"], 5);
  const double causal = 30 * 31 / 2, kept = 5 * 6 / 2 + 5 * 25;
  EXPECT_DOUBLE_EQ(window["query-key saving against causal"], 100 * (1 - kept / causal));
  const nlohmann::json near = bench({"--mode=alcca", "--theta=1e9"});
  EXPECT_EQ(near["near queries"], 100);
  EXPECT_GT(near["index bytes"], dense["index bytes"]);
}

TEST_F(Cli, EvalScoresEachModeAndTheTrainedOneWins) {
  const ProgramResult result =
      Alcca({"eval", "--text=" ALCCA_MODEL_DIR "/heldout.txt", "--limit=4", "--modes=alcca,dense"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  double loss[2] = {0, 0};
  std::istringstream lines(result.out);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string name;
    double value = 0;
    words >> name >> value;
    if (name == "alcca") {
      loss[0] = value;
    }
    if (name == "dense") {
      loss[1] = value;
    }
  }
  EXPECT_GT(loss[0], 0.5);
  EXPECT_LT(loss[0], 4);
  EXPECT_GT(loss[1], loss[0] + 0.1);  // afia-5m was trained with alcca
  EXPECT_NEAR(loss[0], EvalJson({"--limit=4", "--modes=exact"})["modes"][0]["nats_per_token"],
              1e-4);
  EXPECT_THAT(Alcca({"eval", "--text=/no/such/file"}).err, HasSubstr("/no/such/file"));
}

TEST_F(Cli, EvalByPositionAddsUpToTheWhole) {
  const nlohmann::json json = EvalJson({"--limit=3", "--modes=tree,matched", "--by-position"});
  ASSERT_EQ(json["modes"].size(), 2u);
  EXPECT_EQ(json["modes"][1]["label"], "11 newest");
  for (const nlohmann::json& mode : json["modes"]) {
    double nats = 0;
    int64_t tokens = 0;
    for (const nlohmann::json& bucket : mode["by_position"]) {
      nats += bucket["nats_per_token"].get<double>() * bucket["tokens"].get<double>();
      tokens += bucket["tokens"].get<int64_t>();
    }
    EXPECT_EQ(tokens, mode["tokens"]);
    EXPECT_NEAR(nats / double(tokens), mode["nats_per_token"], 1e-9);
  }
  // The control spends what the tree spends.
  EXPECT_EQ(json["modes"][0]["qk_with_build_vs_causal"],
            json["modes"][1]["qk_with_build_vs_causal"]);
  EXPECT_EQ(Alcca({"eval", "--text=x", "--modes=sparse"}).exit_code, 64);
}

TEST_F(Cli, CardTableHasTheServersCounts) {
  const nlohmann::json json = EvalJson({"--card-table", "--lengths=120,4000", "--limit=2"});
  std::map<std::string, nlohmann::json> rows;
  for (const nlohmann::json& row : json["rows"]) {
    EXPECT_EQ(row["n"], 120);  // 4,000 tokens exceed the context
    EXPECT_GT(row["ms"], 0);
    EXPECT_GT(row["nats_per_byte"], .3);
    EXPECT_DOUBLE_EQ(row["vs_n2"], row["interactions_with_build"].get<double>() / (120 * 120));
    EXPECT_DOUBLE_EQ(row["vs_causal"], row["interactions_with_build"].get<double>() / 7260);
    rows[row["role"]] = row;
  }
  EXPECT_EQ(rows["full"]["interactions_qk"], 120 * 121 / 2);
  EXPECT_EQ(rows["full"]["vs_causal"], 1);
  EXPECT_EQ(rows["window"]["interactions_with_build"], 100 * 101 / 2 + 100 * 20);
  EXPECT_EQ(rows["sparse"]["interactions_qk"], 120 * 121 / 2);
  EXPECT_EQ(rows["exact"]["interactions_qk"], 120 * 121 / 2 + 120);  // and the gate's distance
  EXPECT_EQ(rows["tree"]["interactions_qk"], 11 * 12 / 2 + 11 * 109 + 120);
  // The tree is built once for the two query heads that share it.
  EXPECT_EQ(rows["tree"]["interactions_with_build"],
            rows["tree"]["interactions_qk"].get<double>() + (2 * 120 + 119) / 2.0);
  EXPECT_EQ(rows["newest"]["interactions_qk"], rows["tree"]["interactions_qk"]);
  EXPECT_EQ(rows["window_k"]["interactions_qk"], 8 * 9 / 2 + 8 * 112);
  EXPECT_EQ(rows["window_tree"]["interactions_qk"], 11 * 12 / 2 + 11 * 109);
  EXPECT_LT(rows["tree"]["kv_bytes"], rows["full"]["kv_bytes"]);
  EXPECT_LT(rows["exact"]["nats_per_byte"], rows["full"]["nats_per_byte"]);
  std::string notes;
  for (const nlohmann::json& note : json["notes"]) {
    notes += note["note"].get<std::string>();
  }
  EXPECT_THAT(notes, HasSubstr("context of 1024 tokens"));
  // A mode is either measured or said to be missing.
  EXPECT_EQ(rows.contains("multipole"), notes.find("multipole") == std::string::npos) << notes;
}

TEST_F(Cli, TasksAreScoredForEachAttention) {
  for (const char* task : {"passkey", "recall", "cwe", "fwe"}) {
    const ProgramResult result =
        Alcca({"tasks", "--task=" + std::string(task), "--lengths=140,5000", "--samples=2",
               "--candidates=3", "--attention=exact,tree,matched,window:window=8", "--json"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const nlohmann::json json = nlohmann::json::parse(result.out);
    ASSERT_EQ(json["rows"].size(), 4u) << task;
    EXPECT_EQ(json["chance"], 1 / 3.);
    for (const nlohmann::json& row : json["rows"]) {
      EXPECT_EQ(row["n"], 140);
      EXPECT_LE(row["prompt_tokens"], 140 - 8);
      EXPECT_GT(row["prompt_tokens"], 80) << task;  // fitted, not cut
      EXPECT_EQ(row["chosen"]["trials"], 2);
      EXPECT_LT(row["right_logprob"], 0);
      EXPECT_LE(row["lifted"]["low"], row["lifted"]["share"]);
      EXPECT_GE(row["lifted"]["high"], row["lifted"]["share"]);
    }
    // The control costs what the tree costs; the window less than its eight keys.
    EXPECT_EQ(json["rows"][2]["label"], "11 newest");
    EXPECT_NEAR(json["rows"][1]["interactions_per_query"],
                json["rows"][2]["interactions_per_query"], .2);  // completions may differ in length
    EXPECT_LT(json["rows"][3]["interactions_per_query"], 8);
    EXPECT_THAT(json["notes"][0]["note"].get<std::string>(), HasSubstr("context of 1024"));
  }
}

TEST_F(Cli, TasksRepeatExactly) {
  const std::vector<std::string> args = {"tasks",       "--task=recall",    "--lengths=120",
                                         "--samples=3", "--attention=tree", "--json"};
  const std::string first = Alcca(args).out;
  EXPECT_FALSE(first.empty());
  EXPECT_EQ(Alcca(args).out, first);
  const ProgramResult written = Alcca({"tasks", "--task=passkey", "--lengths=120", "--samples=2",
                                       "--attention=tree", "--greedy-only", "--json"});
  ASSERT_EQ(written.exit_code, 0) << written.err;
  EXPECT_EQ(nlohmann::json::parse(written.out)["rows"][0]["exact_match"]["trials"], 2);
  EXPECT_EQ(Alcca({"tasks", "--task=chess"}).exit_code, 64);
  EXPECT_EQ(Alcca({"tasks", "--task=fwe", "--attention=matched"}).exit_code, 64);
}

}  // namespace
}  // namespace alcca::e2e
