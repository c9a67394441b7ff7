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

// The family that config.json names: by its architecture, or else by its model type.
absl::StatusOr<const ModelFamily*> ReadFamily(JsonReader& json) {
  std::vector<std::string> architectures;
  std::string model_type;
  json.StringList("architectures", &architectures);
  json.String("model_type", &model_type);
  RETURN_IF_ERROR(json.status());
  if (architectures.empty()) {
    if (const ModelFamily* family = FindFamilyByModelType(model_type)) {
      return family;
    }
  }
  for (const std::string& architecture : architectures) {
    if (const ModelFamily* family = FindFamilyByArchitecture(architecture)) {
      return family;
    }
  }
  return json.Unsupported("architectures", "expected " + FamilyArchitectures());
}

// A key that makes another model of the same architecture, and its values that do not.
struct OtherModelKey {
  const char* key;
  const char* refusal;
};

// Flags: harmless if absent, null or false.
constexpr OtherModelKey kFlags[] = {
    {"attention_bias", "biases are not implemented"},
    {"mlp_bias", "biases are not implemented"},
    {"use_qk_norm", "norms of queries and keys are not implemented"},
    {"qk_norm", "norms of queries and keys are not implemented"},
    {"use_mrope", "expected false: only plain rotary embeddings are implemented"},
    {"alibi", "expected false: only rotary embeddings are implemented"},
};

// Values: harmless if absent, null or 0.
constexpr OtherModelKey kValues[] = {
    {"attn_logit_softcapping", "a cap on scores is not implemented"},
    {"final_logit_softcapping", "a cap on logits is not implemented"},
    {"num_local_experts", "experts are not implemented"},
    {"num_experts", "experts are not implemented"},
    {"n_routed_experts", "experts are not implemented"},
    {"clip_qkv", "a bound on queries, keys and values is not implemented"},
};

// Refuses what would load and then compute something other than this model.
absl::Status CheckSupported(JsonReader& json, const ModelFamily& family) {
  std::string activation = "silu";
  json.String("hidden_act", &activation);
  RETURN_IF_ERROR(json.status());
  if (activation != "silu" && activation != "swish") {
    return json.Unsupported("hidden_act", "expected silu");
  }
  for (const OtherModelKey& row : kFlags) {
    bool value = false;
    json.Bool(row.key, &value);
    RETURN_IF_ERROR(json.status());
    // Transformers reads no attention_bias of a family whose biases are fixed.
    if (value && !(family.qkv_bias && std::string_view(row.key) == "attention_bias")) {
      return json.Unsupported(row.key, row.refusal);
    }
  }
  for (const OtherModelKey& row : kValues) {
    double value = 0.0;
    json.OptionalNumber(row.key, 0.0, 1e12, &value);
    RETURN_IF_ERROR(json.status());
    if (value != 0.0) {
      return json.Unsupported(row.key, row.refusal);
    }
  }
  if (json.Has("quantization_config")) {
    return json.Unsupported("quantization_config", "expected F32, F16 or BF16 weights");
  }
  return absl::OkStatus();
}

