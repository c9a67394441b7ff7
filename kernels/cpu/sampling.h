#pragma once

// Sampling on the host: rows over the pool's threads, each row by one thread.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "kernels/sampling.h"
#include "kernels/tensor.h"

namespace alcca {

class RowSampler;  // of one thread: 24 bytes a token of the vocabulary

class SamplerCpu {
 public:
  // Uses one thread per eight rows of the largest call, so that scratch memory stays below that of
  // the logits. Without limits, the first call takes the scratch memory.
  SamplerCpu(ThreadPool& pool, const SamplingLimits& limits);
  ~SamplerCpu();

  // Backend::Sample.
  void Sample(std::span<SampledRow> results, TensorView logits, std::span<const SamplingRow> rows);

 private:
  ThreadPool& pool_;
  std::vector<std::unique_ptr<RowSampler>> workers_;
};

}  // namespace alcca
