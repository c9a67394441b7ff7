#include "engine/model/model_config.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/status_macros.h"
#include "base/strict_json.h"
#include "nlohmann/json.hpp"

namespace alcca {
namespace {

constexpr int64_t kInt32Max = std::numeric_limits<int32_t>::max();

// Ids of a key that is an integer, a list of integers or null. Ascending and unique.
void ReadTokenIds(JsonReader& json, const char* key, std::vector<int32_t>* ids) {
  std::vector<int64_t> values;
  json.IntOrIntList(key, 0, kMaxModelVocab - 1, &values);
  ids->assign(values.begin(), values.end());
  std::sort(ids->begin(), ids->end());
  ids->erase(std::unique(ids->begin(), ids->end()), ids->end());
}

// Refuses what would load and then compute something other than this model.
absl::Status CheckSupported(JsonReader& json, ModelConfig* config) {
  std::vector<std::string> architectures;
  std::string model_type;
  std::string activation = "silu";
  bool attention_bias = false;
  bool mlp_bias = false;
  json.StringList("architectures", &architectures);
  json.String("model_type", &model_type);
  json.String("hidden_act", &activation);
  json.Bool("attention_bias", &attention_bias);
  json.Bool("mlp_bias", &mlp_bias);
  RETURN_IF_ERROR(json.status());
  config->architecture = "MistralForCausalLM";
  if (architectures.empty() ? model_type != "mistral"
                            : std::find(architectures.begin(), architectures.end(),
                                        config->architecture) == architectures.end()) {
    return json.Unsupported("architectures", "expected MistralForCausalLM");
  }
  if (activation != "silu") {
    return json.Unsupported("hidden_act", "expected silu");
  }
  if (attention_bias) {
    return json.Unsupported("attention_bias", "biases are not implemented");
  }
  if (mlp_bias) {
    return json.Unsupported("mlp_bias", "biases are not implemented");
  }
  if (json.Has("rope_scaling")) {
    return json.Unsupported("rope_scaling", "only null is implemented");
  }
  if (json.Has("quantization_config")) {
    return json.Unsupported("quantization_config", "expected F32, F16 or BF16 weights");
  }
  return absl::OkStatus();
}

// rope_theta stands at the top level, or (recent transformers) inside rope_parameters, or in both.
absl::Status ReadRope(JsonReader& json, ModelConfig* config) {
  constexpr double kMaxTheta = 1e12;
  double top = 0.0;
  if (json.Has("rope_theta")) {
    json.Number("rope_theta", 1.0, kMaxTheta, &top);
  }
  if (!json.Has("rope_parameters")) {
    if (top == 0.0) {
      json.Number("rope_theta", 1.0, kMaxTheta, &top);  // Reports it missing.
    }
    config->rope_theta = top;
    return json.status();
  }
  JsonReader rope = json.Object("rope_parameters");
  std::string type = "default";
  rope.String("rope_type", &type);
  rope.Number("rope_theta", 1.0, kMaxTheta, &config->rope_theta);
  rope.RefuseOtherKeys({"rope_type", "rope_theta"});
  RETURN_IF_ERROR(json.status());
  RETURN_IF_ERROR(rope.status());
  if (type != "default") {
    return rope.Unsupported("rope_type", "expected default");
  }
  if (top != 0.0 && top != config->rope_theta) {
    return rope.Invalid("rope_theta", "differs from the rope_theta of the top level");
  }
  return absl::OkStatus();
}

std::vector<int32_t> MergeIds(const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
  std::vector<int32_t> merged;
  std::set_union(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(merged));
  return merged;
}

absl::Status Relation(std::string_view name, const char* what) {
  return absl::InvalidArgumentError(
      absl::StrCat(absl::string_view(name.data(), name.size()), ": ", what));
}

}  // namespace

absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view json_text, std::string_view name) {
  ASSIGN_OR_RETURN(const nlohmann::json document, ParseStrictJson(json_text, name));
  JsonReader json(document, name);
  ModelConfig config;
  RETURN_IF_ERROR(CheckSupported(json, &config));
  json.Int("hidden_size", 1, kMaxModelDim, &config.hidden_size);
  json.Int("intermediate_size", 1, kMaxModelDim, &config.intermediate_size);
  json.Int("num_hidden_layers", 1, kMaxModelLayers, &config.num_layers);
  json.Int("num_attention_heads", 1, kMaxModelDim, &config.num_heads);
  config.num_kv_heads = config.num_heads;
  json.OptionalInt("num_key_value_heads", 1, kMaxModelDim, &config.num_kv_heads);
  json.Int("vocab_size", 1, kMaxModelVocab, &config.vocab_size);
  json.Int("max_position_embeddings", 1, kMaxModelPositions, &config.max_position_embeddings);
  json.Number("rms_norm_eps", 1e-20, 1.0, &config.rms_norm_eps);
  json.OptionalInt("sliding_window", 0, kMaxModelPositions, &config.sliding_window);
  json.Bool("tie_word_embeddings", &config.tie_word_embeddings);
  json.String("dtype", &config.torch_dtype);
  json.String("torch_dtype", &config.torch_dtype);
  int64_t bos = json.IsNull("bos_token_id") ? -1 : 1;  // Transformers' default for Mistral.
  json.OptionalInt("bos_token_id", 0, kMaxModelVocab - 1, &bos);
  config.bos_token_id = static_cast<int32_t>(bos);
  if (!json.Has("eos_token_id") && !json.IsNull("eos_token_id")) {
    config.eos_token_ids = {2};  // Likewise.
  } else {
    ReadTokenIds(json, "eos_token_id", &config.eos_token_ids);
  }
  if (json.Has("head_dim")) {
    json.Int("head_dim", 1, kMaxModelDim, &config.head_dim);
  } else if (config.num_heads > 0) {
    if (config.hidden_size % config.num_heads != 0) {
      return json.Invalid("num_attention_heads", "does not divide hidden_size, and no head_dim");
    }
    config.head_dim = config.hidden_size / config.num_heads;
  }
  RETURN_IF_ERROR(json.status());
  RETURN_IF_ERROR(ReadRope(json, &config));
  RETURN_IF_ERROR(CheckModelConfig(config, name));
  return config;
}

