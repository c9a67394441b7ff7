#include "engine/model/model_config.h"

#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "gtest/gtest.h"
#include "tests/testing/checkpoint_writer.h"

namespace alcca {
namespace {

using testing::ExpectError;
using testing::TempDir;
using testing::TinyModelConfig;

// config.json of Mistral-7B-Instruct-v0.3 as published.
constexpr char kMistral7B[] = R"({
  "architectures": [
    "MistralForCausalLM"
  ],
  "attention_dropout": 0.0,
  "bos_token_id": 1,
  "eos_token_id": 2,
  "hidden_act": "silu",
  "hidden_size": 4096,
  "initializer_range": 0.02,
  "intermediate_size": 14336,
  "max_position_embeddings": 32768,
  "model_type": "mistral",
  "num_attention_heads": 32,
  "num_hidden_layers": 32,
  "num_key_value_heads": 8,
  "rms_norm_eps": 1e-05,
  "rope_theta": 1000000.0,
  "sliding_window": null,
  "tie_word_embeddings": false,
  "torch_dtype": "bfloat16",
  "transformers_version": "4.42.0.dev0",
  "use_cache": true,
  "vocab_size": 32768
}
)";

// The published text with one key's value replaced, or (value empty) the key's line removed.
std::string With(const std::string& key, const std::string& value) {
  std::string text = kMistral7B;
  const size_t begin = text.find("  \"" + key + "\":");
  EXPECT_NE(begin, std::string::npos) << key;
  size_t end = text.find("\n  \"", begin);  // Start of the next key's line.
  if (end == std::string::npos) {
    end = text.find("\n}", begin);
  }
  const bool last = text[end - 1] != ',';
  if (value.empty()) {
    return last ? text.erase(begin - 2, end - begin + 2) : text.erase(begin, end + 1 - begin);
  }
  return text.replace(begin, end - begin,
                      absl::StrCat("  \"", key, "\": ", value, last ? "" : ","));
}

// The published text with another line put before the others.
std::string Plus(const std::string& line) {
  std::string text = kMistral7B;
  return text.insert(1, line + ",");
}

void ExpectConfigError(const absl::Status& status, absl::StatusCode code, const std::string& says) {
  EXPECT_EQ(status.code(), code) << status;
  const std::string message(status.message());
  EXPECT_NE(message.find(says), std::string::npos) << "no " << says << " in: " << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
}

