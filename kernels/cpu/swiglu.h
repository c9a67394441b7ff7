#pragma once

#include "kernels/cpu/thread_pool.h"
#include "kernels/tensor.h"

namespace alcca {

// out[t] = silu(gate) * up, with gate_up [tokens, 2 * ffn] = gate then up; out [tokens, ffn].
void SwiGluCpu(ThreadPool& pool, TensorView out, TensorView gate_up);

}  // namespace alcca