absl::Status CheckModelConfig(const ModelConfig& config, std::string_view name) {
  const auto bad_dim = [](int64_t dim) { return dim < 1 || dim > kMaxModelDim; };
  if (bad_dim(config.hidden_size) || bad_dim(config.intermediate_size) ||
      bad_dim(config.num_heads) || bad_dim(config.num_kv_heads) || bad_dim(config.head_dim)) {
    return Relation(name, "a dimension is outside [1, 1048576]");
  }
  if (config.num_layers < 1 || config.num_layers > kMaxModelLayers) {
    return Relation(name, "'num_hidden_layers' is outside [1, 1024]");
  }
  if (config.vocab_size < 1 || config.vocab_size > kMaxModelVocab) {
    return Relation(name, "'vocab_size' is outside [1, 16777216]");
  }
  if (config.max_position_embeddings < 1 || config.max_position_embeddings > kMaxModelPositions ||
      config.sliding_window < 0 || config.sliding_window > kMaxModelPositions) {
    return Relation(name, "'max_position_embeddings' or 'sliding_window' is out of range");
  }
  if (!(config.rope_theta >= 1.0) || !std::isfinite(config.rope_theta)) {
    return Relation(name, "'rope_theta' is not a number of at least 1");
  }
  if (!(config.rms_norm_eps > 0.0) || !(config.rms_norm_eps <= 1.0)) {
    return Relation(name, "'rms_norm_eps' is outside (0, 1]");
  }
  if (config.num_heads % config.num_kv_heads != 0) {
    return Relation(name, "'num_key_value_heads' does not divide num_attention_heads");
  }
  if (config.head_dim % 2 != 0) {
    return Relation(name, "'head_dim' is odd; rotary embeddings need pairs");
  }
  if (config.q_dim() > kMaxModelDim) {  // Two factors of at most 2^20: cannot overflow.
    return Relation(name, "'head_dim' times num_attention_heads is more than 1048576");
  }
  if (config.bos_token_id < -1 || config.bos_token_id >= config.vocab_size) {
    return Relation(name, "'bos_token_id' is not in the vocabulary");
  }
  for (int32_t id : config.eos_token_ids) {
    if (id < 0 || id >= config.vocab_size) {
      return Relation(name, "'eos_token_id' is not in the vocabulary");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<GenerationConfig> ParseGenerationConfig(std::string_view json_text,
                                                       std::string_view name) {
  ASSIGN_OR_RETURN(const nlohmann::json document, ParseStrictJson(json_text, name));
  JsonReader json(document, name);
  GenerationConfig config;
  // The ranges that requests have: a preset outside them would refuse every request that keeps it.
  json.OptionalFloat("temperature", 0.0, 100.0, &config.temperature);
  json.OptionalFloat("top_p", 1e-9, 1.0, &config.top_p);
  json.OptionalInt32("top_k", 0, 1 << 24, &config.top_k);
  json.OptionalFloat("min_p", 0.0, 1.0, &config.min_p);
  json.OptionalFloat("repetition_penalty", 1e-3, 10.0, &config.repetition_penalty);
  json.OptionalInt32("max_new_tokens", 1, kInt32Max, &config.max_new_tokens);
  if (json.Has("do_sample")) {
    json.Bool("do_sample", &config.do_sample.emplace());
  }
  ReadTokenIds(json, "eos_token_id", &config.eos_token_ids);
  RETURN_IF_ERROR(json.status());
  return config;
}

absl::StatusOr<ModelConfig> LoadModelConfig(const std::string& dir) {
  const std::string path = dir + "/config.json";
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kMaxConfigBytes));
  ASSIGN_OR_RETURN(ModelConfig config, ParseModelConfig(text, path));
  ASSIGN_OR_RETURN(const GenerationConfig generation, LoadGenerationConfig(dir));
  config.eos_token_ids = MergeIds(config.eos_token_ids, generation.eos_token_ids);
  RETURN_IF_ERROR(CheckModelConfig(config, dir + "/generation_config.json"));
  return config;
}

absl::StatusOr<GenerationConfig> LoadGenerationConfig(const std::string& dir) {
  const std::string path = dir + "/generation_config.json";
  const absl::StatusOr<std::string> text = ReadTextFile(path, kMaxConfigBytes);
  if (absl::IsNotFound(text.status())) {
    return GenerationConfig{};
  }
  if (!text.ok()) {
    return text.status();
  }
  return ParseGenerationConfig(*text, path);
}

std::string ModelConfigToJson(const ModelConfig& config) {
  nlohmann::ordered_json json;
  json["architectures"] = {config.architecture};
  json["model_type"] = "mistral";
  json["bos_token_id"] = nullptr;
  if (config.bos_token_id >= 0) {
    json["bos_token_id"] = config.bos_token_id;
  }
  json["eos_token_id"] = nullptr;
  if (config.eos_token_ids.size() == 1) {
    json["eos_token_id"] = config.eos_token_ids[0];
  }
  if (config.eos_token_ids.size() > 1) {
    json["eos_token_id"] = config.eos_token_ids;
  }
  json["hidden_act"] = "silu";
  json["hidden_size"] = config.hidden_size;
  json["intermediate_size"] = config.intermediate_size;
  json["num_hidden_layers"] = config.num_layers;
  json["num_attention_heads"] = config.num_heads;
  json["num_key_value_heads"] = config.num_kv_heads;
  json["head_dim"] = config.head_dim;
  json["vocab_size"] = config.vocab_size;
  json["max_position_embeddings"] = config.max_position_embeddings;
  json["rope_theta"] = config.rope_theta;
  json["rms_norm_eps"] = config.rms_norm_eps;
  json["sliding_window"] = nullptr;
  if (config.sliding_window > 0) {
    json["sliding_window"] = config.sliding_window;
  }
  json["tie_word_embeddings"] = config.tie_word_embeddings;
  json["torch_dtype"] = config.torch_dtype;
  // `replace`: dump() throws on text that is not UTF-8, and torch_dtype is free text.
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace alcca
