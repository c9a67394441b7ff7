#include "engine/model/mistral_model.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "kernels/key_clusters.h"
#include "kernels/key_index.h"

namespace alcca {

// Reads tensors of one checkpoint into one backend and reports progress.
class WeightLoader {
 public:
  WeightLoader(const Checkpoint& checkpoint, Backend& backend, WeightDType dtype, int64_t all_bytes,
               const LoadProgress& progress)
      : checkpoint_(checkpoint),
        backend_(backend),
        dtype_(dtype),
        all_bytes_(all_bytes),
        progress_(progress) {}

  absl::StatusOr<std::unique_ptr<Buffer>> Vector(const std::string& name, int64_t cols) const {
    ASSIGN_OR_RETURN(const TensorRef ref, checkpoint_.Find(name, {cols}));
    ASSIGN_OR_RETURN(auto vector, backend_.MakeVector(ref.host()));
    Done(ref);
    return vector;
  }

  // Stacks the named tensors, each [rows, cols], along rows.
  struct Part {
    std::string name;
    int64_t rows;
  };
  absl::StatusOr<std::unique_ptr<Matrix>> Stack(const std::vector<Part>& parts,
                                                int64_t cols) const {
    return Stack(parts, cols, dtype_);
  }
  absl::StatusOr<std::unique_ptr<Matrix>> Stack(const std::vector<Part>& parts, int64_t cols,
                                                WeightDType dtype) const {
    std::vector<TensorRef> refs;
    std::vector<HostTensor> hosts;
    for (const Part& part : parts) {
      ASSIGN_OR_RETURN(refs.emplace_back(), checkpoint_.Find(part.name, {part.rows, cols}));
      hosts.push_back(refs.back().host());
    }
    ASSIGN_OR_RETURN(auto matrix, backend_.MakeMatrix(hosts, dtype));
    for (const TensorRef& ref : refs) {
      Done(ref);
    }
    return matrix;
  }

  absl::StatusOr<std::unique_ptr<Matrix>> Embedding(const std::string& name, int64_t rows,
                                                    int64_t cols) const {
    ASSIGN_OR_RETURN(const TensorRef ref, checkpoint_.Find(name, {rows, cols}));
    ASSIGN_OR_RETURN(auto table, backend_.MakeEmbedding(ref.host()));
    Done(ref);
    return table;
  }

 private:
  // The tensor has been copied: give its file pages back, so that a load never holds two models.
  void Done(const TensorRef& ref) const {
    ref.Release();
    done_bytes_ += static_cast<int64_t>(ref.bytes);
    if (progress_) {
      progress_(done_bytes_, all_bytes_);
    }
  }