TEST(ModelConfigTest, ReadsMistral7B) {
  const auto config = ParseModelConfig(kMistral7B, "config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->hidden_size, 4096);
  EXPECT_EQ(config->intermediate_size, 14336);
  EXPECT_EQ(config->num_layers, 32);
  EXPECT_EQ(config->num_heads, 32);
  EXPECT_EQ(config->num_kv_heads, 8);
  EXPECT_EQ(config->group_size(), 4);
  EXPECT_EQ(config->head_dim, 128);
  EXPECT_EQ(config->q_dim(), 4096);
  EXPECT_EQ(config->kv_dim(), 1024);
  EXPECT_EQ(config->vocab_size, 32768);
  EXPECT_EQ(config->max_position_embeddings, 32768);
  EXPECT_EQ(config->rope_theta, 1e6);
  EXPECT_EQ(config->rms_norm_eps, 1e-5);
  EXPECT_EQ(config->sliding_window, 0);
  EXPECT_FALSE(config->tie_word_embeddings);
  EXPECT_EQ(config->bos_token_id, 1);
  EXPECT_EQ(config->eos_token_ids, std::vector<int32_t>{2});
  EXPECT_EQ(config->torch_dtype, "bfloat16");
  EXPECT_EQ(config->architecture, "MistralForCausalLM");
}

struct BadConfig {
  std::string what;
  std::string json;
  std::string says;
};

std::vector<BadConfig> BadConfigs() {
  const std::string deep(40, '[');
  std::vector<BadConfig> cases = {
      {"empty", "", "not valid JSON"},
      {"cut", std::string(kMistral7B).substr(0, 300), "not valid JSON"},
      {"trailing", std::string(kMistral7B) + "x", "not valid JSON"},
      {"trailing_nul", std::string(kMistral7B) + std::string(2, '\0'), "not valid JSON at byte"},
      {"array", "[]", "expected a JSON object, found a value of type array"},
      {"string", "\"config\"", "expected a JSON object, found 'config'"},
      {"deep", Plus("\"x\": " + deep + std::string(40, ']')), "nested more than 32 deep"},
      {"deep_open", "{\"x\":" + std::string(1000000, '['), "nested more than 32 deep"},
      {"bad_utf8", Plus("\"\xFF\": 1"), "not valid JSON at byte"},
      {"twin", Plus("\"hidden_size\": 4096"), "duplicate key 'hidden_size'"},
      {"twin_inside", Plus("\"x\": {\"a\": 1, \"a\": 2}"), "duplicate key 'a'"},
      {"eps_nan", With("rms_norm_eps", "NaN"), "after key 'rms_norm_eps'"},
      {"theta_infinity", With("rope_theta", "Infinity"), "after key 'rope_theta'"},
      {"theta_overflow", With("rope_theta", "1e999"), "after key 'rope_theta'"},
      {"eps_zero", With("rms_norm_eps", "0.0"), "'rms_norm_eps': expected a number in"},
      {"eps_negative", With("rms_norm_eps", "-1e-5"), "found -1e-05"},
      {"eps_string", With("rms_norm_eps", "\"1e-5\""), "found '1e-5'"},
      {"eps_large", With("rms_norm_eps", "2"), "'rms_norm_eps': expected a number in [1e-20, 1]"},
      {"theta_zero", With("rope_theta", "0"), "'rope_theta': expected a number in [1, 1e+12]"},
      {"theta_huge", With("rope_theta", "1e13"), "'rope_theta'"},
      {"heads_not_kv_multiple", With("num_key_value_heads", "7"), "'num_key_value_heads' does not"},
      {"more_kv_heads", With("num_key_value_heads", "64"), "'num_key_value_heads' does not"},
      {"heads_not_divisor", With("num_attention_heads", "24"), "'num_attention_heads': does not"},
      {"head_dim_zero", Plus("\"head_dim\": 0"), "'head_dim': expected an integer"},
      {"head_dim_odd", Plus("\"head_dim\": 127"), "'head_dim' is odd"},
      {"head_dim_product", Plus("\"head_dim\": 65536"), "'head_dim' times num_attention_heads"},
      {"window_negative", With("sliding_window", "-1"), "'sliding_window': expected an integer"},
      {"window_huge", With("sliding_window", "16777217"), "'sliding_window'"},
      {"tied_number", With("tie_word_embeddings", "0"), "'tie_word_embeddings': expected true or"},
      {"bos_past_vocabulary", With("bos_token_id", "32768"), "'bos_token_id' is not in the"},
      {"bos_negative", With("bos_token_id", "-1"), "'bos_token_id': expected an integer"},
      {"bos_list", With("bos_token_id", "[1]"), "'bos_token_id': expected an integer"},
      {"eos_past_vocabulary", With("eos_token_id", "[2, 32768]"), "'eos_token_id' is not in the"},
      {"eos_string", With("eos_token_id", "\"</s>\""), "'eos_token_id': expected an integer"},
      {"eos_list_string", With("eos_token_id", "[2, \"2\"]"), "'eos_token_id': expected an"},
      {"eos_nested", With("eos_token_id", "[[2]]"), "'eos_token_id': expected an integer"},
      {"dtype_number", With("torch_dtype", "16"), "'torch_dtype': expected a string"},
      {"architecture_string", With("architectures", "\"MistralForCausalLM\""),
       "'architectures': expected a list of strings"},
      {"architecture_numbers", With("architectures", "[1]"), "'architectures': expected a list"},
      {"activation_number", With("hidden_act", "1"), "'hidden_act': expected a string"},
      {"rope_list", Plus("\"rope_parameters\": []"), "'rope_parameters': expected an object"},
      {"rope_other_theta", Plus("\"rope_parameters\": {\"rope_theta\": 1e4}"),
       "rope_parameters: 'rope_theta': differs"},
      {"rope_more", Plus("\"rope_parameters\": {\"rope_theta\": 1e6, \"factor\": 2}"),
       "rope_parameters: 'factor': unknown key"},
      {"rope_scaling_text", Plus("\"rope_scaling\": \"linear\""),
       "'rope_scaling': expected an object"},
      {"rope_type_number", Plus("\"rope_scaling\": {\"type\": 1}"), "'type': expected a string"},
      {"rope_no_factor", Plus("\"rope_scaling\": {\"type\": \"linear\"}"),
       "rope_scaling: 'factor': missing"},
      {"rope_factor_0", Plus("\"rope_scaling\": {\"type\": \"linear\", \"factor\": 0}"),
       "rope_scaling: 'factor': expected a number in"},
      {"rope_dynamic_alpha", Plus("\"rope_scaling\": {\"type\": \"dynamic\", \"alpha\": 1000.0}"),
       "rope_scaling: 'alpha': unknown key"},
      {"rope_llama3_order",
       Plus("\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0, "
            "\"low_freq_factor\": 4.0, \"high_freq_factor\": 4.0}"),
       "rope_scaling: 'low_freq_factor': is not below high_freq_factor"},
      {"rope_llama3_short", Plus("\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0}"),
       "rope_scaling: 'low_freq_factor': missing"},
      {"rope_yarn_original",
       Plus("\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4, "
            "\"original_max_position_embeddings\": 0}"),
       "'original_max_position_embeddings': expected an integer"},
      {"rope_yarn_attention",
       Plus("\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4, \"attention_factor\": -1}"),
       "'attention_factor': expected a number"},
      {"layer_types_text", Plus("\"layer_types\": \"full_attention\""),
       "'layer_types': expected a list"},
  };
  // Every required integer, at and beyond every border.
  const std::vector<std::pair<std::string, std::string>> keys = {
      {"hidden_size", "1048577"},
      {"intermediate_size", "1048577"},
      {"num_hidden_layers", "1025"},
      {"num_attention_heads", "1048577"},
      {"num_key_value_heads", "1048577"},
      {"vocab_size", "16777217"},
      {"max_position_embeddings", "16777217"}};
  for (const auto& [key, beyond] : keys) {
    const std::string expected = "'" + key + "': expected an integer in [1, ";
    for (const std::string& value :
         {beyond, std::string("0"), std::string("-4"), std::string("4.0"), std::string("\"8\""),
          std::string("true"), std::string("[8]"), std::string("9223372036854775808"),
          std::string("18446744073709551616")}) {
      cases.push_back({"", With(key, value), expected});
    }
    if (key != "num_key_value_heads") {
      cases.push_back({"", With(key, ""), "'" + key + "': missing, expected an integer in"});
      cases.push_back({"", With(key, "null"), "'" + key + "': missing, expected an integer in"});
    }
  }
  return cases;
}

void PrintTo(const BadConfig& bad, std::ostream* os) {
  *os << bad.says;
}

class BadConfigTest : public ::testing::TestWithParam<BadConfig> {};

TEST_P(BadConfigTest, IsRefusedByName) {
  const absl::Status status = ParseModelConfig(GetParam().json, "config.json").status();
  ExpectConfigError(status, absl::StatusCode::kInvalidArgument, GetParam().says);
  EXPECT_EQ(std::string(status.message()).rfind("config.json: ", 0), 0u) << status;
}

INSTANTIATE_TEST_SUITE_P(Config, BadConfigTest, ::testing::ValuesIn(BadConfigs()),
                         [](const auto& info) {
                           return info.param.what.empty() ? absl::StrCat("border_", info.index)
                                                          : info.param.what;
                         });

TEST(ModelConfigTest, RefusesOtherModelsByName) {
  const auto expect = [](const std::string& json, const std::string& says) {
    ExpectConfigError(ParseModelConfig(json, "config.json").status(),
                      absl::StatusCode::kUnimplemented, "config.json: " + says);
  };
  const std::string families =
      "'architectures': expected MistralForCausalLM, MinistralForCausalLM, LlamaForCausalLM or "
      "Qwen2ForCausalLM, found ";
  expect(With("architectures", "[\"MixtralForCausalLM\"]"), families + "'MixtralForCausalLM'");
  expect("{}", families + "nothing");
  expect("{\"model_type\": \"mixtral\"}", "'architectures': expected MistralForCausalLM");
  expect(With("hidden_act", "\"gelu\""), "'hidden_act': expected silu, found 'gelu'");
  expect(Plus("\"attention_bias\": true"), "'attention_bias': biases");
  expect(Plus("\"mlp_bias\": true"), "'mlp_bias': biases");
  expect(
      Plus("\"rope_scaling\": {\"type\": \"longrope\", \"factor\": 2.0}"),
      "rope_scaling: 'type': expected default, linear, dynamic, llama3 or yarn, found 'longrope'");
  expect(Plus("\"partial_rotary_factor\": 0.5"), "'partial_rotary_factor': expected 1");
  expect(Plus("\"rope_parameters\": {\"rope_theta\": 1e6, \"partial_rotary_factor\": 0.25}"),
         "rope_parameters: 'partial_rotary_factor': expected 1");
  for (const char* key : {"use_qk_norm", "qk_norm", "use_mrope", "alibi"}) {
    expect(Plus(absl::StrCat("\"", key, "\": true")), absl::StrCat("'", key, "': "));
    EXPECT_TRUE(ParseModelConfig(Plus(absl::StrCat("\"", key, "\": false")), "c").ok()) << key;
  }
  for (const char* key : {"attn_logit_softcapping", "final_logit_softcapping", "num_local_experts",
                          "num_experts", "n_routed_experts", "clip_qkv"}) {
    expect(Plus(absl::StrCat("\"", key, "\": 8")), absl::StrCat("'", key, "': "));
    EXPECT_TRUE(ParseModelConfig(Plus(absl::StrCat("\"", key, "\": null")), "c").ok()) << key;
  }
  expect(Plus("\"layer_types\": [\"full_attention\", \"sliding_attention\"]"),
         "'layer_types': a sliding window in some layers only is not implemented");
  expect(Plus("\"layer_types\": [\"linear_attention\"]"), "'layer_types': expected full_attention");
  expect(Plus("\"quantization_config\": {}"), "'quantization_config': expected F32");
  expect(Plus("\"rope_parameters\": {\"rope_theta\": 1e6, \"rope_type\": \"su\"}"),
         "rope_parameters: 'rope_type': expected default, linear, dynamic, llama3 or yarn, found "
         "'su'");
}

TEST(ModelConfigTest, ReadsOtherSpellings) {
  const auto parse = [](const std::string& json) {
    const auto config = ParseModelConfig(json, "config.json");
    EXPECT_TRUE(config.ok()) << config.status();
    return config.ok() ? *config : ModelConfig{};
  };
  EXPECT_EQ(parse(With("architectures", "null")).architecture, "MistralForCausalLM");
  EXPECT_EQ(parse(With("hidden_act", "")).hidden_size, 4096);
  EXPECT_EQ(parse(Plus("\"head_dim\": 160")).q_dim(), 5120);  // As Mistral-Nemo: not hidden/heads.
  EXPECT_EQ(parse(Plus("\"head_dim\": null")).head_dim, 128);
  EXPECT_EQ(parse(With("num_key_value_heads", "null")).num_kv_heads, 32);
  EXPECT_EQ(parse(With("num_key_value_heads", "")).num_kv_heads, 8);  // as transformers has it
  EXPECT_EQ(parse(With("sliding_window", "4096")).sliding_window, 4096);
  EXPECT_EQ(parse(With("sliding_window", "")).sliding_window, 0);
  EXPECT_TRUE(parse(With("tie_word_embeddings", "true")).tie_word_embeddings);
  EXPECT_FALSE(parse(With("tie_word_embeddings", "")).tie_word_embeddings);
  EXPECT_EQ(parse(With("bos_token_id", "null")).bos_token_id, -1);
  EXPECT_EQ(parse(With("bos_token_id", "")).bos_token_id, 1);
  EXPECT_EQ(parse(With("eos_token_id", "null")).eos_token_ids.size(), 0u);
  EXPECT_EQ(parse(With("eos_token_id", "")).eos_token_ids, std::vector<int32_t>{2});
  EXPECT_EQ(parse(With("eos_token_id", "[7, 2, 7]")).eos_token_ids, (std::vector<int32_t>{2, 7}));
  EXPECT_EQ(parse(With("torch_dtype", "")).torch_dtype, "");
  EXPECT_EQ(parse(With("rope_theta", "10000")).rope_theta, 1e4);
  EXPECT_EQ(parse(Plus("\"rope_scaling\": null")).rope_theta, 1e6);
  const std::string rope = "\"rope_parameters\": {\"rope_theta\": 1e6, \"rope_type\": \"default\"}";
  EXPECT_EQ(parse(Plus(rope)).rope_theta, 1e6);
  std::string recent = With("rope_theta", "");
  EXPECT_EQ(parse(recent.insert(1, rope + ", \"dtype\": \"float16\",")).rope_theta, 1e6);
  EXPECT_EQ(parse(With("rope_theta", "")).rope_theta, 1e4);  // as old v0.1 exports have it
  for (const char* nothing : {"{}", "{\"type\": \"default\"}", "{\"rope_type\": \"default\"}",
                              "{\"rope_type\": \"default\", \"type\": \"default\"}",
                              "{\"rope_type\": \"dynamic\", \"factor\": 4.0}"}) {
    for (const char* key : {"rope_scaling", "rope_parameters"}) {
      const ModelConfig config = parse(Plus(absl::StrCat("\"", key, "\": ", nothing)));
      EXPECT_EQ(config.rope_theta, 1e6);
      EXPECT_EQ(config.rope_scaling, RopeScaling{}) << nothing;
    }
  }
}

TEST(ModelConfigTest, ReadsScaledRotaryEmbeddings) {
  const auto parse = [](const std::string& line) {
    const auto config = ParseModelConfig(Plus(line), "config.json");
    EXPECT_TRUE(config.ok()) << config.status();
    return config.ok() ? config->rope_scaling : RopeScaling{};
  };
  EXPECT_EQ(parse(R"("rope_scaling": {"type": "linear", "factor": 2})"),
            (RopeScaling{.type = RopeType::kLinear, .factor = 2}));
  const RopeScaling llama3 = {.type = RopeType::kLlama3,
                              .factor = 32,
                              .original_positions = 8192,
                              .low_freq_factor = 1,
                              .high_freq_factor = 4};
  const std::string published = R"({"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
      "original_max_position_embeddings": 8192, "rope_type": "llama3"})";
  EXPECT_EQ(parse("\"rope_scaling\": " + published), llama3);
  EXPECT_EQ(parse("\"rope_parameters\": " + published), llama3);
  const RopeScaling yarn = parse(R"("rope_scaling": {"factor": 4.0, "type": "yarn",
      "original_max_position_embeddings": 32768})");
  EXPECT_EQ(yarn.type, RopeType::kYarn);
  EXPECT_NEAR(yarn.attention_factor, 1.1386, 1e-4);  // 0.1 ln 4 + 1
  EXPECT_EQ(parse(R"("rope_scaling": {"factor": 4.0, "type": "yarn", "mscale": 1.0,
      "mscale_all_dim": 1.0})")
                .attention_factor,
            1.0);
  EXPECT_EQ(parse(R"("rope_scaling": {"factor": 4.0, "type": "yarn"})").original_positions, 32768);
  EXPECT_EQ(parse(R"("original_max_position_embeddings": 4096,
      "rope_scaling": {"factor": 4.0, "type": "yarn"})")
                .original_positions,
            4096);
  EXPECT_EQ(parse(R"("rope_scaling": {"rope_type": "yarn",
      "original_max_position_embeddings": 8192})")
                .factor,
            4.0);  // positions over original positions
}

