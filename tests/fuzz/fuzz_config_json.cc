// libFuzzer: config.json, generation_config.json and alcca.json, all from the same text.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "engine/model/attention_file.h"
#include "engine/model/model_config.h"
#include "engine/model/tensor_table.h"

namespace {

void Require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

void CheckLine(const absl::Status& status) {
  Require(status.message().find('\n') == std::string_view::npos);
}

void CheckModel(const alcca::ModelConfig& config) {
  Require(alcca::CheckModelConfig(config, "f").ok());
  Require(config.q_dim() >= config.kv_dim() && config.kv_dim() >= 1);
  Require(std::isfinite(config.rope_theta) && config.rms_norm_eps > 0.0);
  for (const int32_t id : config.eos_token_ids) {
    Require(id >= 0 && id < config.vocab_size);
  }
  // What is written from an accepted config reads back as the same config. (torch_dtype is free
  // text; the writer replaces what is not UTF-8, which a parsed text cannot hold.)
  const auto again = alcca::ParseModelConfig(alcca::ModelConfigToJson(config), "f");
  Require(again.ok() && *again == config);
  const alcca::TensorTable table(config);
  for (const alcca::TensorSpec& spec : table.tensors()) {
    int64_t count = 1;
    for (const int64_t dim : spec.shape) {
      Require(!__builtin_mul_overflow(count, dim, &count));
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto model = alcca::ParseModelConfig(text, "f");
  if (model.ok()) {
    CheckModel(*model);
  }
  CheckLine(model.status());
  const auto generation = alcca::ParseGenerationConfig(text, "f");
  Require(!generation.ok() || !generation->temperature || *generation->temperature >= 0.0f);
  CheckLine(generation.status());
  alcca::ModelConfig one_head;
  one_head.num_layers = one_head.num_heads = 1;
  const auto attention = alcca::ParseAttentionFile(text, "f", one_head);
  CheckLine(attention.status());
  if (attention.ok()) {
    const alcca::AttentionParams params = alcca::Resolve({&*attention});
    for (const alcca::Knob& knob : alcca::kKnobs) {
      Require(alcca::RuleBrokenBy(knob, alcca::Get(knob, params)).empty());
    }
  }
  return 0;
}
