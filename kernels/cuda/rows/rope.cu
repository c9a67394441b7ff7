// Rotation of q and k, and the write of k and v to their pages, in one pass over the row: bound by
// bytes, 8 * qkv_cols a row and the pages' share. A block a row; a thread takes pairs (i, i + d/2).

#include "kernels/cuda/rows/rope.h"

namespace alcca::ALCCA_GPU {
namespace {

constexpr int32_t kRopeThreads = 256;

template <typename E>
__global__ void RopeKernel(float* qkv, E* keys, E* values, const RowPlace* places,
                           const float* frequencies, float factor, int32_t heads, int32_t kv_heads,
                           int32_t d, int32_t page_tokens) {
  const RowPlace place = places[blockIdx.x];
  const int32_t half = d / 2, cols = (heads + 2 * kv_heads) * d;
  float* row = qkv + static_cast<size_t>(blockIdx.x) * cols;
  // [kv_head][page_tokens][d] of the page.
  const size_t page = static_cast<size_t>(place.page) * kv_heads * page_tokens * d;
  const int32_t first = static_cast<int32_t>(threadIdx.x);
  for (int32_t pair = first; pair < (heads + kv_heads) * half; pair += kRopeThreads) {
    const int32_t head = pair / half, i = pair % half;
    float sine, cosine;
    sincosf(static_cast<float>(place.position) * frequencies[i], &sine, &cosine);
    sine *= factor;
    cosine *= factor;
    float* x = row + head * d + i;
    const float a = x[0], b = x[half];
    const float low = a * cosine - b * sine, high = b * cosine + a * sine;
    x[0] = low;
    x[half] = high;
    if (head >= heads) {
      E* key = keys + page + (static_cast<size_t>(head - heads) * page_tokens + place.slot) * d + i;
      key[0] = FromFloat<E>(low);
      key[half] = FromFloat<E>(high);
    }
  }
  for (int32_t i = first; i < kv_heads * d; i += kRopeThreads) {
    values[page + (static_cast<size_t>(i / d) * page_tokens + place.slot) * d + i % d] =
        FromFloat<E>(row[(heads + kv_heads) * d + i]);
  }
}

template <typename E>
void Start(const DeviceContext& device, float* qkv, KvCacheCuda& kv, int32_t layer,
           const RowPlace* places, const float* frequencies, int32_t rows,
           const AttentionShape& shape) {
  Launch(RopeKernel<E>,
         {.name = "rope",
          .grid = static_cast<unsigned>(rows),
          .block = kRopeThreads,
          .stream = device.stream},
         qkv, kv.Keys<E>(layer), kv.Values<E>(layer), places, frequencies,
         shape.rope_attention_factor, shape.heads, shape.kv_heads, shape.head_dim,
         kv.shape().page_tokens);
}

}  // namespace

void RopeAndStore(const DeviceContext& device, float* qkv, KvCacheCuda& kv, int32_t layer,
                  const RowPlace* places, const float* frequencies, int32_t rows,
                  const AttentionShape& shape) {
  if (kv.dtype() == DType::kF32) {
    Start<float>(device, qkv, kv, layer, places, frequencies, rows, shape);
  } else {
    Start<BFloat16>(device, qkv, kv, layer, places, frequencies, rows, shape);
  }
}

}  // namespace alcca::ALCCA_GPU
