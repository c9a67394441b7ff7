// Writes what safetensors.h and checkpoint.h read: one .safetensors file as a stream, and whole
// model folders of random weights for tests and load tests. Memory stays at one small buffer.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/model/model_config.h"
#include "kernels/tensor.h"

namespace alcca {

// Create() writes the header, Append() the data in the order of the tensors given to Create(),
// Finish() checks that every byte has come. Without Finish() the file is not complete.
class SafetensorsWriter {
 public:
  // name, dtype and shape of each tensor count; begin and end are worked out here. The header is
  // padded to 8 bytes; to keep every tensor aligned, put larger element sizes first.
  static absl::StatusOr<std::unique_ptr<SafetensorsWriter>> Create(
      const std::string& path, std::vector<TensorInfo> tensors,
      const std::vector<std::pair<std::string, std::string>>& metadata = {});
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  absl::Status Append(const void* data, size_t bytes);
  absl::Status Finish();

 private:
  SafetensorsWriter(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  absl::Status Write(const void* data, size_t bytes);

  std::string path_;
  int fd_;                  // Owned; -1 after Finish().
  uint64_t remaining_ = 0;  // Bytes of data still to come.
};

struct RandomCheckpointOptions {
  ModelConfig config;
  DType dtype = DType::kBF16;
  int shards = 1;       // 1: model.safetensors. More: shards of about equal size and an index.
  uint64_t seed = 0;    // Weights depend on seed and tensor name only, not on dtype or shards.
  double stddev = 0.0;  // Of matrices; 0 = 1/sqrt(columns), which keeps activations near 1.
};

// A Hugging Face folder at `dir` (made if absent): config.json, generation_config.json and
// weights. Matrices are close to normal (a sum of four uniforms), norms are 1 +- 0.05. `progress`
// (may be empty) gets bytes written and bytes in total.
absl::Status WriteRandomCheckpoint(const std::string& dir, const RandomCheckpointOptions& options,
                                   const std::function<void(uint64_t, uint64_t)>& progress = {});

}  // namespace alcca
