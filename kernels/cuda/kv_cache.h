#pragma once

// Paged keys and values in device memory.

#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/backend.h"
#include "kernels/cuda/device_words/runtime.h"

namespace alcca::ALCCA_GPU {

inline constexpr int32_t kHeadDimMax = 256;  // that attention holds in registers

// Layout: [layer][K or V][page][kv_head][page_tokens][head_dim], as on the host. Elements are bf16
// (kBF16, what a card serves with) or f32 (kF32, twice the bytes; what conformance compares
// exactly).
class KvCacheCuda final : public KvCache {
 public:
  KvCacheCuda(const KvShape& shape, DType dtype, DeviceArray data)
      : shape_(shape), dtype_(dtype), data_(std::move(data)) {}
  static size_t Bytes(const KvShape& s, DType dtype) {
    return s.PageBytes(DTypeBytes(dtype)) * static_cast<size_t>(s.pages);
  }

  const KvShape& shape() const override { return shape_; }
  size_t bytes() const override { return Bytes(shape_, dtype_); }
  DType dtype() const { return dtype_; }
  // [page][kv_head][page_tokens][head_dim] of one layer; E matches dtype().
  template <typename E>
  E* Keys(int32_t layer) const {
    return Part<E>(2 * layer);
  }
  template <typename E>
  E* Values(int32_t layer) const {
    return Part<E>(2 * layer + 1);
  }

 private:
  template <typename E>
  E* Part(int32_t part) const {
    ALCCA_DCHECK(sizeof(E) == DTypeBytes(dtype_));
    const size_t elements =
        size_t(shape_.pages) * shape_.kv_heads * shape_.page_tokens * shape_.head_dim;
    return data_.as<E>() + elements * static_cast<size_t>(part);
  }

  KvShape shape_;
  DType dtype_;
  DeviceArray data_;
};

}  // namespace alcca::ALCCA_GPU
