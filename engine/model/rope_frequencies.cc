#include "engine/model/rope_frequencies.h"

#include <cmath>
#include <cstddef>

namespace alcca {

std::vector<float> RopeFrequencies(const ModelConfig& config) {
  const auto theta = static_cast<float>(config.rope_theta);
  std::vector<float> frequencies(static_cast<size_t>(config.head_dim / 2));
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(config.head_dim);
    frequencies[i] = 1.0f / std::pow(theta, exponent);
  }
  return frequencies;
}

}  // namespace alcca
