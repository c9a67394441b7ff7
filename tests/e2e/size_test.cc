// `alcca size` says what the daemon will log.

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/testing/checkpoint_writer.h"
#include "tests/testing/process.h"
#include "tools/checkpoint/safetensors_writer.h"

namespace alcca::e2e {
namespace {

using testing::RunProgram;

// The line "memory plan" of `alccad --check`, without what is the machine's and the logger's.
nlohmann::json LoggedPlan(std::vector<std::string> flags) {
  flags.insert(flags.end(), {"--check", "--log-format=json"});
  const auto result = RunProgram(ALCCA_ALCCAD_PATH, flags);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  std::istringstream log(result.err);
  for (std::string line; std::getline(log, line);) {
    nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_discarded() && json["msg"] == "memory plan") {
      for (const char* other : {"ts", "level", "msg", "available", "device"}) {
        json.erase(other);
      }
      return json;
    }
  }
  return nullptr;
}

nlohmann::json Sized(std::vector<std::string> flags) {
  flags.insert(flags.begin(), "size");
  flags.push_back("--json");
  const auto result = RunProgram(ALCCA_CLI_PATH, flags);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return nlohmann::json::parse(result.out, nullptr, false);
}

TEST(Size, IsTheDaemonsOwnPlan) {
  // Large enough that every part shows in hundredths of a GiB.
  const testing::TempDir dir;
  RandomCheckpointOptions options;
  options.config.hidden_size = 512;
  options.config.intermediate_size = 2048;
  options.config.num_layers = 6;
  options.config.num_heads = 8;
  options.config.num_kv_heads = 4;
  options.config.head_dim = 64;
  options.config.vocab_size = 4096;
  options.config.max_position_embeddings = 4096;
  options.config.rope_theta = 1e4;
  options.config.rms_norm_eps = 1e-5;
  options.config.bos_token_id = 1;
  options.config.eos_token_ids = {2};
  options.config.architecture = "MistralForCausalLM";
  options.dtype = DType::kBF16;
  const std::string model = dir.File("model");
  ASSERT_TRUE(WriteRandomCheckpoint(model, options, [](uint64_t, uint64_t) {}).ok());
  std::filesystem::copy(ALCCA_MODEL_DIR "/tokenizer.model", model + "/tokenizer.model");
  for (const char* dtype : {"f32", "bf16", "int8", "auto"}) {
    const std::string weights = std::string("--weight-dtype=") + dtype;
    const nlohmann::json size =
        Sized({"--model", model, weights, "--context=3000", "--concurrency=6", "--page-tokens=48",
               "--max-batch-tokens=1024"});
    const auto kv_bytes = size["bytes"]["kv_cache"].get<int64_t>();
    const nlohmann::json logged = LoggedPlan(
        {"--model", model, weights, "--max-context=3000", "--max-num-seqs=6", "--page-tokens=48",
         "--max-batch-tokens=1024", "--kv-cache-bytes=" + std::to_string(kv_bytes)});
    EXPECT_EQ(size["memory"], logged) << dtype;
    EXPECT_NE(logged["weights"], "0.00 GiB");
    EXPECT_NE(logged["activations"], "0.00 GiB");
    // One byte less does not hold the load.
    EXPECT_LT(LoggedPlan({"--model", model, weights, "--max-context=2999", "--max-num-seqs=6",
                          "--page-tokens=48", "--max-batch-tokens=1024",
                          "--kv-cache-bytes=" + std::to_string(kv_bytes - 1)})["kv_tokens"],
              logged["kv_tokens"]);
  }
  // A cache that is given is taken as it is.
  EXPECT_EQ(Sized({"--model", ALCCA_MODEL_DIR, "--concurrency=32",
                   "--kv-cache-bytes=50000000"})["memory"],
            LoggedPlan({"--kv-cache-bytes=50000000", "--max-context=0"}));
}

}  // namespace
}  // namespace alcca::e2e
