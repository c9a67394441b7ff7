#pragma once

// From configuration and files to an engine: everything that can be wrong with a checkpoint or with
// how much memory it wants is found here, before anything large is allocated.

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "engine/model/memory_plan.h"
#include "engine/model/model_folder.h"
#include "engine/model/model_options.h"
#include "engine/text/tokenizer.h"
#include "server/api/intake.h"
#include "server/config.h"

namespace alcca {

// The folder of --model, or the embedded model beside this executable.
absl::StatusOr<std::string> FindModelDir(const std::string& configured);

// A checkpoint that has passed every check, and how it will be loaded.
struct ModelPlan {
  ModelFolder folder;
  AttentionParams attention;  // of requests that do not say: configuration > alcca.json > built in
  ModelOptions options;
  ModelFootprint footprint;
  bool on_cuda = false;
  size_t available_bytes = 0;  // for all of the footprint: of the host, or of the card's budget
  int32_t max_context = 0;
};
absl::StatusOr<ModelPlan> PlanModel(const ServerConfig& config);

struct LoadedModel {
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<CompilePool> constraints;  // before the engine in its end: it submits to it
  Serving serving;
  double load_seconds = 0;
  int64_t weight_bytes = 0;
  int32_t kv_pages = 0;
};
absl::StatusOr<std::unique_ptr<LoadedModel>> LoadModel(const ServerConfig& config, ModelPlan plan,
                                                       EventSink* sink);

}  // namespace alcca
