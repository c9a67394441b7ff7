#pragma once

#include <vector>

#include "engine/model/model_config.h"

namespace alcca {

// Radians per position by which RoPE (Su et al. 2021) turns pair i of a head, [head_dim / 2]:
// 1 / rope_theta^(2i / head_dim), in f32 as transformers computes it.
std::vector<float> RopeFrequencies(const ModelConfig& config);

}  // namespace alcca
