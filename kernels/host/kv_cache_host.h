#pragma once

// Paged keys and values in host memory, f32, shared by the reference and CPU backends.

#include <cstddef>
#include <cstring>
#include <memory>

#include "kernels/backend.h"

namespace alcca {

// Layout: [layer][K or V][page][kv_head][page_tokens][head_dim]. The tokens of one page of one KV
// head are contiguous, so that FAISS and the dense kernel read them in place.
class KvCacheHost final : public KvCache {
 public:
  explicit KvCacheHost(const KvShape& shape)
      : shape_(shape), data_(new float[FloatCount(shape)]) {}  // untouched pages cost no memory

  const KvShape& shape() const override { return shape_; }
  size_t bytes() const override { return FloatCount(shape_) * sizeof(float); }

  // [page_tokens, head_dim]
  float* Keys(int32_t layer, int32_t page, int32_t kv_head) const {
    return Block(layer, 0, page, kv_head);
  }
  float* Values(int32_t layer, int32_t page, int32_t kv_head) const {
    return Block(layer, 1, page, kv_head);
  }

 private:
  static size_t FloatCount(const KvShape& s) {
    return size_t{2} * s.layers * s.pages * s.kv_heads * s.page_tokens * s.head_dim;
  }
  float* Block(int32_t layer, int32_t value, int32_t page, int32_t kv_head) const {
    ALCCA_DCHECK(layer < shape_.layers && page < shape_.pages && kv_head < shape_.kv_heads);
    const size_t block =
        ((size_t{2} * layer + value) * shape_.pages + page) * shape_.kv_heads + kv_head;
    return data_.get() + block * shape_.page_tokens * shape_.head_dim;
  }

  KvShape shape_;
  std::unique_ptr<float[]> data_;
};

}  // namespace alcca
