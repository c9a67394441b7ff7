#include "engine/model/memory_plan.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/model/cgroup_memory.h"
#include "engine/model/tensor_table.h"
#include "kernels/key_clusters.h"
#include "kernels/key_index.h"

namespace alcca {
namespace {

WeightDType ChooseWeights(const ModelConfig& model, const MemoryLimits& limits,
                          ModelOptions options) {
  if (const auto given = WeightDTypeOf(limits.weight_dtype)) {
    return *given;
  }
  const WeightDType stored = StoredFormat(model);
  for (const WeightDType dtype : {WeightDType::kF32, WeightDType::kBF16}) {
    options.weight_dtype = dtype;
    if (FormatOf(dtype).bits <= FormatOf(stored).bits &&
        EstimateFootprint(model, options).total() < limits.available_bytes / 10 * 9) {
      return dtype;
    }
  }
  return WeightDType::kInt8;
}

int64_t PageBytes(const ModelConfig& model, int64_t page_tokens, int32_t element_bytes) {
  const KvShape page = KvShapeOf(model, static_cast<int32_t>(page_tokens), /*pages=*/1);
  return static_cast<int64_t>(page.PageBytes(static_cast<size_t>(element_bytes)));
}

// Columns of all activation buffers of one token, logits apart.
int64_t ActivationCols(const ModelConfig& c) {
  return 2 * c.hidden_size + (2 * c.q_dim() + 2 * c.kv_dim()) + 3 * c.intermediate_size;
}

// How many tokens the cache holds within its bytes, and how long a sequence may be.
absl::Status SizeCache(const ModelConfig& model, const MemoryLimits& limits, MemoryPlan* plan) {
  ModelOptions& options = plan->options;
  options.page_tokens = static_cast<int32_t>(limits.page_tokens);
  options.kv_element_bytes = limits.kv_element_bytes;
  const int64_t page_tokens = limits.page_tokens;
  const int64_t page_bytes = PageBytes(model, page_tokens, limits.kv_element_bytes);
  const int64_t model_context = model.max_position_embeddings;
  const int64_t wanted = limits.max_context > 0 ? limits.max_context : model_context;
  if (wanted > model_context) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_context (", wanted, ") is above the model's ", model_context, " positions"));
  }
  const int64_t useful = (wanted + page_tokens - 1) / page_tokens * limits.max_num_seqs;
  const int64_t pages = std::min(
      {limits.kv_cache_bytes / page_bytes, useful, int64_t{std::numeric_limits<int32_t>::max()}});
  if (pages < 1) {
    return absl::InvalidArgumentError(absl::StrCat("kv_cache_bytes (", limits.kv_cache_bytes,
                                                   ") holds no page of ", page_bytes,
                                                   " bytes; raise it or lower page_tokens"));
  }
  options.kv_pages = static_cast<int32_t>(pages);
  const int64_t fits = pages * page_tokens;
  if (limits.max_context > 0 && limits.max_context > fits) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_context (", limits.max_context, ") does not fit kv_cache_bytes (",
                     limits.kv_cache_bytes, "), which holds ", fits, " tokens"));
  }
  plan->max_context = static_cast<int32_t>(std::min(wanted, fits));
  return absl::OkStatus();
}

}  // namespace

WeightDType StoredFormat(const ModelConfig& config) {
  return config.torch_dtype == "float32" ? WeightDType::kF32 : WeightDType::kBF16;
}

WeightDType EmbeddingFormat(const ModelConfig& config, WeightDType weights) {
  const std::string& dtype = config.torch_dtype;
  const bool blocks = config.tensor_names == TensorNaming::kGguf && dtype != "float32" &&
                      dtype != "float16" && dtype != "bfloat16";
  return blocks ? (weights == WeightDType::kF32 ? WeightDType::kF32 : WeightDType::kBF16)
                : StoredFormat(config);
}

ModelFootprint EstimateFootprint(const ModelConfig& c, const ModelOptions& options) {
  const int64_t table = HeadElements(c);  // the embedding's as well
  ModelFootprint f;
  f.embedding_bytes = WeightBytes(EmbeddingFormat(c, options.weight_dtype), table);
  f.weight_bytes = WeightBytes(options.weight_dtype, c.num_layers * LayerElements(c)) +
                   WeightBytes(FormatOf(options.weight_dtype).head, table) + f.embedding_bytes;
  const KvShape kv = KvShapeOf(c, options.page_tokens, options.kv_pages);
  f.kv_bytes = kv.PageBytes(static_cast<size_t>(options.kv_element_bytes)) * kv.pages;
  // Of a search tree or of clusters, whichever is larger; a sequence of one closed block has the
  // most cluster bytes per key.
  const size_t key_bytes = std::max<size_t>(
      kTreeBytesPerKey, (ClusterBytes(1, static_cast<int32_t>(c.head_dim)) +
                         ForkBytes(1, static_cast<int32_t>(c.head_dim)) + kBlockTokens - 1) /
                            kBlockTokens);
  f.index_bytes = key_bytes * kv.layers * kv.kv_heads * kv.page_tokens * kv.pages;
  // Beside the logits, as much again for Sample: adjusted logits on a device; on a CPU the scratch
  // of its threads, which is less.
  f.activation_bytes =
      sizeof(float) * (options.max_batch_tokens * ActivationCols(c) +
                       int64_t{options.max_logit_rows} * (c.hidden_size + 2 * c.vocab_size));
  return f;
}

absl::StatusOr<MemoryPlan> PlanMemory(const ModelConfig& model, const MemoryLimits& limits) {
  MemoryPlan plan;
  plan.options.max_batch_tokens = static_cast<int32_t>(limits.max_batch_tokens);
  // Logits are large (vocabulary x 4 bytes a row): a row for each sequence, and some for prompts.
  plan.options.max_logit_rows =
      std::min(plan.options.max_batch_tokens,
               static_cast<int32_t>(std::max<int64_t>(limits.max_num_seqs, 64)));
  RETURN_IF_ERROR(SizeCache(model, limits, &plan));
  plan.options.weight_dtype = ChooseWeights(model, limits, plan.options);
  plan.footprint = EstimateFootprint(model, plan.options);
  return plan;
}

int64_t KvBytesPerToken(const ModelConfig& model, int32_t element_bytes) {
  return PageBytes(model, 1, element_bytes);
}

size_t AvailableBytes() {
  size_t available = SIZE_MAX;
  std::ifstream meminfo("/proc/meminfo");
  for (std::string line; std::getline(meminfo, line);) {
    if (line.rfind("MemAvailable:", 0) == 0) {
      available = std::strtoull(line.c_str() + 13, nullptr, 10) * 1024;
    }
  }
  if (const std::optional<CgroupMemory> cgroup = ReadCgroupMemory()) {
    available = std::min(available, static_cast<size_t>(cgroup->left));
  }
  return available;
}

std::string Gib(double bytes) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.2f GiB", bytes / double(1 << 30));
  return text;
}

}  // namespace alcca
