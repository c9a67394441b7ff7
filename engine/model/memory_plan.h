#pragma once

// How much memory a model takes under given limits. The daemon plans with it at start and logs the
// result; `alcca size` prints the same plan before there is a daemon. docs/sizing.md.

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "engine/model/model_config.h"
#include "engine/model/model_options.h"

namespace alcca {

// Bytes that the model will hold, computed from the config alone.
struct ModelFootprint {
  size_t weight_bytes = 0;
  size_t embedding_bytes = 0;  // of the weights; a step reads a row a token, not the whole
  size_t kv_bytes = 0;
  size_t activation_bytes = 0;
  size_t index_bytes = 0;  // of key indices over a full cache, at most; taken as requests grow
  size_t total() const { return weight_bytes + kv_bytes + activation_bytes + index_bytes; }
};
ModelFootprint EstimateFootprint(const ModelConfig& config, const ModelOptions& options);

// The format nearest to what the checkpoint stores: f32 for f32, bf16 for 16 bits and for quantised
// blocks.
WeightDType StoredFormat(const ModelConfig& config);

// What the embedding's rows take: as stored, and those of quantised blocks in f32 only beside f32
// weights.
WeightDType EmbeddingFormat(const ModelConfig& config, WeightDType weights);

// The limits that decide; names and ranges are those of the daemon's configuration.
struct MemoryLimits {
  std::string weight_dtype = "auto";  // auto (as stored, else bf16, else int8), or a format's name
  int64_t max_context = 0;            // 0: what model and cache allow
  int64_t max_num_seqs = 32;
  int64_t max_batch_tokens = 512;
  int64_t kv_cache_bytes = int64_t{1} << 30;
  int64_t page_tokens = 64;
  int32_t kv_element_bytes = 4;       // as the backend keeps keys: 4 on a CPU
  size_t available_bytes = SIZE_MAX;  // what `auto` must fit nine tenths of
};

struct MemoryPlan {
  ModelOptions options;  // as the model is to be loaded
  ModelFootprint footprint;
  int32_t max_context = 0;  // prompt and output tokens of one sequence
  int64_t kv_tokens() const { return int64_t{options.kv_pages} * options.page_tokens; }
};

// INVALID_ARGUMENT: not even one page fits, or the requested context does not. The caller judges
// whether the plan fits the available memory.
absl::StatusOr<MemoryPlan> PlanMemory(const ModelConfig& model, const MemoryLimits& limits);

// Bytes of a token's keys and values in every layer.
int64_t KvBytesPerToken(const ModelConfig& model, int32_t element_bytes);

// What this process may use: the machine's available memory, or what is left of its cgroup.
size_t AvailableBytes();

// "7.51 GiB".
std::string Gib(double bytes);

}  // namespace alcca
