#pragma once

// Everything the engine may ask of a device. No requests, no policy, no gRPC, no #ifdef above here.
//
// A backend is created once, allocates at start-up only (Make*, Allocate), and then runs ops in
// order. Ops have no failure path: shapes are ALCCA_CHECKed on entry (a wrong shape is our bug),
// and a device fault ends the process. Activations are [tokens, features] in the backend's
// activation type (f32 on CPU).
//
// Row independence, which batching relies on: every op computes a row of its output from the same
// row of its input (and the sequence's own cache) in an order of operations that does not depend on
// how many other rows are in the call. So a token's logits are bit-identical alone and in any
// batch, and however its prompt was cut into chunks. One exception, by choice of speed: bf16 and
// fp8 weights on CUDA without CudaOptions::row_independent.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "attention/params.h"
#include "kernels/batch.h"
#include "kernels/sampling.h"
#include "kernels/tensor.h"
#include "kernels/weight_format.h"

namespace alcca {

// Owned backend memory for activations; view() is stable for its life.
class Buffer {
 public:
  virtual ~Buffer() = default;
  virtual TensorView view() const = 0;
};

// A weight matrix [rows = output features, cols = input features] in the layout the backend likes,
// with its bias if it has one.
class Matrix {
 public:
  virtual ~Matrix() = default;
  virtual int32_t rows() const = 0;
  virtual int32_t cols() const = 0;
  virtual size_t bytes() const = 0;
};

struct KvShape {
  int32_t layers = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  int32_t page_tokens = 0;  // tokens in a page
  int32_t pages = 0;        // pages in the pool, each holding page_tokens tokens of every layer
  // Bytes of keys and values of one page over all layers, for elements of `element_bytes`.
  size_t PageBytes(size_t element_bytes) const {
    return size_t{2} * layers * kv_heads * page_tokens * head_dim * element_bytes;
  }
};

// The paged keys and values of all sequences. Page ids index the pool; who holds which page is
// engine/kv_pages' business.
class KvCache {
 public:
  virtual ~KvCache() = default;
  virtual const KvShape& shape() const = 0;
  virtual size_t bytes() const = 0;
};

// What attention remembers of one sequence beside its KV pages, over all layers and KV heads: the
// key indices and running sums of `alcca`, the clusters of `multipole`. Append-only; lives and dies
// with the Sequence.
class AttentionState {
 public:
  virtual ~AttentionState() = default;
  virtual size_t bytes() const = 0;          // memory held beside the KV pages
  virtual double build_seconds() const = 0;  // time spent building indices so far
  // An index could not grow and the sequence is answered by dense since then.
  virtual bool fell_back() const { return false; }
};

// A new sequence that begins with the first `tokens` tokens of another one.
struct AttentionFork {
  const AttentionParams* attention = nullptr;  // of both; its mode has fork_tokens
  const AttentionState* from = nullptr;
  int32_t tokens = 0;                   // a multiple of fork_tokens
  const int32_t* from_pages = nullptr;  // the other's page ids
  const int32_t* pages = nullptr;       // the new one's, as many; of FinalTokens the same ids
  AttentionCounters* counters = nullptr;
};

struct AttentionShape {
  int32_t heads = 0;  // query heads; heads % kv_heads == 0
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  int32_t sliding_window = 0;       // dense sees the last `sliding_window` keys; 0: all
  float rope_attention_factor = 1;  // what RopeAndStore puts on cosines and sines (YaRN)
  // Columns of a fused projection row: q heads, then k heads, then v heads.
  int32_t qkv_cols() const { return (heads + 2 * kv_heads) * head_dim; }
  bool operator==(const AttentionShape&) const = default;
};

enum class Accumulate : uint8_t { kOverwrite, kAdd };

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string Describe() const = 0;  // e.g. "cpu (avx512, 2 threads)"
  // Ops of a step return before they are done, and EndStep waits for them.
  virtual bool asynchronous() const { return false; }

