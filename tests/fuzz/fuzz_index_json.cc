// libFuzzer: model.safetensors.index.json.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "engine/checkpoint/checkpoint.h"

namespace {

void Require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto index = alcca::ParseCheckpointIndex(text, "f");
  if (!index.ok()) {
    Require(index.status().message().find('\n') == std::string_view::npos);
    return 0;
  }
  Require(!index->shards.empty() && index->shards.size() <= alcca::kMaxShards);
  for (const std::string& shard : index->shards) {
    Require(shard.find('/') == std::string::npos && shard.find('\0') == std::string::npos);
    Require(shard.size() <= 255 && shard != "." && shard != "..");
  }
  const std::string* previous = nullptr;
  for (const auto& [tensor, shard] : index->weight_map) {
    Require(shard < index->shards.size());
    Require(previous == nullptr || *previous < tensor);
    previous = &tensor;
  }
  return 0;
}
