#pragma once

// A checkpoint on a bench's device.

#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "base/status_macros.h"
#include "bench/device.h"
#include "engine/model/model_folder.h"

namespace alcca {

inline absl::StatusOr<std::unique_ptr<Model>> LoadBenchModel(const ModelFolder& folder,
                                                             const BenchDevice& device,
                                                             const ModelOptions& options,
                                                             SamplingLimits sampling = {}) {
  ASSIGN_OR_RETURN(auto backend, MakeBenchBackend(device, options.max_batch_tokens, sampling));
  return LoadModel(folder, std::move(backend), options, nullptr);
}

}  // namespace alcca
