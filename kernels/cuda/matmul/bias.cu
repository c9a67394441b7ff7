// The bias of a product that a library made: 12 bytes an output, beside 2 k of its product.

#include "kernels/cuda/matmul/matmul_kernels.h"

namespace alcca::ALCCA_GPU {
namespace {

constexpr int32_t kBiasThreads = 256;

__global__ void AddBiasKernel(float* out, const float* bias, int32_t n) {
  const int32_t feature =
      static_cast<int32_t>(blockIdx.y) * kBiasThreads + static_cast<int32_t>(threadIdx.x);
  if (feature < n) {
    float& y = out[static_cast<size_t>(blockIdx.x) * n + feature];
    y = WithBias(y, bias, feature);
  }
}

}  // namespace

void AddBias(const DeviceContext& device, float* out, int32_t m, const MatrixCuda& weight) {
  if (weight.bias() == nullptr) {
    return;
  }
  const int32_t n = weight.rows();
  Launch(AddBiasKernel,
         {.name = "add_bias",
          .grid = dim3(static_cast<unsigned>(m),
                       static_cast<unsigned>((n + kBiasThreads - 1) / kBiasThreads)),
          .block = kBiasThreads,
          .stream = device.stream},
         out, weight.bias(), n);
}

}  // namespace alcca::ALCCA_GPU
