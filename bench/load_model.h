#pragma once

// A checkpoint on a bench's device.

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/status_macros.h"
#include "bench/device.h"
#include "engine/model/mistral_model.h"
#include "engine/model/tensor_table.h"

namespace alcca {

inline absl::StatusOr<std::unique_ptr<MistralModel>> LoadBenchModel(const std::string& dir,
                                                                    const ModelConfig& config,
                                                                    const BenchDevice& device,
                                                                    const MistralOptions& options,
                                                                    SamplingLimits sampling = {}) {
  ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::Open(dir));
  RETURN_IF_ERROR(TensorTable(config).Validate(*checkpoint));
  ASSIGN_OR_RETURN(auto backend, MakeBenchBackend(device, options.max_batch_tokens, sampling));
  return MistralModel::Load(*checkpoint, config, std::move(backend), options, nullptr);
}

}  // namespace alcca
