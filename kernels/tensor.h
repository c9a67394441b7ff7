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

// A tensor in host memory as a checkpoint stores it: row-major [rows, cols]; a vector has one row.
struct HostTensor {
  const std::byte* data = nullptr;
  DType dtype = DType::kF32;
  int32_t rows = 0;
  int32_t cols = 0;
};

}  // namespace alcca
