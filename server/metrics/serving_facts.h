#pragma once

#include <cstdint>
#include <string>

namespace alcca {

// What stays the same from the moment the model is loaded: limits, and what is served.
struct ServingFacts {
  double load_seconds = 0;
  int64_t weight_bytes = 0, kv_bytes = 0;
  int64_t kv_pages = 0, page_tokens = 0;
  int64_t max_context = 0, max_num_seqs = 0, max_batch_tokens = 0;
  int64_t max_queued_requests = 0, max_queued_tokens = 0;
  bool prefix_cache = false;
  double recall_bar = 0;  // attention.recall_bar
  std::string model, device, weight_dtype, attention;
};

}  // namespace alcca
