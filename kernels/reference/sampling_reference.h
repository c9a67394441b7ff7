#pragma once

#include <span>
#include <vector>

#include "kernels/sampling.h"
#include "kernels/tensor.h"

namespace alcca {

// The probability of each token to be drawn, [vocab]; empty where the row fails.
std::vector<double> DistributionReference(std::span<const float> logits, const SamplingRow& row);

// Backend::Sample.
void SampleReference(std::span<SampledRow> results, TensorView logits,
                     std::span<const SamplingRow> rows);

}  // namespace alcca