  // --- Start-up only ---------------------------------------------------------------------------
  virtual absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int32_t rows, int32_t cols) = 0;
  // Stacks `parts` along rows (q, k, v projections become one matrix), converts and packs. `bias`
  // has a vector [1, rows] for each part, or is empty; it is kept in f32 and belongs to the matrix:
  // MatMul adds it. INVALID_ARGUMENT: parts or biases that do not fit each other, or values that
  // `dtype` cannot hold. UNIMPLEMENTED: a format that the device does not multiply (kFp8 on CPUs
  // and on cards before compute capability 9.0).
  virtual absl::StatusOr<std::unique_ptr<Matrix>> MakeMatrix(std::span<const HostTensor> parts,
                                                             WeightDType dtype,
                                                             std::span<const HostTensor> bias) = 0;
  absl::StatusOr<std::unique_ptr<Matrix>> MakeMatrix(std::span<const HostTensor> parts,
                                                     WeightDType dtype) {
    return MakeMatrix(parts, dtype, {});
  }
  // A table of rows for Embed [vocab, hidden]; kept in the source's type.
  virtual absl::StatusOr<std::unique_ptr<Matrix>> MakeEmbedding(const HostTensor& table) = 0;
  // A vector of f32 for RmsNorm [1, cols].
  virtual absl::StatusOr<std::unique_ptr<Buffer>> MakeVector(const HostTensor& vector) = 0;
  virtual absl::StatusOr<std::unique_ptr<KvCache>> MakeKvCache(const KvShape& shape) = 0;

  // --- At admission ----------------------------------------------------------------------------
  virtual absl::StatusOr<std::unique_ptr<AttentionState>> MakeAttentionState(
      const KvShape& shape, const AttentionParams& params) = 0;
  // Whether it forks states of modes with fork_tokens.
  virtual bool forks() const { return false; }
  // If so: how many of the first `tokens` tokens of the sequence lie in its pages where they would
  // lie if it had no more, and stay there. -1: this state cannot be forked.
  virtual int32_t FinalTokens(const AttentionState&, const AttentionParams&, int32_t) const {
    return -1;
  }
  // The state that computing the first tokens of the new sequence would leave, bit for bit, and
  // their keys and values in its pages, but for the FinalTokens. Between steps only.
  // RESOURCE_EXHAUSTED: there is no memory.
  virtual absl::StatusOr<std::unique_ptr<AttentionState>> ForkAttentionState(
      const AttentionFork&, KvCache&, const AttentionShape&) {
    return absl::UnimplementedError("this device does not fork a sequence's state");
  }

  // --- The step --------------------------------------------------------------------------------
  // BeginStep and EndStep enclose the ops of one batch. BeginStep tells the device once what it
  // needs to know of the batch. EndStep waits for the device. RopeAndStore, Attention and Sample
  // are called only in between. The counters of the step's sequences and the results of Sample are
  // complete after EndStep. A device may hold an op back until it knows the ones behind it: what an
  // op was given lives until then.
  virtual void BeginStep(const Batch&) {}
  virtual void EndStep(const Batch&) {}
  // out[t] = table[token_ids[t]]; out [tokens, hidden].
  virtual void Embed(TensorView out, const Matrix& table, std::span<const int32_t> token_ids) = 0;
  // out[t] = x[t] / sqrt(mean(x[t]^2) + eps) * weight (Zhang & Sennrich 2019); out may be x.
  virtual void RmsNorm(TensorView out, TensorView x, const Buffer& weight, float eps) = 0;
  // out[t] (+)= weight . x[t] + bias of `weight`; out [tokens, weight.rows], x [tokens,
  // weight.cols]. kInt8: LLM.int8() (Dettmers et al. 2022): vector-wise absmax, outlier features
  // (|x| > 6.0 in this token) kept out of the int8 product. kFp8: e4m3 (Micikevicius et al. 2022),
  // one scale for each row of `weight`. A device may round x to e4m3 too, with one scale per row,
  // if many rows are multiplied. For few rows x has at least the precision of bf16.
  virtual void MatMul(TensorView out, TensorView x, const Matrix& weight, Accumulate mode) = 0;
  // Rotates q and k of `qkv` [tokens, qkv_cols] in place (rotate-half pairs i, i + d/2) and writes
  // k, v of every row to the sequence's pages of `layer`. `frequencies` [1, d/2]: pair i of a row
  // at position p turns by p * frequencies[i] radians, a product in f32. Its cosine and sine are
  // multiplied by shape.rope_attention_factor (Peng et al. 2023).
  virtual void RopeAndStore(TensorView qkv, KvCache& kv, int32_t layer, const Batch& batch,
                            const AttentionShape& shape, const Buffer& frequencies) = 0;
  // out[t] = attention of every q head of row t, by its sequence's mode; out [tokens, heads * d].
  // Appends the step's keys to each sequence's state and adds to its counters.
  // `multipole` reorders old tokens within the sequence's own pages (kernels/key_clusters.h).
  virtual void Attention(TensorView out, TensorView qkv, KvCache& kv, int32_t layer,
                         const Batch& batch, const AttentionShape& shape) = 0;
  // out[t] = silu(gate) * up, with gate_up [tokens, 2 * ffn] = gate then up.
  virtual void SwiGlu(TensorView out, TensorView gate_up) = 0;
  // out[i] = x[rows[i]].
  virtual void GatherRows(TensorView out, TensorView x, std::span<const int32_t> rows) = 0;
  // results[i] answers rows[i] from logits[i]; logits [rows, vocab] are not changed.
  // kernels/sampling.h is the contract. Spans, and the memory behind them, must stay valid until
  // EndStep. Called at most once per step.
  virtual void Sample(std::span<SampledRow> results, TensorView logits,
                      std::span<const SamplingRow> rows) = 0;
  // Copies to host memory and waits for everything enqueued before.
  virtual void Download(std::span<float> out, TensorView x) = 0;
};

}  // namespace alcca
