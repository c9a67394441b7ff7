#include "engine/model/tensor_table.h"

#include <algorithm>
#include <limits>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "engine/checkpoint/safetensors.h"

namespace alcca {
namespace {

using Dimension = int64_t (*)(const ModelConfig&);

struct TensorRow {
  TensorRole role;
  const char* name;  // transformers'; '*' stands for the number of the layer
  const char* gguf;  // llama.cpp's
  Dimension rows;    // null: a vector
  Dimension cols;
  bool (*present)(const ModelConfig&) = nullptr;  // null: always
};

constexpr Dimension kHidden = [](const ModelConfig& c) { return c.hidden_size; };
constexpr Dimension kInner = [](const ModelConfig& c) { return c.intermediate_size; };
constexpr Dimension kVocab = [](const ModelConfig& c) { return c.vocab_size; };
constexpr Dimension kQueries = [](const ModelConfig& c) { return c.q_dim(); };
constexpr Dimension kKeys = [](const ModelConfig& c) { return c.kv_dim(); };
constexpr bool (*kBiased)(const ModelConfig&) = [](const ModelConfig& c) { return c.qkv_bias; };
constexpr bool (*kUntied)(const ModelConfig&) = [](const ModelConfig& c) {
  return !c.tie_word_embeddings;
};

// A family of kModelFamilies, as transformers stores it.
constexpr TensorRow kRows[] = {
    {TensorRole::kEmbedding, "model.embed_tokens.weight", "token_embd.weight", kVocab, kHidden},
    {TensorRole::kAttentionNorm, "model.layers.*.input_layernorm.weight", "blk.*.attn_norm.weight",
     nullptr, kHidden},
    {TensorRole::kQuery, "model.layers.*.self_attn.q_proj.weight", "blk.*.attn_q.weight", kQueries,
     kHidden},
    {TensorRole::kKey, "model.layers.*.self_attn.k_proj.weight", "blk.*.attn_k.weight", kKeys,
     kHidden},
    {TensorRole::kValue, "model.layers.*.self_attn.v_proj.weight", "blk.*.attn_v.weight", kKeys,
     kHidden},
    {TensorRole::kQueryBias, "model.layers.*.self_attn.q_proj.bias", "blk.*.attn_q.bias", nullptr,
     kQueries, kBiased},
    {TensorRole::kKeyBias, "model.layers.*.self_attn.k_proj.bias", "blk.*.attn_k.bias", nullptr,
     kKeys, kBiased},
    {TensorRole::kValueBias, "model.layers.*.self_attn.v_proj.bias", "blk.*.attn_v.bias", nullptr,
     kKeys, kBiased},
    {TensorRole::kOutput, "model.layers.*.self_attn.o_proj.weight", "blk.*.attn_output.weight",
     kHidden, kQueries},
    {TensorRole::kFfnNorm, "model.layers.*.post_attention_layernorm.weight",
     "blk.*.ffn_norm.weight", nullptr, kHidden},
    {TensorRole::kGate, "model.layers.*.mlp.gate_proj.weight", "blk.*.ffn_gate.weight", kInner,
     kHidden},
    {TensorRole::kUp, "model.layers.*.mlp.up_proj.weight", "blk.*.ffn_up.weight", kInner, kHidden},
    {TensorRole::kDown, "model.layers.*.mlp.down_proj.weight", "blk.*.ffn_down.weight", kHidden,
     kInner},
    {TensorRole::kFinalNorm, "model.norm.weight", "output_norm.weight", nullptr, kHidden},
    {TensorRole::kHead, "lm_head.weight", "output.weight", kVocab, kHidden, kUntied},
};

bool IsOfLayer(const TensorRow& row) {
  return std::string_view(row.name).find('*') != std::string_view::npos;
}

TensorSpec SpecOf(const TensorRow& row, int64_t layer, const ModelConfig& config) {
  const char* name = config.tensor_names == TensorNaming::kGguf ? row.gguf : row.name;
  TensorSpec spec = {.role = row.role,
                     .layer = layer,
                     .name = absl::StrReplaceAll(name, {{"*", absl::StrCat(layer)}}),
                     .shape = {}};
  if (row.rows != nullptr) {
    spec.shape.push_back(row.rows(config));
  }
  spec.shape.push_back(row.cols(config));
  return spec;
}

// N of "model.layers.N.<rest>" or "blk.N.<rest>", -1 for any other name. A number too large for
// int64_t is the largest.
int64_t LayerOf(std::string_view name) {
  constexpr std::string_view kTransformers = "model.layers.", kGguf = "blk.";
  if (name.starts_with(kTransformers)) {
    name.remove_prefix(kTransformers.size());
  } else if (name.starts_with(kGguf)) {
    name.remove_prefix(kGguf.size());
  } else {
    return -1;
  }
  const size_t digits = std::min(name.find('.'), name.size());
  if (digits == 0 || name.find_first_not_of("0123456789") < digits) {
    return -1;
  }
  int64_t layer = 0;
  const bool fits = absl::SimpleAtoi(std::string(name.substr(0, digits)), &layer);
  return fits ? layer : std::numeric_limits<int64_t>::max();
}

// Tensors that say that the model is another one: part of a name, and what it is.
struct ForeignTensor {
  std::string_view part;
  const char* refusal;
};
constexpr ForeignTensor kForeign[] = {
    {"lora_", "an adapter beside the weights is not implemented; merge it into them"},
    {"q_norm", "norms of queries and keys are not implemented"},
    {"k_norm", "norms of queries and keys are not implemented"},
    {"experts", "experts are not implemented"},
    {"block_sparse_moe", "experts are not implemented"},
    {"_exps.", "experts are not implemented"},
    {"rope_factors_", "longrope is not implemented"},
};

// Tensors that say nothing which the config does not say.
bool IsHarmless(std::string_view name) {
  return name.ends_with(".rotary_emb.inv_freq") || name == "rope_freqs.weight" ||
         name == "lm_head.weight";  // of a model with tied embeddings
}

}  // namespace

TensorTable::TensorTable(const ModelConfig& config) : num_layers_(config.num_layers) {
  const auto append = [&](const TensorRow* first, const TensorRow* end, int64_t layer) {
    for (const TensorRow* row = first; row != end; ++row) {
      if (row->present == nullptr || row->present(config)) {
        tensors_.push_back(SpecOf(*row, layer, config));
      }
    }
  };
  const TensorRow* begin = std::begin(kRows);
  const TensorRow* end = std::end(kRows);
  const TensorRow* layers = std::find_if(begin, end, IsOfLayer);
  const TensorRow* rest = std::find_if_not(layers, end, IsOfLayer);
  append(begin, layers, 0);
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    append(layers, rest, layer);
  }
  append(rest, end, 0);
  for (const TensorSpec& spec : tensors_) {
    names_.insert(spec.name);
  }
}