TEST(ModelConfigTest, ReadsTheFamilies) {
  const auto parse = [](const std::string& architecture, const std::string& more) {
    std::string text = With("architectures", "[\"" + architecture + "\"]");
    const auto config = ParseModelConfig(text.insert(1, more), "config.json");
    EXPECT_TRUE(config.ok()) << config.status();
    return config.ok() ? *config : ModelConfig{};
  };
  for (const ModelFamily& family : kModelFamilies) {
    const ModelConfig config = parse(std::string(family.architecture), "");
    EXPECT_EQ(config.architecture, family.architecture);
    EXPECT_EQ(config.qkv_bias, family.qkv_bias);
    EXPECT_EQ(&FamilyOf(config), &family);
  }
  const std::string window = "\"use_sliding_window\": true, \"max_window_layers\": ";
  std::string qwen = With("architectures", "[\"Qwen2ForCausalLM\"]");
  const std::string at = "\"sliding_window\": null";
  qwen.replace(qwen.find(at), at.size(), "\"sliding_window\": 4096");
  const auto windowed = [&](const std::string& layers) {
    return ParseModelConfig(std::string(qwen).insert(1, window + layers + ","), "config.json");
  };
  EXPECT_EQ(ParseModelConfig(qwen, "c")->sliding_window, 0);  // not used unless it says so
  EXPECT_EQ(windowed("0")->sliding_window, 4096);
  EXPECT_EQ(windowed("32")->sliding_window, 0);
  ExpectError(windowed("28").status(), absl::StatusCode::kUnimplemented,
              {"'max_window_layers': a sliding window in some layers only"});
  EXPECT_EQ(parse("MinistralForCausalLM", "\"layer_types\": [\"full_attention\"],").sliding_window,
            0);
}

