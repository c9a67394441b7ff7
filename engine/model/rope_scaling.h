#pragma once

// How a model's rotary embeddings are scaled beyond the context of its first training.

#include <cstdint>
#include <vector>

#include "absl/status/status.h"

namespace alcca {

class JsonReader;

enum class RopeType : uint8_t { kDefault, kLinear, kLlama3, kYarn };

// Names, defaults and formulas are those of transformers' modeling_rope_utils.
struct RopeScaling {
  RopeType type = RopeType::kDefault;
  double factor = 1.0;
  int64_t original_positions = 0;    // llama3, yarn: the context before scaling, in tokens
  double low_freq_factor = 1.0;      // llama3
  double high_freq_factor = 4.0;     // llama3
  double beta_fast = 32.0;           // yarn: rotations of a pair that is not interpolated
  double beta_slow = 1.0;            // yarn: rotations of a pair that is interpolated wholly
  bool truncate = true;              // yarn: that range is rounded to whole pairs
  double attention_factor = 1.0;     // yarn: cosines and sines are multiplied by it
  std::vector<float> divisors = {};  // [head_dim / 2], of each frequency; empty: all 1

  bool operator==(const RopeScaling&) const = default;
};

// Reads theta and scaling from a config.json, in every spelling that transformers has written:
// rope_theta at the top level or inside, rope_scaling or rope_parameters, type or rope_type.
// `positions` is max_position_embeddings. A type that we do not compute is UNIMPLEMENTED; `dynamic`
// is accepted, because it changes nothing up to max_position_embeddings.
absl::Status ReadRope(JsonReader& json, int64_t positions, double* theta, RopeScaling* scaling);

// The factor that YaRN (Peng et al. 2023) puts on cosines and sines if nothing else is said:
// 0.1 mscale ln(factor) + 1.
double YarnAttentionFactor(double factor, double mscale = 1.0);

}  // namespace alcca
