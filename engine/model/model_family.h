#pragma once

// The model families that the one layer loop runs. A family is a row: how its config.json is read,
// and what its layers have.

#include <cstdint>
#include <string>
#include <string_view>

namespace alcca {

// Which keys of config.json say that attention sees a sliding window only.
enum class WindowKeys : uint8_t {
  kNone,        // transformers reads none
  kWindow,      // sliding_window
  kWindowIfOn,  // sliding_window, if use_sliding_window is true; from layer max_window_layers on
};

struct ModelFamily {
  std::string_view model_type;    // config.json's 'model_type'
  std::string_view architecture;  // of config.json's 'architectures'
  std::string_view gguf;          // a GGUF's 'general.architecture'; empty if there is no such file
  bool qkv_bias;                  // q_proj, k_proj and v_proj have biases
  WindowKeys window;
  // What transformers takes if config.json lacks the key.
  int64_t num_kv_heads;  // 0: as many as query heads
  int32_t bos_token_id;  // -1: none
  int32_t eos_token_id;  // -1: none
};

// Mixtral, Qwen3, Gemma and others have layers of another kind: they are not rows.
inline constexpr ModelFamily kModelFamilies[] = {
    {"mistral", "MistralForCausalLM", "", false, WindowKeys::kWindow, 8, 1, 2},
    {"ministral", "MinistralForCausalLM", "", false, WindowKeys::kWindow, 8, 1, 2},
    {"llama", "LlamaForCausalLM", "llama", false, WindowKeys::kNone, 0, 1, 2},
    {"qwen2", "Qwen2ForCausalLM", "qwen2", true, WindowKeys::kWindowIfOn, 32, -1, -1},
};

// nullptr if no row has it.
const ModelFamily* FindFamilyByArchitecture(std::string_view architecture);
const ModelFamily* FindFamilyByModelType(std::string_view model_type);
const ModelFamily* FindFamilyByGguf(std::string_view gguf);

// "MistralForCausalLM, ... or Qwen2ForCausalLM", for error messages.
std::string FamilyArchitectures();

}  // namespace alcca
