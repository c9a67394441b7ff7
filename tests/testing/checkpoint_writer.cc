#include "tests/testing/checkpoint_writer.h"

#include <stdlib.h>

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "gtest/gtest.h"

namespace alcca::testing {

TempDir::TempDir() {
  std::string pattern = (std::filesystem::temp_directory_path() / "alcca_test_XXXXXX").string();
  const char* made = mkdtemp(pattern.data());
  if (made == nullptr) {
    ADD_FAILURE() << "cannot make a temporary folder";
    return;
  }
  path_ = made;
}

TempDir::~TempDir() {
  std::error_code ignored;
  if (!path_.empty()) {
    std::filesystem::remove_all(path_, ignored);
  }
}

std::string TempDir::Write(std::string_view name, const std::string& content) const {
  const std::string path = File(name);
  const absl::Status status = WriteTextFile(path, content);
  EXPECT_TRUE(status.ok()) << status;
  return path;
}

std::string LittleEndian64(uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) {
    bytes.push_back(static_cast<char>(value >> (8 * i)));
  }
  return bytes;
}

std::string SafetensorsBytes(const std::string& header, size_t data_bytes) {
  return LittleEndian64(header.size()) + header + std::string(data_bytes, '\0');
}

std::string ByteTensors(const std::vector<std::string>& names) {
  std::string header = "{";
  for (size_t i = 0; i < names.size(); ++i) {
    absl::StrAppend(&header, i == 0 ? "" : ",", "\"", names[i],
                    "\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[", i, ",", i + 1, "]}");
  }
  return SafetensorsBytes(header + "}", names.size());
}

void ExpectError(const absl::Status& status, absl::StatusCode code,
                 const std::vector<std::string>& parts) {
  EXPECT_EQ(status.code(), code) << status;
  const std::string message(status.message());
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  for (const std::string& part : parts) {
    EXPECT_NE(message.find(part), std::string::npos) << "no " << part << " in: " << message;
  }
}

ModelConfig TinyModelConfig() {
  ModelConfig config;
  config.hidden_size = 64;
  config.intermediate_size = 176;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 16;
  config.vocab_size = 512;
  config.max_position_embeddings = 2048;
  config.rope_theta = 1e4;
  config.rms_norm_eps = 1e-5;
  config.bos_token_id = 1;
  config.eos_token_ids = {2};
  config.torch_dtype = "bfloat16";
  config.architecture = "MistralForCausalLM";
  return config;
}

void WriteTinyCheckpoint(const std::string& dir, const ModelConfig& config, DType dtype, int shards,
                         uint64_t seed) {
  RandomCheckpointOptions options;
  options.config = config;
  options.dtype = dtype;
  options.shards = shards;
  options.seed = seed;
  const absl::Status status = WriteRandomCheckpoint(dir, options);
  ASSERT_TRUE(status.ok()) << status;
}

}  // namespace alcca::testing
