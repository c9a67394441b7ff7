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
  const char* name;  // '*' stands for the number of the layer
  Dimension rows;    // null: a vector
  Dimension cols;
  bool (*present)(const ModelConfig&) = nullptr;  // null: always
};

constexpr Dimension kHidden = [](const ModelConfig& c) { return c.hidden_size; };
constexpr Dimension kInner = [](const ModelConfig& c) { return c.intermediate_size; };
constexpr Dimension kVocab = [](const ModelConfig& c) { return c.vocab_size; };
constexpr Dimension kQueries = [](const ModelConfig& c) { return c.q_dim(); };
constexpr Dimension kKeys = [](const ModelConfig& c) { return c.kv_dim(); };
constexpr bool (*kUntied)(const ModelConfig&) = [](const ModelConfig& c) {
  return !c.tie_word_embeddings;
};

// Mistral, as transformers' MistralForCausalLM names and stores it.
constexpr TensorRow kMistral[] = {
    {TensorRole::kEmbedding, "model.embed_tokens.weight", kVocab, kHidden},
    {TensorRole::kAttentionNorm, "model.layers.*.input_layernorm.weight", nullptr, kHidden},
    {TensorRole::kQuery, "model.layers.*.self_attn.q_proj.weight", kQueries, kHidden},
    {TensorRole::kKey, "model.layers.*.self_attn.k_proj.weight", kKeys, kHidden},
    {TensorRole::kValue, "model.layers.*.self_attn.v_proj.weight", kKeys, kHidden},
    {TensorRole::kOutput, "model.layers.*.self_attn.o_proj.weight", kHidden, kQueries},
    {TensorRole::kFfnNorm, "model.layers.*.post_attention_layernorm.weight", nullptr, kHidden},
    {TensorRole::kGate, "model.layers.*.mlp.gate_proj.weight", kInner, kHidden},
    {TensorRole::kUp, "model.layers.*.mlp.up_proj.weight", kInner, kHidden},
    {TensorRole::kDown, "model.layers.*.mlp.down_proj.weight", kHidden, kInner},
    {TensorRole::kFinalNorm, "model.norm.weight", nullptr, kHidden},
    {TensorRole::kHead, "lm_head.weight", kVocab, kHidden, kUntied},
};

bool IsOfLayer(const TensorRow& row) {
  return std::string_view(row.name).find('*') != std::string_view::npos;
}

TensorSpec SpecOf(const TensorRow& row, int64_t layer, const ModelConfig& config) {
  TensorSpec spec = {.role = row.role,
                     .layer = layer,
                     .name = absl::StrReplaceAll(row.name, {{"*", absl::StrCat(layer)}}),
                     .shape = {}};
  if (row.rows != nullptr) {
    spec.shape.push_back(row.rows(config));
  }
  spec.shape.push_back(row.cols(config));
  return spec;
}

// N of "model.layers.N.<rest>", -1 for any other name. A number too large for int64_t is the
// largest.
int64_t LayerOf(std::string_view name) {
  constexpr std::string_view kPrefix = "model.layers.";
  if (!name.starts_with(kPrefix)) {
    return -1;
  }
  name.remove_prefix(kPrefix.size());
  const size_t digits = std::min(name.find('.'), name.size());
  if (digits == 0 || name.find_first_not_of("0123456789") < digits) {
    return -1;
  }
  int64_t layer = 0;
  const bool fits = absl::SimpleAtoi(std::string(name.substr(0, digits)), &layer);
  return fits ? layer : std::numeric_limits<int64_t>::max();
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
  const TensorRow* begin = std::begin(kMistral);
  const TensorRow* end = std::end(kMistral);
  const TensorRow* layers = std::find_if(begin, end, IsOfLayer);
  const TensorRow* rest = std::find_if_not(layers, end, IsOfLayer);
  append(begin, layers, 0);
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    append(layers, rest, layer);
  }
  append(rest, end, 0);
}

const TensorSpec& TensorTable::Get(TensorRole role, int64_t layer) const {
  const auto found = std::find_if(tensors_.begin(), tensors_.end(), [&](const TensorSpec& spec) {
    return spec.role == role && spec.layer == layer;
  });
  if (found == tensors_.end() && role == TensorRole::kHead) {
    return Get(TensorRole::kEmbedding);
  }
  ALCCA_CHECK(found != tensors_.end());
  return *found;
}

absl::Status TensorTable::Validate(const Checkpoint& checkpoint) const {
  for (const std::string_view name : checkpoint.TensorNames()) {
    const auto is_named = [&](const TensorSpec& spec) { return spec.name == name; };
    const bool ours = name.starts_with("model.") || name.starts_with("lm_head.");
    if (ours && name.ends_with(".bias") &&
        std::none_of(tensors_.begin(), tensors_.end(), is_named)) {
      return absl::UnimplementedError(absl::StrCat(
          checkpoint.FileOf(name), ": tensor ", QuoteName(name), ": biases are not implemented"));
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

int64_t LayerElements(const ModelConfig& config) {
  int64_t elements = 0;
  for (const TensorRow& row : kMistral) {
    elements += IsOfLayer(row) && row.rows != nullptr ? row.rows(config) * row.cols(config) : 0;
  }
  return elements;
}

int64_t HeadElements(const ModelConfig& config) {
  return config.vocab_size * config.hidden_size;
}

}  // namespace alcca