TEST(ModelConfigTest, JsonRoundTrip) {
  ModelConfig config = TinyModelConfig();
  config.head_dim = 20;
  config.sliding_window = 7;
  config.tie_word_embeddings = true;
  config.eos_token_ids = {2, 5};
  for (int pass = 0; pass < 2; ++pass) {
    const auto read = ParseModelConfig(ModelConfigToJson(config), "c");
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(*read, config);
    config.bos_token_id = -1;
    config.eos_token_ids = {};
  }
  for (const ModelFamily& family : kModelFamilies) {
    config.architecture = std::string(family.architecture);
    config.qkv_bias = family.qkv_bias;
    config.sliding_window = family.window == WindowKeys::kNone ? 0 : 7;
    config.rope_scaling = {.type = RopeType::kYarn,
                           .factor = 4,
                           .original_positions = 512,
                           .beta_fast = 30,
                           .truncate = false,
                           .attention_factor = 1.25};
    const auto read = ParseModelConfig(ModelConfigToJson(config), "c");
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(*read, config);
  }
}

TEST(GenerationConfigTest, ReadsWhatIsThere) {
  const auto published = ParseGenerationConfig(
      R"({"_from_model_config": true, "bos_token_id": 1, "eos_token_id": 2,
          "transformers_version": "4.42.0.dev0"})",
      "g");
  ASSERT_TRUE(published.ok()) << published.status();
  EXPECT_EQ(published->eos_token_ids, std::vector<int32_t>{2});
  EXPECT_FALSE(published->temperature || published->top_p || published->top_k || published->min_p ||
               published->repetition_penalty || published->max_new_tokens || published->do_sample);
  const auto full = ParseGenerationConfig(
      R"({"temperature": 0.7, "top_p": 1, "top_k": 50, "min_p": 0.05, "repetition_penalty": 1.1,
          "max_new_tokens": 100, "do_sample": true, "eos_token_id": [9, 2]})",
      "g");
  ASSERT_TRUE(full.ok()) << full.status();
  EXPECT_FLOAT_EQ(*full->temperature, 0.7f);
  EXPECT_EQ(*full->top_p, 1.0f);
  EXPECT_EQ(*full->top_k, 50);
  EXPECT_FLOAT_EQ(*full->min_p, 0.05f);
  EXPECT_FLOAT_EQ(*full->repetition_penalty, 1.1f);
  EXPECT_EQ(*full->max_new_tokens, 100);
  EXPECT_TRUE(*full->do_sample);
  EXPECT_EQ(full->eos_token_ids, (std::vector<int32_t>{2, 9}));
}

