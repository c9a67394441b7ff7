#pragma once

// alcca.json: what a model's own folder says about attention. Its keys are `mode`, `search` and the
// names of RequestKnobs(); `theta` and `k` may be tables, a list of query heads for each layer.

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "attention/settings.h"
#include "engine/model/model_config.h"

namespace alcca {

// Pure. `name` is how errors call the text, normally its path; tables must have a row for each
// layer and a column for each query head of `model`. INVALID_ARGUMENT names file and key.
absl::StatusOr<AttentionSettings> ParseAttentionFile(std::string_view json_text,
                                                     std::string_view name,
                                                     const ModelConfig& model);

// alcca.json of the folder. A missing file says nothing.
absl::StatusOr<AttentionSettings> LoadAttentionFile(const std::string& dir,
                                                    const ModelConfig& model);

}  // namespace alcca
