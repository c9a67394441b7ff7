#pragma once

#include <span>

#include "kernels/cpu/thread_pool.h"
#include "kernels/tensor.h"

namespace alcca {

// out[t] = x[t] / sqrt(mean(x[t]^2) + eps) * weight; out may be x.
void RmsNormCpu(ThreadPool& pool, TensorView out, TensorView x, std::span<const float> weight,
                float eps);

}  // namespace alcca
