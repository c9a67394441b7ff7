// Recorded log-probabilities of small checkpoints (tools/golden/make_family_golden.py) beside what
// a model computes.

#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace alcca::testing {

// The folders in `dir`, sorted: one for each case.
std::vector<std::string> GoldenCases(const std::string& dir);

// The largest difference, in nats, between the log-probabilities that `golden_path` records for the
// first `count` of its tokens and those of the model at `model_path`, loaded as f32 on `isa` (see
// LoadModel). Infinity if the model computes NaN.
float LogProbDifference(const std::string& model_path, const std::string& golden_path,
                        const std::string& isa, size_t count);

}  // namespace alcca::testing
