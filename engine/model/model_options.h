#pragma once

#include <cstdint>

#include "engine/model/model_config.h"
#include "kernels/backend.h"
#include "kernels/weight_format.h"

namespace alcca {

// How a model of any family is loaded.
struct ModelOptions {
  WeightDType weight_dtype = WeightDType::kBF16;
  int32_t max_batch_tokens = 512;  // rows of the largest step
  int32_t max_logit_rows = 512;    // rows with logits in the largest step, <= max_batch_tokens
  int32_t page_tokens = 16;
  int32_t kv_pages = 0;          // pool size
  int32_t kv_element_bytes = 4;  // of a cached key's element, as the backend keeps it
};

inline KvShape KvShapeOf(const ModelConfig& config, int32_t page_tokens, int32_t pages) {
  return {.layers = static_cast<int32_t>(config.num_layers),
          .kv_heads = static_cast<int32_t>(config.num_kv_heads),
          .head_dim = static_cast<int32_t>(config.head_dim),
          .page_tokens = page_tokens,
          .pages = pages};
}

}  // namespace alcca
