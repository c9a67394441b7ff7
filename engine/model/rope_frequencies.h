#pragma once

#include <vector>

#include "engine/model/model_config.h"

namespace alcca {

// Radians per position by which RoPE (Su et al. 2021) turns pair i of a head, [head_dim / 2]:
// 1 / rope_theta^(2i / head_dim), scaled as config.rope_scaling says; in f32 as transformers
// computes it. Linear: Chen et al. 2023. llama3: Grattafiori et al. 2024. YaRN: Peng et al. 2023.
std::vector<float> RopeFrequencies(const ModelConfig& config);

}  // namespace alcca
