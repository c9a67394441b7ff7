#include "engine/model/rope_frequencies.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>

namespace alcca {
namespace {

// Long waves are divided by the factor, short ones stay, and those between are mixed.
float Llama3(const RopeScaling& s, float frequency) {
  const auto original = static_cast<float>(s.original_positions);
  const auto factor = static_cast<float>(s.factor);
  const auto low = static_cast<float>(s.low_freq_factor);
  const auto high = static_cast<float>(s.high_freq_factor);
  const float wave = static_cast<float>(2.0 * std::numbers::pi) / frequency;
  if (wave > original / low) {
    return frequency / factor;
  }
  if (wave < original / high) {
    return frequency;
  }
  const float smooth = (original / wave - low) / (high - low);
  return (1.0f - smooth) * frequency / factor + smooth * frequency;
}

// The pair that makes `rotations` turns within the context before scaling.
double YarnPair(const RopeScaling& s, const ModelConfig& config, double rotations) {
  return static_cast<double>(config.head_dim) *
         std::log(static_cast<double>(s.original_positions) / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(config.rope_theta));
}

// Pairs below `low` keep their frequency, pairs above `high` have it divided by the factor.
void ApplyYarn(const RopeScaling& s, const ModelConfig& config, std::vector<float>* frequencies) {
  double low = YarnPair(s, config, s.beta_fast), high = YarnPair(s, config, s.beta_slow);
  if (s.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(config.head_dim - 1));
  high = low == high ? high + 0.001 : high;
  for (size_t i = 0; i < frequencies->size(); ++i) {
    float& frequency = (*frequencies)[i];
    const float ramp = std::clamp(
        (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low), 0.0f,
        1.0f);
    const float interpolated = 1.0f / (static_cast<float>(s.factor) / frequency);
    frequency = interpolated * ramp + frequency * (1.0f - ramp);
  }
}

}  // namespace

std::vector<float> RopeFrequencies(const ModelConfig& config) {
  const RopeScaling& scaling = config.rope_scaling;
  const auto theta = static_cast<float>(config.rope_theta);
  std::vector<float> frequencies(static_cast<size_t>(config.head_dim / 2));
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(config.head_dim);
    frequencies[i] = 1.0f / std::pow(theta, exponent);
    if (scaling.type == RopeType::kLinear) {
      frequencies[i] /= static_cast<float>(scaling.factor);
    } else if (scaling.type == RopeType::kLlama3) {
      frequencies[i] = Llama3(scaling, frequencies[i]);
    }
  }
  if (scaling.type == RopeType::kYarn) {
    ApplyYarn(scaling, config, &frequencies);
  }
  for (size_t i = 0; i < scaling.divisors.size() && i < frequencies.size(); ++i) {
    frequencies[i] /= scaling.divisors[i];
  }
  return frequencies;
}

}  // namespace alcca
