#include "kernels/reference/rope_reference.h"

#include <cmath>

#include "base/check.h"

namespace alcca {
namespace {

void Rotate(float* head, int32_t d, int32_t position, double factor,
            std::span<const float> frequencies) {
  for (int32_t i = 0; i < d / 2; ++i) {
    const double angle = static_cast<float>(position) * frequencies[static_cast<size_t>(i)];
    const double a = head[i], b = head[i + d / 2];
    const double cosine = std::cos(angle) * factor, sine = std::sin(angle) * factor;
    head[i] = static_cast<float>(a * cosine - b * sine);
    head[i + d / 2] = static_cast<float>(b * cosine + a * sine);
  }
}

}  // namespace

void RopeAndStoreReference(TensorView qkv, KvCacheHost& kv, int32_t layer, const Batch& batch,
                           const AttentionShape& shape, std::span<const float> frequencies) {
  const int32_t d = shape.head_dim, page_tokens = kv.shape().page_tokens;
  ALCCA_CHECK(qkv.cols == shape.qkv_cols() && qkv.rows == batch.tokens());
  ALCCA_CHECK(frequencies.size() == static_cast<size_t>(d / 2));
  for (const BatchSequence& sequence : batch.sequences) {
    for (int32_t r = 0; r < sequence.query_count; ++r) {
      const int32_t t = sequence.query_start + r;
      float* row = qkv.f32() + static_cast<size_t>(t) * static_cast<size_t>(qkv.cols);
      for (int32_t h = 0; h < shape.heads + shape.kv_heads; ++h) {
        Rotate(row + h * d, d, batch.positions[static_cast<size_t>(t)], shape.rope_attention_factor,
               frequencies);
      }
      const int32_t token = sequence.position(r);
      const int32_t page = sequence.pages[token / page_tokens];
      for (int32_t h = 0; h < shape.kv_heads; ++h) {
        for (int32_t i = 0; i < d; ++i) {
          const int32_t at = token % page_tokens * d + i;
          kv.Keys(layer, page, h)[at] = row[(shape.heads + h) * d + i];
          kv.Values(layer, page, h)[at] = row[(shape.heads + shape.kv_heads + h) * d + i];
        }
      }
    }
  }
}

}  // namespace alcca