TEST(GenerationConfigTest, RefusesBadValuesByName) {
  const std::vector<std::pair<std::string, std::string>> cases = {{"temperature", "-0.1"},
                                                                  {"temperature", "101"},
                                                                  {"temperature", "\"1\""},
                                                                  {"top_p", "1.01"},
                                                                  {"top_p", "-1"},
                                                                  {"top_p", "[]"},
                                                                  {"top_k", "-1"},
                                                                  {"top_k", "1.5"},
                                                                  {"top_k", "2147483648"},
                                                                  {"min_p", "2"},
                                                                  {"repetition_penalty", "0"},
                                                                  {"repetition_penalty", "-1"},
                                                                  {"max_new_tokens", "0"},
                                                                  {"max_new_tokens", "2147483648"},
                                                                  {"do_sample", "1"},
                                                                  {"eos_token_id", "-1"},
                                                                  {"eos_token_id", "[1, null]"},
                                                                  {"eos_token_id", "16777216"},
                                                                  {"eos_token_id", "{}"}};
  for (const auto& [key, value] : cases) {
    ExpectConfigError(ParseGenerationConfig("{\"" + key + "\": " + value + "}", "g").status(),
                      absl::StatusCode::kInvalidArgument, "g: '" + key + "': expected");
  }
}

