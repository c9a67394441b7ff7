#pragma once

// MatMul of the CPU backend: out[t] (+)= weight . x[t] + bias over packed panels. Threads divide
// the output features among them, never the input features, so that the number of threads changes
// no bit of the result.

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/cpu_features.h"
#include "kernels/cpu/matmul_pack.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/host/host_memory.h"
#include "kernels/tensor.h"

namespace alcca {

const MatMulKernels& MatMulKernelsFor(CpuIsa isa);

// Packed activations of one MatMul. Grows when a matrix or a batch is the largest so far: reserved
// at start-up for every matrix made, so that a step within the limits allocates nothing.
class MatMulWorkspace {
 public:
  void Reserve(int32_t rows, int32_t cols, WeightDType dtype);

  std::byte* packed() const { return packed_.get(); }
  uint16_t* outliers() const { return reinterpret_cast<uint16_t*>(outliers_.get()); }
  float* scales() const { return reinterpret_cast<float*>(scales_.get()); }
  int32_t* outlier_counts() const { return reinterpret_cast<int32_t*>(counts_.get()); }

 private:
  static void Grow(HostMemory& memory, size_t& held, size_t bytes);

  HostMemory packed_, outliers_, scales_, counts_;
  size_t packed_bytes_ = 0, outlier_bytes_ = 0, scale_bytes_ = 0, count_bytes_ = 0;
};

// out [tokens, weight.rows], x [tokens, weight.cols]; they may not overlap.
void MatMulCpu(ThreadPool& pool, const MatMulKernels& kernels, MatMulWorkspace& workspace,
               TensorView out, TensorView x, const PackedMatrix& weight, Accumulate mode);

}  // namespace alcca