  const Checkpoint& checkpoint_;
  Backend& backend_;
  const WeightDType dtype_;
  const int64_t all_bytes_;
  const LoadProgress& progress_;
  mutable int64_t done_bytes_ = 0;
};

namespace {

constexpr char kEmbedding[] = "model.embed_tokens.weight";

AttentionShape MakeAttentionShape(const ModelConfig& config) {
  return {.heads = static_cast<int32_t>(config.num_heads),
          .kv_heads = static_cast<int32_t>(config.num_kv_heads),
          .head_dim = static_cast<int32_t>(config.head_dim),
          .sliding_window = static_cast<int32_t>(config.sliding_window)};
}

KvShape MakeKvShape(const ModelConfig& config, const MistralOptions& options) {
  return {.layers = static_cast<int32_t>(config.num_layers),
          .kv_heads = static_cast<int32_t>(config.num_kv_heads),
          .head_dim = static_cast<int32_t>(config.head_dim),
          .page_tokens = options.page_tokens,
          .pages = options.kv_pages};
}

// Columns of all activation buffers of one token, logits apart.
int64_t ActivationCols(const ModelConfig& c) {
  return 2 * c.hidden_size + (2 * c.q_dim() + 2 * c.kv_dim()) + 3 * c.intermediate_size;
}

}  // namespace

WeightDType StoredFormat(const ModelConfig& config) {
  return config.torch_dtype == "float32" ? WeightDType::kF32 : WeightDType::kBF16;
}

MistralFootprint EstimateFootprint(const ModelConfig& c, const MistralOptions& options) {
  const int64_t table = c.head_elements();  // the embedding's as well
  MistralFootprint f;
  f.embedding_bytes = WeightBytes(StoredFormat(c), table);
  f.weight_bytes = WeightBytes(options.weight_dtype, c.num_layers * c.layer_elements()) +
                   WeightBytes(FormatOf(options.weight_dtype).head, table) + f.embedding_bytes;
  const KvShape kv = MakeKvShape(c, options);
  f.kv_bytes = kv.PageBytes(static_cast<size_t>(options.kv_element_bytes)) * kv.pages;
  // Of a search tree or of clusters, whichever is larger; a sequence of one closed block has the
  // most cluster bytes per key.
  const size_t key_bytes = std::max<size_t>(
      kTreeBytesPerKey,
      (ClusterBytes(1, static_cast<int32_t>(c.head_dim)) + kBlockTokens - 1) / kBlockTokens);
  f.index_bytes = key_bytes * kv.layers * kv.kv_heads * kv.page_tokens * kv.pages;
  // Beside the logits, as much again for Sample: adjusted logits on a device; on a CPU the scratch
  // of its threads, which is less.
  f.activation_bytes =
      sizeof(float) * (options.max_batch_tokens * ActivationCols(c) +
                       int64_t{options.max_logit_rows} * (c.hidden_size + 2 * c.vocab_size));
  return f;
}

MistralModel::MistralModel(const ModelConfig& config, std::unique_ptr<Backend> backend)
    : config_(config),
      attention_(MakeAttentionShape(config)),
      rope_{.theta = static_cast<float>(config.rope_theta)},
      backend_(std::move(backend)) {}

absl::StatusOr<std::unique_ptr<MistralModel>> MistralModel::Load(const Checkpoint& checkpoint,
                                                                 const ModelConfig& config,
                                                                 std::unique_ptr<Backend> backend,
                                                                 const MistralOptions& options,
                                                                 const LoadProgress& progress) {
  std::unique_ptr<MistralModel> model(new MistralModel(config, std::move(backend)));
  RETURN_IF_ERROR(model->LoadWeights(checkpoint, options.weight_dtype, progress));
  RETURN_IF_ERROR(model->Allocate(options));
  return model;
}

absl::Status MistralModel::LoadWeights(const Checkpoint& checkpoint, WeightDType dtype,
                                       const LoadProgress& progress) {
  int64_t all_bytes = 0;
  for (const TensorSpec& spec : MistralTensors(config_)) {
    ASSIGN_OR_RETURN(const TensorRef ref, checkpoint.Find(spec.name, spec.shape));
    const bool read_twice = config_.tie_word_embeddings && spec.name == kEmbedding;
    all_bytes += static_cast<int64_t>(ref.bytes) * (read_twice ? 2 : 1);
  }
  const WeightLoader loader(checkpoint, *backend_, dtype, all_bytes, progress);
  const int64_t vocab = config_.vocab_size, hidden = config_.hidden_size;
  ASSIGN_OR_RETURN(embedding_, loader.Embedding(kEmbedding, vocab, hidden));
  for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
    ASSIGN_OR_RETURN(layers_.emplace_back(), LoadLayer(loader, layer));
  }
  ASSIGN_OR_RETURN(final_norm_, loader.Vector("model.norm.weight", hidden));
  const char* head = config_.tie_word_embeddings ? kEmbedding : "lm_head.weight";
  ASSIGN_OR_RETURN(head_, loader.Stack({{head, vocab}}, hidden, FormatOf(dtype).head));
  return absl::OkStatus();
}

