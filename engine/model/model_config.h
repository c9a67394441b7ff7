// What a Hugging Face model folder says about its model: config.json and generation_config.json.
// (Our own alcca.json: attention_file.h.)
//
// The Parse* functions are pure (text in, value or one-line error out) and never throw; the Load*
// functions read the file and call them. Every error names the file and the key:
//   config.json: 'hidden_size': expected an integer in [1, 1048576], found -4
// Codes: NotFound (no such file), InvalidArgument (malformed or out of range), Unimplemented
// (well-formed, but a model this engine does not run: another architecture, experts, ...).

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/model/model_family.h"
#include "engine/model/rope_scaling.h"

namespace alcca {

// Limits on what a config may ask for. They keep every product of dimensions inside int64_t.
inline constexpr int64_t kMaxModelDim = int64_t{1} << 20;
inline constexpr int64_t kMaxModelLayers = 1024;
inline constexpr int64_t kMaxModelVocab = int64_t{1} << 24;
inline constexpr int64_t kMaxModelPositions = int64_t{1} << 24;
inline constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;

// Whose names the checkpoint's tensors have.
enum class TensorNaming : uint8_t { kTransformers, kGguf };

// The shape of a model of one of kModelFamilies. Weights are row-major [out_features, in_features].
struct ModelConfig {
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;  // Even. hidden_size / num_heads unless the config gives it.
  int64_t vocab_size = 0;
  int64_t max_position_embeddings = 0;
  double rope_theta = 0.0;
  RopeScaling rope_scaling;
  double rms_norm_eps = 0.0;
  int64_t sliding_window = 0;  // Tokens, in every layer; 0 = none.
  bool qkv_bias = false;       // q_proj, k_proj and v_proj have biases.
  bool tie_word_embeddings = false;
  int32_t bos_token_id = -1;           // -1 = none.
  std::vector<int32_t> eos_token_ids;  // Ascending, unique; empty = none.
  std::string torch_dtype;   // As written ("bfloat16"), or as a ModelFolder found the tensors.
  std::string architecture;  // "MistralForCausalLM"; of kModelFamilies.
  TensorNaming tensor_names = TensorNaming::kTransformers;

  int64_t q_dim() const { return num_heads * head_dim; }      // Rows of q_proj, columns of o_proj.
  int64_t kv_dim() const { return num_kv_heads * head_dim; }  // Rows of k_proj and of v_proj.
  int64_t group_size() const { return num_heads / num_kv_heads; }  // Query heads per KV head.

  bool operator==(const ModelConfig&) const = default;
};

// Sampling defaults that the model's authors ship. An absent key stays nullopt.
struct GenerationConfig {
  std::optional<float> temperature;
  std::optional<float> top_p;
  std::optional<int32_t> top_k;
  std::optional<float> min_p;
  std::optional<float> repetition_penalty;
  std::optional<int32_t> max_new_tokens;
  std::optional<bool> do_sample;
  std::vector<int32_t> eos_token_ids;  // Ascending, unique. LoadModelConfig merges them in.
};

// Pure. `name` is how errors call the text, normally its path.
absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view json_text, std::string_view name);
absl::StatusOr<GenerationConfig> ParseGenerationConfig(std::string_view json_text,
                                                       std::string_view name);

// The ranges and relations that ParseModelConfig enforces, for configs built in code.
absl::Status CheckModelConfig(const ModelConfig& config, std::string_view name);

// config.json of the folder, with the end-of-sequence ids of generation_config.json (where there
// is one) merged into eos_token_ids.
absl::StatusOr<ModelConfig> LoadModelConfig(const std::string& dir);

// An optional file: a missing one is an empty value, a malformed one an error.
absl::StatusOr<GenerationConfig> LoadGenerationConfig(const std::string& dir);

// The row of config.architecture; Mistral's if a config built in code names none.
const ModelFamily& FamilyOf(const ModelConfig& config);

// The text that ParseModelConfig reads back as `config` (used by the checkpoint writer).
std::string ModelConfigToJson(const ModelConfig& config);

}  // namespace alcca
