#pragma once

// Element types and non-owning views shared by every backend.

#include <cstddef>
#include <cstdint>

#include "base/check.h"

namespace alcca {

enum class DType : uint8_t { kF32, kF16, kBF16 };

constexpr size_t DTypeBytes(DType dtype) {
  return dtype == DType::kF32 ? 4 : 2;
}

// Row-major [rows, cols], dense (stride == cols), non-owning, in the memory of the backend that
// made it: only host tensors may be dereferenced above kernels/.
struct TensorView {
  void* data = nullptr;
  DType dtype = DType::kF32;
  int32_t rows = 0;
  int32_t cols = 0;

  float* f32() const {
    ALCCA_DCHECK(dtype == DType::kF32);
    return static_cast<float*>(data);
  }
  // The first `count` rows.
  TensorView Head(int32_t count) const {
    ALCCA_DCHECK(count <= rows);
    return {data, dtype, count, cols};
  }
};

// The rows of a tensor that is not stored as an array of one DType: blocks of quantised weights, or
// rows in another order.
class RowSource {
 public:
  virtual ~RowSource() = default;
  // Row `row` as f32, [cols]. Several threads may call it at once.
  virtual void ReadRow(int32_t row, float* out) const = 0;
};

// A tensor in host memory as a checkpoint stores it: row-major [rows, cols]; a vector has one row.
// It needs no alignment.
struct HostTensor {
  const std::byte* data = nullptr;  // null if the rows come from `source`
  DType dtype = DType::kF32;        // of `data`; with a source, what an embedding is kept in
  int32_t rows = 0;
  int32_t cols = 0;
  const RowSource* source = nullptr;

  bool empty() const { return data == nullptr && source == nullptr; }
};

}  // namespace alcca