absl::StatusOr<MistralModel::Layer> MistralModel::LoadLayer(const WeightLoader& loader,
                                                            int64_t layer) {
  const std::string prefix = absl::StrCat("model.layers.", layer, ".");
  const std::string attn = prefix + "self_attn.", mlp = prefix + "mlp.";
  const ModelConfig& c = config_;
  Layer l;
  ASSIGN_OR_RETURN(l.attention_norm,
                   loader.Vector(prefix + "input_layernorm.weight", c.hidden_size));
  ASSIGN_OR_RETURN(l.qkv, loader.Stack({{attn + "q_proj.weight", c.q_dim()},
                                        {attn + "k_proj.weight", c.kv_dim()},
                                        {attn + "v_proj.weight", c.kv_dim()}},
                                       c.hidden_size));
  ASSIGN_OR_RETURN(l.o, loader.Stack({{attn + "o_proj.weight", c.hidden_size}}, c.q_dim()));
  ASSIGN_OR_RETURN(l.ffn_norm,
                   loader.Vector(prefix + "post_attention_layernorm.weight", c.hidden_size));
  ASSIGN_OR_RETURN(l.gate_up, loader.Stack({{mlp + "gate_proj.weight", c.intermediate_size},
                                            {mlp + "up_proj.weight", c.intermediate_size}},
                                           c.hidden_size));
  ASSIGN_OR_RETURN(l.down,
                   loader.Stack({{mlp + "down_proj.weight", c.hidden_size}}, c.intermediate_size));
  l.between = backend_->MakeRecording();
  return l;
}

absl::Status MistralModel::Allocate(const MistralOptions& options) {
  ASSIGN_OR_RETURN(kv_, backend_->MakeKvCache(MakeKvShape(config_, options)));
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

void MistralModel::BeforeAttention(int32_t layer, const Batch& batch) {
  const int32_t rows = batch.tokens();
  const Layer& l = layers_[layer];
  const TensorView normed = act_.normed->view().Head(rows), qkv = act_.qkv->view().Head(rows);
  backend_->RmsNorm(normed, act_.x->view().Head(rows), *l.attention_norm, Epsilon());
  backend_->MatMul(qkv, normed, *l.qkv, Accumulate::kOverwrite);
  backend_->RopeAndStore(qkv, *kv_, layer, batch, attention_, rope_);
}

void MistralModel::AfterAttention(int32_t layer, int32_t rows) {
  const Layer& l = layers_[layer];
  const TensorView x = act_.x->view().Head(rows), normed = act_.normed->view().Head(rows);
  const TensorView gate_up = act_.gate_up->view().Head(rows), ffn = act_.ffn->view().Head(rows);
  backend_->MatMul(x, act_.heads->view().Head(rows), *l.o, Accumulate::kAdd);
  backend_->RmsNorm(normed, x, *l.ffn_norm, Epsilon());
  backend_->MatMul(gate_up, normed, *l.gate_up, Accumulate::kOverwrite);
  backend_->SwiGlu(ffn, gate_up);
  backend_->MatMul(x, ffn, *l.down, Accumulate::kAdd);
}

TensorView MistralModel::RunLayers(const Batch& batch) {
  const int32_t rows = batch.tokens(), layers = static_cast<int32_t>(layers_.size());
  Backend& b = *backend_;
  const TensorView x = act_.x->view().Head(rows), qkv = act_.qkv->view().Head(rows);
  const TensorView heads = act_.heads->view().Head(rows);

  b.Embed(x, *embedding_, batch.token_ids);
  BeforeAttention(0, batch);
  for (int32_t i = 0; i < layers; ++i) {
    b.Attention(heads, qkv, *kv_, i, batch, attention_);
    // All that depends on the number of rows alone.
    b.Repeat(*layers_[i].between, rows, [&] {
      AfterAttention(i, rows);
      if (i + 1 < layers) {
        BeforeAttention(i + 1, batch);
      }
    });
  }

  const int32_t logit_rows = static_cast<int32_t>(batch.logit_rows.size());
  const TensorView last = act_.last->view().Head(logit_rows);
  const TensorView logits = act_.logits->view().Head(logit_rows);
  if (logit_rows > 0) {
    b.GatherRows(last, x, batch.logit_rows);
    b.RmsNorm(last, last, *final_norm_, Epsilon());
    b.MatMul(logits, last, *head_, Accumulate::kOverwrite);
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