// The window that every layer has. One in some layers only is refused.
absl::Status ReadWindow(JsonReader& json, const ModelFamily& family, ModelConfig* config) {
  if (family.window == WindowKeys::kNone) {
    return absl::OkStatus();
  }
  bool use = family.window == WindowKeys::kWindow;
  json.OptionalInt("sliding_window", 0, kMaxModelPositions, &config->sliding_window);
  int64_t full_layers = 0;  // the first ones, which see everything
  std::vector<std::string> layer_types;
  json.StringList("layer_types", &layer_types);
  if (family.window == WindowKeys::kWindowIfOn) {
    full_layers = 28;  // transformers' default
    json.Bool("use_sliding_window", &use);
    json.OptionalInt("max_window_layers", 0, kMaxModelLayers, &full_layers);
  }
  RETURN_IF_ERROR(json.status());
  const auto slides = [](const std::string& type) { return type == "sliding_attention"; };
  const auto sliding = std::count_if(layer_types.begin(), layer_types.end(), slides);
  const auto full = std::count(layer_types.begin(), layer_types.end(), "full_attention");
  if (sliding + full != static_cast<int64_t>(layer_types.size())) {
    return json.Unsupported("layer_types", "expected full_attention or sliding_attention");
  }
  if (sliding > 0 && full > 0) {
    return json.Unsupported("layer_types",
                            "a sliding window in some layers only is not implemented");
  }
  if (!layer_types.empty()) {
    use = sliding > 0;
  } else if (use && config->sliding_window > 0 && full_layers >= config->num_layers) {
    use = false;
  } else if (use && config->sliding_window > 0 && full_layers > 0) {
    return json.Unsupported("max_window_layers",
                            "a sliding window in some layers only is not implemented");
  }
  config->sliding_window = use ? config->sliding_window : 0;
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
  ASSIGN_OR_RETURN(const ModelFamily* const family, ReadFamily(json));
  config.architecture = std::string(family->architecture);
  config.qkv_bias = family->qkv_bias;
  RETURN_IF_ERROR(CheckSupported(json, *family));
  json.Int("hidden_size", 1, kMaxModelDim, &config.hidden_size);
  json.Int("intermediate_size", 1, kMaxModelDim, &config.intermediate_size);
  json.Int("num_hidden_layers", 1, kMaxModelLayers, &config.num_layers);
  json.Int("num_attention_heads", 1, kMaxModelDim, &config.num_heads);
  const bool many = family->num_kv_heads == 0 || json.IsNull("num_key_value_heads");
  config.num_kv_heads = many ? config.num_heads : family->num_kv_heads;
  json.OptionalInt("num_key_value_heads", 1, kMaxModelDim, &config.num_kv_heads);
  json.Int("vocab_size", 1, kMaxModelVocab, &config.vocab_size);
  json.Int("max_position_embeddings", 1, kMaxModelPositions, &config.max_position_embeddings);
  json.Number("rms_norm_eps", 1e-20, 1.0, &config.rms_norm_eps);
  json.Bool("tie_word_embeddings", &config.tie_word_embeddings);
  json.String("dtype", &config.torch_dtype);
  json.String("torch_dtype", &config.torch_dtype);
  int64_t bos = json.IsNull("bos_token_id") ? -1 : family->bos_token_id;
  json.OptionalInt("bos_token_id", 0, kMaxModelVocab - 1, &bos);
  config.bos_token_id = static_cast<int32_t>(bos);
  if (family->eos_token_id >= 0 && !json.IsNull("eos_token_id")) {
    config.eos_token_ids = {family->eos_token_id};
  }
  if (json.Has("eos_token_id")) {
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
  RETURN_IF_ERROR(ReadWindow(json, *family, &config));
  RETURN_IF_ERROR(
      ReadRope(json, config.max_position_embeddings, &config.rope_theta, &config.rope_scaling));
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

const ModelFamily& FamilyOf(const ModelConfig& config) {
  const ModelFamily* family = FindFamilyByArchitecture(config.architecture);
  return family != nullptr ? *family : kModelFamilies[0];
}

namespace {

// What ReadRope reads back; divisors of frequencies have no spelling here.
nlohmann::ordered_json RopeScalingToJson(const RopeScaling& scaling) {
  nlohmann::ordered_json json;
  switch (scaling.type) {
    case RopeType::kDefault:
      return nullptr;
    case RopeType::kLinear:
      json["rope_type"] = "linear";
      break;
    case RopeType::kLlama3:
      json["rope_type"] = "llama3";
      json["low_freq_factor"] = scaling.low_freq_factor;
      json["high_freq_factor"] = scaling.high_freq_factor;
      break;
    case RopeType::kYarn:
      json["rope_type"] = "yarn";
      json["beta_fast"] = scaling.beta_fast;
      json["beta_slow"] = scaling.beta_slow;
      json["truncate"] = scaling.truncate;
      json["attention_factor"] = scaling.attention_factor;
      break;
  }
  json["factor"] = scaling.factor;
  if (scaling.original_positions > 0) {
    json["original_max_position_embeddings"] = scaling.original_positions;
  }
  return json;
}

}  // namespace

std::string ModelConfigToJson(const ModelConfig& config) {
  nlohmann::ordered_json json;
  const ModelFamily& family = FamilyOf(config);
  json["architectures"] = {config.architecture};
  json["model_type"] = std::string(family.model_type);
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
  json["rope_scaling"] = RopeScalingToJson(config.rope_scaling);
  json["rms_norm_eps"] = config.rms_norm_eps;
  json["sliding_window"] = nullptr;
  if (config.sliding_window > 0) {
    json["sliding_window"] = config.sliding_window;
  }
  if (family.window == WindowKeys::kWindowIfOn) {
    json["use_sliding_window"] = config.sliding_window > 0;
    json["max_window_layers"] = 0;
  }
  json["tie_word_embeddings"] = config.tie_word_embeddings;
  json["torch_dtype"] = config.torch_dtype;
  // `replace`: dump() throws on text that is not UTF-8, and torch_dtype is free text.
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace alcca