const TensorSpec* TensorTable::Find(TensorRole role, int64_t layer) const {
  const auto found = std::find_if(tensors_.begin(), tensors_.end(), [&](const TensorSpec& spec) {
    return spec.role == role && spec.layer == layer;
  });
  return found == tensors_.end() ? nullptr : &*found;
}

const TensorSpec& TensorTable::Get(TensorRole role, int64_t layer) const {
  const TensorSpec* found = Find(role, layer);
  if (found == nullptr && role == TensorRole::kHead) {
    return Get(TensorRole::kEmbedding);
  }
  ALCCA_CHECK(found != nullptr);
  return *found;
}

const TensorSpec* TensorTable::FindBias(TensorRole role, int64_t layer) const {
  switch (role) {
    case TensorRole::kQuery:
      return Find(TensorRole::kQueryBias, layer);
    case TensorRole::kKey:
      return Find(TensorRole::kKeyBias, layer);
    case TensorRole::kValue:
      return Find(TensorRole::kValueBias, layer);
    default:
      return nullptr;
  }
}

absl::Status TensorTable::Validate(const Checkpoint& checkpoint) const {
  for (const std::string_view name : checkpoint.TensorNames()) {
    const auto refuse = [&](const char* what) {
      return absl::UnimplementedError(
          absl::StrCat(checkpoint.FileOf(name), ": tensor ", QuoteName(name), ": ", what));
    };
    if (IsNeeded(name)) {
      continue;
    }
    const bool ours = name.starts_with("model.") || name.starts_with("lm_head.") ||
                      name.starts_with("blk.") || name.starts_with("output");
    if (ours && name.ends_with(".bias")) {
      return refuse("biases are not implemented");
    }
    for (const ForeignTensor& foreign : kForeign) {
      if (name.find(foreign.part) != std::string_view::npos) {
        return refuse(foreign.refusal);
      }
    }
    if (LayerOf(name) >= num_layers_) {
      return absl::InvalidArgumentError(
          absl::StrCat(checkpoint.FileOf(name), ": tensor ", QuoteName(name),
                       ": is of a layer beyond num_hidden_layers ", num_layers_));
    }
  }
  for (const TensorSpec& spec : tensors_) {
    RETURN_IF_ERROR(checkpoint.Find(spec.name, spec.shape).status());
  }
  return absl::OkStatus();
}

std::string TensorTable::Unused(const Checkpoint& checkpoint) const {
  int64_t count = 0;
  std::string first;
  for (const std::string_view name : checkpoint.TensorNames()) {
    if (!IsNeeded(name) && !IsHarmless(name) && ++count == 1) {
      first = absl::StrCat(checkpoint.FileOf(name), ": tensor ", QuoteName(name));
    }
  }
  if (count == 0) {
    return {};
  }
  return count == 1 ? first + " is not one of the model's and is not read"
                    : absl::StrCat(first, " and ", count - 1,
                                   " others are not the model's and are not read");
}

bool TensorTable::IsNeeded(std::string_view name) const {
  return names_.contains(name);
}

int64_t LayerElements(const ModelConfig& config) {
  int64_t elements = 0;
  for (const TensorRow& row : kRows) {
    elements += IsOfLayer(row) && row.rows != nullptr ? row.rows(config) * row.cols(config) : 0;
  }
  return elements;
}

int64_t HeadElements(const ModelConfig& config) {
  return config.vocab_size * config.hidden_size;
}

}  // namespace alcca
