#include "engine/model/gguf_config.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/checkpoint/safetensors.h"

namespace alcca {
namespace {

// Reads typed keys of one architecture and remembers the first error.
class KeyReader {
 public:
  KeyReader(const GgufHeader& header, std::string path, std::string architecture)
      : header_(header), path_(std::move(path)), architecture_(std::move(architecture)) {}

  const absl::Status& status() const { return status_; }

  // "ARCHITECTURE.name"
  void Int(std::string_view name, int64_t min, int64_t max, int64_t* out, bool required = true) {
    const std::string key = Key(name);
    Take(header_.Integer(key), [&](int64_t value) {
      if (value < min || value > max) {
        return Fail(key,
                    absl::StrCat("expected an integer in [", min, ", ", max, "], found ", value));
      }
      *out = value;
    });
    if (required && status_.ok() && header_.FindValue(key) == nullptr) {
      Fail(key, "missing");
    }
  }
  void Number(std::string_view name, double min, double max, double* out) {
    const std::string key = Key(name);
    Take(header_.Number(key), [&](double value) {
      if (!(value >= min) || !(value <= max)) {
        return Fail(key,
                    absl::StrCat("expected a number in [", min, ", ", max, "], found ", value));
      }
      *out = value;
    });
  }
  void Text(std::string_view name, std::string* out) {
    const std::string key = Key(name);
    Take(header_.String(key), [&](std::string_view value) { *out = std::string(value); });
  }
  bool Has(std::string_view name) const { return header_.FindValue(Key(name)) != nullptr; }
  void Fail(std::string_view key, const std::string& what) {
    if (status_.ok()) {
      status_ = absl::InvalidArgumentError(Line(key, what));
    }
  }
  // For what is well-formed and not implemented.
  void Refuse(std::string_view name, const std::string& what) {
    if (status_.ok()) {
      status_ = absl::UnimplementedError(Line(Key(name), what));
    }
  }

 private:
  std::string Key(std::string_view name) const {
    return absl::StrCat(architecture_, ".", std::string(name));
  }
  std::string Line(std::string_view key, const std::string& what) const {
    return absl::StrCat(path_, ": key ", QuoteName(key), ": ", what);
  }
  template <typename T, typename Use>
  void Take(const absl::StatusOr<std::optional<T>>& value, const Use& use) {
    if (!value.ok() && status_.ok()) {
      status_ = value.status();
    }
    if (value.ok() && value->has_value()) {
      use(**value);
    }
  }

