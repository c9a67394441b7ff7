#include "kernels/cpu/rope.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/check.h"

namespace alcca {
namespace {

constexpr int32_t kRopeRowsPerTask = 8;
using Pairs = std::array<float, kRopePairsMax>;

void Rotate(float* head, int32_t half, const Pairs& cos, const Pairs& sin) {
  for (int32_t i = 0; i < half; ++i) {
    const float a = head[i], b = head[half + i];
    head[i] = a * cos[static_cast<size_t>(i)] - b * sin[static_cast<size_t>(i)];
    head[half + i] = b * cos[static_cast<size_t>(i)] + a * sin[static_cast<size_t>(i)];
  }
}

struct Step {
  TensorView qkv;
  KvCacheHost& kv;
  int32_t layer;
  const Batch& batch;
  const AttentionShape& shape;
  std::span<const float> frequencies;
};

void RotateAndStoreRow(const Step& s, const BatchSequence& sequence, int32_t t) {
  const int32_t d = s.shape.head_dim, half = d / 2;
  const int32_t position = s.batch.positions[static_cast<size_t>(t)];
  Pairs cos, sin;
  for (int32_t i = 0; i < half; ++i) {
    const float angle = static_cast<float>(position) * s.frequencies[static_cast<size_t>(i)];
    cos[static_cast<size_t>(i)] = std::cos(angle) * s.shape.rope_attention_factor;
    sin[static_cast<size_t>(i)] = std::sin(angle) * s.shape.rope_attention_factor;
  }
  float* row = s.qkv.f32() + static_cast<size_t>(t) * static_cast<size_t>(s.qkv.cols);
  for (int32_t h = 0; h < s.shape.heads + s.shape.kv_heads; ++h) {
    Rotate(row + h * d, half, cos, sin);
  }
  const int32_t token = sequence.position(t - sequence.query_start);
  const int32_t page_tokens = s.kv.shape().page_tokens;
  const int32_t page = sequence.pages[token / page_tokens];
  const size_t at = static_cast<size_t>(token % page_tokens) * static_cast<size_t>(d);
  const float* k = row + s.shape.heads * d;
  const float* v = k + s.shape.kv_heads * d;
  const size_t bytes = static_cast<size_t>(d) * sizeof(float);
  for (int32_t h = 0; h < s.shape.kv_heads; ++h) {
    std::memcpy(s.kv.Keys(s.layer, page, h) + at, k + h * d, bytes);
    std::memcpy(s.kv.Values(s.layer, page, h) + at, v + h * d, bytes);
  }
}

}  // namespace

void RopeAndStoreCpu(ThreadPool& pool, TensorView qkv, KvCacheHost& kv, int32_t layer,
                     const Batch& batch, const AttentionShape& shape,
                     std::span<const float> frequencies) {
  const int32_t d = shape.head_dim;
  ALCCA_CHECK(qkv.dtype == DType::kF32 && qkv.cols == shape.qkv_cols());
  ALCCA_CHECK(qkv.rows == batch.tokens() && batch.positions.size() == batch.token_ids.size());
  ALCCA_CHECK(d % 2 == 0 && d / 2 <= kRopePairsMax);
  ALCCA_CHECK(frequencies.size() == static_cast<size_t>(d / 2));
  ALCCA_CHECK(kv.shape().head_dim == d && kv.shape().kv_heads == shape.kv_heads);
  ALCCA_CHECK(layer >= 0 && layer < kv.shape().layers);
  const Step step = {.qkv = qkv,
                     .kv = kv,
                     .layer = layer,
                     .batch = batch,
                     .shape = shape,
                     .frequencies = frequencies};
  pool.ParallelFor((qkv.rows + kRopeRowsPerTask - 1) / kRopeRowsPerTask, [&](int32_t task) {
    const int32_t begin = task * kRopeRowsPerTask,
                  end = std::min(qkv.rows, begin + kRopeRowsPerTask);
    for (const BatchSequence& sequence : batch.sequences) {
      const int32_t last = std::min(end, sequence.query_start + sequence.query_count);
      for (int32_t t = std::max(begin, sequence.query_start); t < last; ++t) {
        RotateAndStoreRow(step, sequence, t);
      }
    }
  });
}

}  // namespace alcca
