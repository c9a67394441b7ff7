// For tests of everything that loads a model: temporary folders, handmade safetensors bytes and
// tiny random checkpoints (tools/checkpoint/safetensors_writer.h does the writing).

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "engine/model/model_config.h"
#include "tools/checkpoint/safetensors_writer.h"

namespace alcca::testing {

// A fresh folder, removed with everything in it at the end.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  std::string File(std::string_view name) const { return path_ + "/" + std::string(name); }
  // Writes a file into the folder and returns its path; the test fails when that fails.
  std::string Write(std::string_view name, const std::string& content) const;

 private:
  std::string path_;
};

// The eight bytes of a header length.
std::string LittleEndian64(uint64_t value);

// A safetensors file from its parts: length of the header, header, `data_bytes` zero bytes.
std::string SafetensorsBytes(const std::string& header, size_t data_bytes = 0);

// A safetensors file that holds one-byte tensors of these names.
std::string ByteTensors(const std::vector<std::string>& names);

// That `status` has this code, and a message of one line with each of `parts`.
void ExpectError(const absl::Status& status, absl::StatusCode code,
                 const std::vector<std::string>& parts);

// A valid model of under 100k weights in which all dimensions differ: hidden 64 in 4 query and 2
// KV heads of 16, intermediate 176, 2 layers, 512 tokens.
ModelConfig TinyModelConfig();

// A random checkpoint of this shape in `dir`; the test fails when that fails.
void WriteTinyCheckpoint(const std::string& dir, const ModelConfig& config,
                         DType dtype = DType::kBF16, int shards = 1, uint64_t seed = 0);

}  // namespace alcca::testing