  const GgufHeader& header_;
  std::string path_, architecture_;
  absl::Status status_;
};

// Keys that make another model of the same architecture, if they are neither 0 nor absent.
constexpr std::string_view kOtherModels[] = {
    "expert_count",        "attention.clamp_kqv",     "attn_logit_softcapping",
    "attention.scale",     "final_logit_softcapping", "logit_scale",
    "embedding_scale",     "residual_scale",          "attention.max_alibi_bias",
    "attention.causal_off"};

void ReadShape(KeyReader& keys, ModelConfig* c) {
  keys.Int("embedding_length", 1, kMaxModelDim, &c->hidden_size);
  keys.Int("feed_forward_length", 1, kMaxModelDim, &c->intermediate_size);
  keys.Int("block_count", 1, kMaxModelLayers, &c->num_layers);
  keys.Int("attention.head_count", 1, kMaxModelDim, &c->num_heads);
  keys.Int("context_length", 1, kMaxModelPositions, &c->max_position_embeddings);
  c->num_kv_heads = c->num_heads;
  keys.Int("attention.head_count_kv", 1, kMaxModelDim, &c->num_kv_heads, /*required=*/false);
  keys.Number("attention.layer_norm_rms_epsilon", 1e-20, 1.0, &c->rms_norm_eps);
  keys.Int("attention.sliding_window", 0, kMaxModelPositions, &c->sliding_window, false);
  if (!keys.status().ok()) {
    return;
  }
  if (!keys.Has("attention.key_length") && c->hidden_size % c->num_heads != 0) {
    return keys.Fail("attention.head_count", "does not divide embedding_length, and no key_length");
  }
  c->head_dim = c->hidden_size / c->num_heads;
  keys.Int("attention.key_length", 1, kMaxModelDim, &c->head_dim, false);
  int64_t value_length = c->head_dim, rotated = c->head_dim;
  keys.Int("attention.value_length", 1, kMaxModelDim, &value_length, false);
  keys.Int("rope.dimension_count", 1, kMaxModelDim, &rotated, false);
  if (value_length != c->head_dim) {
    keys.Refuse("attention.value_length", "expected as many as attention.key_length");
  }
  if (rotated != c->head_dim) {
    keys.Refuse("rope.dimension_count",
                "expected the whole head: partial rotary embeddings are "
                "not implemented");
  }
}

void ReadGgufRope(KeyReader& keys, ModelConfig* c) {
  RopeScaling& rope = c->rope_scaling;
  c->rope_theta = 10'000.0;
  keys.Number("rope.freq_base", 1.0, 1e12, &c->rope_theta);
  std::string type = "none";
  keys.Text("rope.scaling.type", &type);
  double linear = 0.0;  // of old files
  keys.Number("rope.scale_linear", 0.0, 1e6, &linear);
  keys.Number("rope.scaling.factor", 0.0, 1e6, &rope.factor);
  rope.factor = rope.factor == 0.0 ? 1.0 : rope.factor;
  if (type == "none" && linear != 0.0 && linear != 1.0) {
    type = "linear";
    rope.factor = linear;
  }
  if (type == "linear") {
    rope.type = RopeType::kLinear;
  } else if (type == "yarn") {
    rope.type = RopeType::kYarn;
    rope.original_positions = c->max_position_embeddings;
    keys.Int("rope.scaling.original_context_length", 1, kMaxModelPositions,
             &rope.original_positions, false);
    keys.Number("rope.scaling.yarn_beta_fast", 1e-3, 1e6, &rope.beta_fast);
    keys.Number("rope.scaling.yarn_beta_slow", 1e-3, 1e6, &rope.beta_slow);
    rope.attention_factor = YarnAttentionFactor(rope.factor);
    if (c->rope_theta <= 1.0) {
      keys.Refuse("rope.freq_base", "expected more than 1 beside yarn");
    }
  } else if (type == "none") {
    rope.factor = 1.0;
  } else {
    keys.Refuse("rope.scaling.type",
                absl::StrCat("expected none, linear or yarn, found ", QuoteName(type)));
  }
  double attention = 1.0;
  keys.Number("rope.scaling.attn_factor", 0.0, 1e3, &attention);
  if (attention != 1.0 && attention != 0.0) {
    keys.Refuse("rope.scaling.attn_factor", "expected 1");
  }
}

// Divisors of the frequencies, as llama 3.1 has them.
absl::Status ReadDivisors(const GgufModel& model, ModelConfig* c) {
  constexpr std::string_view kName = "rope_freqs.weight";
  if (model.Find(kName).first == nullptr) {
    return absl::OkStatus();
  }
  std::vector<float> divisors(static_cast<size_t>(c->head_dim / 2));
  RETURN_IF_ERROR(model.Read(kName, {c->head_dim / 2}, divisors));
  for (const float divisor : divisors) {
    if (!(divisor > 0.0f) || !std::isfinite(divisor)) {
      return absl::InvalidArgumentError(absl::StrCat(model.parts()[0].file->path(), ": tensor ",
                                                     QuoteName(kName),
                                                     ": expected numbers above 0"));
    }
  }
  if (std::any_of(divisors.begin(), divisors.end(), [](float x) { return x != 1.0f; })) {
    c->rope_scaling.divisors = std::move(divisors);
  }
  return absl::OkStatus();
}

absl::Status ReadTokens(const GgufHeader& header, const std::string& path, ModelConfig* c) {
  const auto id = [&](const char* key, int64_t* out) -> absl::Status {
    ASSIGN_OR_RETURN(const auto value, header.Integer(key));
    // Some writers say "none" by a number beyond every vocabulary.
    *out = value.value_or(-1) >= 4294967295 ? -1 : value.value_or(-1);
    if (*out < -1 || *out >= c->vocab_size) {
      return absl::InvalidArgumentError(absl::StrCat(
          path, ": key '", key, "': ", *out, " is not in the vocabulary of ", c->vocab_size));
    }
    return absl::OkStatus();
  };
  int64_t bos = -1;
  RETURN_IF_ERROR(id("tokenizer.ggml.bos_token_id", &bos));
  c->bos_token_id = static_cast<int32_t>(bos);
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                          "tokenizer.ggml.eom_token_id"}) {
    int64_t end = -1;
    RETURN_IF_ERROR(id(key, &end));
    if (end >= 0) {
      c->eos_token_ids.push_back(static_cast<int32_t>(end));
    }
  }
  std::vector<int32_t>& ends = c->eos_token_ids;
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelConfig> ReadGgufConfig(const GgufModel& model) {
  const GgufHeader& header = model.header();
  const std::string& path = model.parts()[0].file->path();
  ASSIGN_OR_RETURN(const auto architecture, header.String("general.architecture"));
  const ModelFamily* family = FindFamilyByGguf(architecture.value_or(""));
  if (family == nullptr) {
    return absl::UnimplementedError(
        absl::StrCat(path, ": key 'general.architecture': expected llama or qwen2, found ",
                     architecture ? QuoteName(*architecture) : "nothing"));
  }
  ModelConfig config;
  config.architecture = std::string(family->architecture);
  config.qkv_bias = family->qkv_bias;
  config.tensor_names = TensorNaming::kGguf;
  config.rms_norm_eps = 1e-5;
  KeyReader keys(header, path, std::string(family->gguf));
  for (const std::string_view key : kOtherModels) {
    double value = 0.0;
    keys.Number(key, -1e12, 1e12, &value);
    if (value != 0.0) {
      keys.Refuse(key, absl::StrCat("expected 0, found ", value));
    }
  }
  ReadShape(keys, &config);
  ReadGgufRope(keys, &config);
  RETURN_IF_ERROR(keys.status());
  const GgufTensor* embedding = model.Find("token_embd.weight").first;
  if (embedding == nullptr || embedding->shape.size() != 2) {
    return absl::NotFoundError(
        absl::StrCat(path, ": tensor 'token_embd.weight': missing, or no matrix"));
  }
  config.vocab_size = embedding->shape[0];
  config.tie_word_embeddings = model.Find("output.weight").first == nullptr;
  RETURN_IF_ERROR(ReadTokens(header, path, &config));
  RETURN_IF_ERROR(CheckModelConfig(config, path));
  RETURN_IF_ERROR(ReadDivisors(model, &config));
  return config;
}

int64_t GgufRotatedHeadDim(const ModelConfig& config) {
  return FamilyOf(config).gguf == "llama" ? config.head_dim : 0;
}

}  // namespace alcca