TEST(LoadConfigTest, MergesTheFilesOfAFolder) {
  TempDir dir;
  ExpectConfigError(LoadModelConfig(dir.path()).status(), absl::StatusCode::kNotFound,
                    "/config.json");
  dir.Write("config.json", kMistral7B);
  EXPECT_EQ(LoadModelConfig(dir.path())->eos_token_ids, std::vector<int32_t>{2});
  EXPECT_TRUE(LoadGenerationConfig(dir.path()).ok());
  dir.Write("generation_config.json", R"({"eos_token_id": [32000, 2]})");
  EXPECT_EQ(LoadModelConfig(dir.path())->eos_token_ids, (std::vector<int32_t>{2, 32000}));
  dir.Write("generation_config.json", R"({"eos_token_id": 32768})");
  ExpectConfigError(LoadModelConfig(dir.path()).status(), absl::StatusCode::kInvalidArgument,
                    "/generation_config.json: 'eos_token_id' is not in the vocabulary");
  dir.Write("generation_config.json", "{");
  ExpectConfigError(LoadModelConfig(dir.path()).status(), absl::StatusCode::kInvalidArgument,
                    "/generation_config.json: not valid JSON");
}

TEST(LoadConfigTest, LimitsSizeAndBulk) {
  TempDir dir;
  dir.Write("config.json", std::string(kMaxConfigBytes + 1, ' '));
  ExpectConfigError(LoadModelConfig(dir.path()).status(), absl::StatusCode::kInvalidArgument,
                    "/config.json: file of 16777217 bytes, at most 16777216");
  ExpectConfigError(ParseModelConfig(std::string(kMaxConfigBytes + 1, ' '), "c").status(),
                    absl::StatusCode::kInvalidArgument, "c: file of 16777217 bytes");
  std::string bulk = "{\"x\": [0";
  for (int i = 0; i < 100000; ++i) {
    bulk += ",0";
  }
  ExpectConfigError(ParseModelConfig(bulk + "]}", "c").status(), absl::StatusCode::kInvalidArgument,
                    "c: more than 100000 values");
  ExpectConfigError(ReadTextFile(dir.path(), 10).status(), absl::StatusCode::kInvalidArgument,
                    "not a regular file");
}

}  // namespace
}  // namespace alcca
