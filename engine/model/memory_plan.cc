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

namespace alcca {
namespace {

WeightDType ChooseWeights(const ModelConfig& model, const MemoryLimits& limits,
                          MistralOptions options) {
  if (const auto given = WeightDTypeOf(limits.weight_dtype)) {
    return *given;
  }
  options.weight_dtype = StoredFormat(model);
  const size_t wanted = EstimateFootprint(model, options).total();
  return wanted < limits.available_bytes / 10 * 9 ? options.weight_dtype : WeightDType::kInt8;
}

int64_t PageBytes(const ModelConfig& model, int64_t page_tokens, int32_t element_bytes) {
  const KvShape page{.layers = static_cast<int32_t>(model.num_layers),
                     .kv_heads = static_cast<int32_t>(model.num_kv_heads),
                     .head_dim = static_cast<int32_t>(model.head_dim),
                     .page_tokens = static_cast<int32_t>(page_tokens),
                     .pages = 1};
  return static_cast<int64_t>(page.PageBytes(static_cast<size_t>(element_bytes)));
}

// How many tokens the cache holds within its bytes, and how long a sequence may be.
absl::Status SizeCache(const ModelConfig& model, const MemoryLimits& limits, MemoryPlan* plan) {
  MistralOptions& options = plan->options;
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
