#include "engine/model/mistral_model.h"

#include <utility>

#include "base/status_macros.h"
#include "engine/model/rope_frequencies.h"
#include "engine/model/tensor_table.h"
#include "engine/model/weight_loader.h"

namespace alcca {
namespace {

AttentionShape MakeAttentionShape(const ModelConfig& config) {
  return {.heads = static_cast<int32_t>(config.num_heads),
          .kv_heads = static_cast<int32_t>(config.num_kv_heads),
          .head_dim = static_cast<int32_t>(config.head_dim),
          .sliding_window = static_cast<int32_t>(config.sliding_window),
          .rope_attention_factor = static_cast<float>(config.rope_scaling.attention_factor)};
}

}  // namespace

MistralModel::MistralModel(const ModelConfig& config, std::unique_ptr<Backend> backend)
    : config_(config), attention_(MakeAttentionShape(config)), backend_(std::move(backend)) {}

absl::StatusOr<std::unique_ptr<MistralModel>> MistralModel::Load(const Checkpoint& checkpoint,
                                                                 const ModelConfig& config,
                                                                 std::unique_ptr<Backend> backend,
                                                                 const ModelOptions& options,
                                                                 const LoadProgress& progress) {
  std::unique_ptr<MistralModel> model(new MistralModel(config, std::move(backend)));
  RETURN_IF_ERROR(model->LoadWeights(checkpoint, options.weight_dtype, progress));
  RETURN_IF_ERROR(model->Allocate(options));
  return model;
}

absl::Status MistralModel::LoadWeights(const Checkpoint& checkpoint, WeightDType dtype,
                                       const LoadProgress& progress) {
  using enum TensorRole;
  const TensorTable table(config_);
  ASSIGN_OR_RETURN(WeightLoader load, WeightLoader::Make(checkpoint, table, *backend_, progress));
  ASSIGN_OR_RETURN(embedding_, load.Embedding(dtype));
  for (int64_t i = 0; i < config_.num_layers; ++i) {
    Layer& l = layers_.emplace_back();
    ASSIGN_OR_RETURN(l.attention_norm, load.Vector(kAttentionNorm, i));
    ASSIGN_OR_RETURN(l.qkv, load.Stack({kQuery, kKey, kValue}, i, dtype));
    ASSIGN_OR_RETURN(l.o, load.Stack({kOutput}, i, dtype));
    ASSIGN_OR_RETURN(l.ffn_norm, load.Vector(kFfnNorm, i));
    ASSIGN_OR_RETURN(l.gate_up, load.Stack({kGate, kUp}, i, dtype));
    ASSIGN_OR_RETURN(l.down, load.Stack({kDown}, i, dtype));
  }
  const std::vector<float> frequencies = RopeFrequencies(config_);
  ASSIGN_OR_RETURN(
      frequencies_,
      backend_->MakeVector({.data = reinterpret_cast<const std::byte*>(frequencies.data()),
                            .dtype = DType::kF32,
                            .rows = 1,
                            .cols = static_cast<int32_t>(frequencies.size())}));
  ASSIGN_OR_RETURN(final_norm_, load.Vector(kFinalNorm));
  ASSIGN_OR_RETURN(head_, load.Stack({kHead}, 0, FormatOf(dtype).head));
  return absl::OkStatus();
}

absl::Status MistralModel::Allocate(const ModelOptions& options) {
  ASSIGN_OR_RETURN(
      kv_, backend_->MakeKvCache(KvShapeOf(config_, options.page_tokens, options.kv_pages)));
  const int32_t rows = options.max_batch_tokens;
  const int32_t hidden = static_cast<int32_t>(config_.hidden_size);
  const int32_t ffn = static_cast<int32_t>(config_.intermediate_size);
  ASSIGN_OR_RETURN(act_.x, backend_->Allocate(rows, hidden));
  ASSIGN_OR_RETURN(act_.normed, backend_->Allocate(rows, hidden));
  ASSIGN_OR_RETURN(act_.qkv, backend_->Allocate(rows, attention_.qkv_cols()));
  ASSIGN_OR_RETURN(act_.heads, backend_->Allocate(rows, attention_.heads * attention_.head_dim));
  ASSIGN_OR_RETURN(act_.gate_up, backend_->Allocate(rows, 2 * ffn));
  ASSIGN_OR_RETURN(act_.ffn, backend_->Allocate(rows, ffn));
  ASSIGN_OR_RETURN(act_.last, backend_->Allocate(options.max_logit_rows, hidden));
  ASSIGN_OR_RETURN(act_.logits, backend_->Allocate(options.max_logit_rows, vocab_size()));
  sampled_.resize(static_cast<size_t>(options.max_logit_rows));
  return absl::OkStatus();
}

std::span<SampledRow> MistralModel::Forward(const Batch& batch, std::span<const SamplingRow> rows,
                                            absl::FunctionRef<void()> meanwhile) {
  const std::span<SampledRow> sampled = std::span(sampled_).first(rows.size());
  if (!backend_->asynchronous()) {
    meanwhile();
  }
  backend_->BeginStep(batch);
  const TensorView logits = RunLayers(batch);
  if (!rows.empty()) {
    backend_->Sample(sampled, logits, rows);
  }
  if (backend_->asynchronous()) {
    meanwhile();
  }
  backend_->EndStep(batch);
  return sampled;
}

std::span<const float> MistralModel::Logits(const Batch& batch) {
  host_logits_.resize(batch.logit_rows.size() * static_cast<size_t>(vocab_size()));
  backend_->BeginStep(batch);
  const TensorView logits = RunLayers(batch);
  if (!host_logits_.empty()) {
    backend_->Download(host_logits_, logits);
  }
  backend_->EndStep(batch);
  return host_logits_;
}

TensorView MistralModel::RunLayers(const Batch& batch) {
  constexpr auto kSet = Accumulate::kOverwrite, kAdd = Accumulate::kAdd;
  Backend& b = *backend_;
  const auto eps = static_cast<float>(config_.rms_norm_eps);
  const int32_t rows = batch.tokens(), layers = static_cast<int32_t>(layers_.size());
  const TensorView x = act_.x->view().Head(rows), normed = act_.normed->view().Head(rows);
  const TensorView qkv = act_.qkv->view().Head(rows), heads = act_.heads->view().Head(rows);
  const TensorView gate_up = act_.gate_up->view().Head(rows), ffn = act_.ffn->view().Head(rows);

  b.Embed(x, *embedding_, batch.token_ids);
  for (int32_t i = 0; i < layers; ++i) {
    const Layer& l = layers_[i];
    b.RmsNorm(normed, x, *l.attention_norm, eps);
    b.MatMul(qkv, normed, *l.qkv, kSet);
    b.RopeAndStore(qkv, *kv_, i, batch, attention_, *frequencies_);
    b.Attention(heads, qkv, *kv_, i, batch, attention_);
    b.MatMul(x, heads, *l.o, kAdd);
    b.RmsNorm(normed, x, *l.ffn_norm, eps);
    b.MatMul(gate_up, normed, *l.gate_up, kSet);
    b.SwiGlu(ffn, gate_up);
    b.MatMul(x, ffn, *l.down, kAdd);
  }

  const int32_t logit_rows = static_cast<int32_t>(batch.logit_rows.size());
  const TensorView last = act_.last->view().Head(logit_rows);
  const TensorView logits = act_.logits->view().Head(logit_rows);
  if (logit_rows > 0) {
    b.GatherRows(last, x, batch.logit_rows);
    b.RmsNorm(last, last, *final_norm_, eps);
    b.MatMul(logits, last, *head_, kSet);
  }
  return logits;
}

size_t MistralModel::weight_bytes() const {
  size_t bytes = embedding_->bytes() + head_->bytes();
  for (const Layer& layer : layers_) {
    bytes += layer.qkv->bytes() + layer.o->bytes() + layer.gate_up->bytes() + layer.down->bytes();
  }
  return bytes;
}

}  // namespace alcca
