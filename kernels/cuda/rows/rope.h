#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/context.h"
#include "kernels/cuda/kv_cache.h"

namespace alcca::ALCCA_GPU {

// The position and the cache slot of a row of the step, in device memory.
struct RowPlace {
  int32_t position;  // what RoPE turns by
  int32_t page;      // where its key and value go
  int32_t slot;      // token within the page
};

// Rotates q and k of `qkv` [rows, shape.qkv_cols()] in place and stores k, v of every row.
// `frequencies` [head_dim / 2] in device memory, as Backend::RopeAndStore has them.
void RopeAndStore(const DeviceContext& device, float* qkv, KvCacheCuda& kv, int32_t layer,
                  const RowPlace* places, const float* frequencies, int32_t rows,
                  const AttentionShape& shape);

}  // namespace alcca::ALCCA_GPU
