#pragma once

// The products of many rows, which a library does best: cuBLASLt on a device
// (device/gemm_cublaslt.cu), plain loops in the emulator. Both keep this contract.

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "kernels/cuda/context.h"

namespace alcca::ALCCA_GPU {

class Gemm {
 public:
  // Takes its workspace from the budget and tries one product of each kind. `device` outlives it.
  // UNIMPLEMENTED: the library refuses a kind on this device.
  static absl::StatusOr<std::unique_ptr<Gemm>> Make(const DeviceContext& device);
  virtual ~Gemm() = default;

  // x [m, k] and w [n, k] with rows `stride` elements apart, stride a multiple of 64 and the
  // padding zero; out [m, n], n <= out's stride == n.
  struct Shape {
    int32_t m, n, k, stride;
  };
  // out (+)= x w^T, f32 sums in an order of the library's choice, which depends on m.
  virtual void BFloat16s(float* out, const BFloat16* x, const BFloat16* w, const Shape& shape,
                         bool add) = 0;
  // Tries an e4m3 product. UNIMPLEMENTED: the library refuses it on this device; Float8s is not to
  // be called.
  virtual absl::Status CheckFloat8s() = 0;
  // out[i, j] (+)= x_scales[i] w_scales[j] (x w^T)[i, j], sums as above. n is a multiple of 16.
  virtual void Float8s(float* out, const Float8* x, const float* x_scales, const Float8* w,
                       const float* w_scales, const Shape& shape, bool add) = 0;
  // out = x w^T exactly. n is a multiple of 4.
  virtual void Int8s(int32_t* out, const int8_t* x, const int8_t* w, const Shape& shape) = 0;
};

}  // namespace alcca::ALCCA_GPU
