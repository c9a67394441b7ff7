#pragma once

// What the metadata of a GGUF says about its model.

#include "absl/status/statusor.h"
#include "engine/checkpoint/gguf.h"
#include "engine/model/model_config.h"

namespace alcca {

// Of a file of an architecture of kModelFamilies. Codes as ParseModelConfig's; an error names the
// file and the key. Metadata keys: llama.cpp's gguf-py/gguf/constants.py.
absl::StatusOr<ModelConfig> ReadGgufConfig(const GgufModel& model);

// d of the heads whose rows of q and k stand in llama.cpp's order; 0: none does.
int64_t GgufRotatedHeadDim(const ModelConfig& config);

}  // namespace alcca
