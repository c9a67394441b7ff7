// The CPU backend: checks kinds, owns the pool and the workspace, and hands each op to its file.

#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "kernels/backend.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/cpu_features.h"
#include "kernels/cpu/embed.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/norm.h"
#include "kernels/cpu/rope.h"
#include "kernels/cpu/sampling.h"
#include "kernels/cpu/swiglu.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/host/host_memory.h"
#include "kernels/host/kv_cache_host.h"
#include "kernels/make_backend.h"
#include "kernels/operands.h"

namespace alcca {
namespace {

class CpuBuffer final : public Buffer {
 public:
  CpuBuffer(HostMemory data, int32_t rows, int32_t cols)
      : data_(std::move(data)), rows_(rows), cols_(cols) {}
  TensorView view() const override { return {data_.get(), DType::kF32, rows_, cols_}; }

 private:
  HostMemory data_;
  int32_t rows_, cols_;
};

class CpuBackend final : public Backend {
 public:
  CpuBackend(CpuIsa isa, int32_t threads, const BackendLimits& limits)
      : isa_(isa),
        limits_(limits),
        kernels_(MatMulKernelsFor(isa)),
        pool_(threads),
        sampler_(pool_, limits.sampling) {}

  std::string Describe() const override {
    return absl::StrCat("cpu (", CpuIsaName(isa_), ", ", pool_.threads(),
                        pool_.threads() == 1 ? " thread)" : " threads)");
  }

  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int32_t rows, int32_t cols) override {
    if (rows < 1 || cols < 1) {
      return absl::InvalidArgumentError(absl::StrCat("a [", rows, ", ", cols, "] buffer is empty"));
    }
    HostMemory data =
        AllocateHost(static_cast<size_t>(rows) * static_cast<size_t>(cols) * sizeof(float));
    if (data == nullptr) {
      return absl::ResourceExhaustedError(
          absl::StrCat("no memory for a [", rows, ", ", cols, "] buffer"));
    }
    return std::make_unique<CpuBuffer>(std::move(data), rows, cols);
  }

  absl::StatusOr<std::unique_ptr<Matrix>> MakeMatrix(std::span<const HostTensor> parts,
                                                     WeightDType dtype,
                                                     std::span<const HostTensor> bias) override {
    if (!FormatOf(dtype).on_cpu) {
      return absl::UnimplementedError(absl::StrCat("CPUs do not multiply ", FormatOf(dtype).name,
                                                   " weights; int8 is their 8 bits"));
    }
    ASSIGN_OR_RETURN(std::unique_ptr<Matrix> matrix, PackedMatrix::Pack(pool_, parts, dtype, bias));
    workspace_.Reserve(limits_.batch_tokens, matrix->cols(), dtype);
    return matrix;
  }

  absl::StatusOr<std::unique_ptr<Matrix>> MakeEmbedding(const HostTensor& table) override {
    return EmbeddingTable::Copy(table);
  }

  absl::StatusOr<std::unique_ptr<Buffer>> MakeVector(const HostTensor& vector) override {
    if (vector.empty() || vector.rows != 1) {
      return absl::InvalidArgumentError(absl::StrCat("a vector has 1 row, not ", vector.rows));
    }
    ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, Allocate(1, vector.cols));
    ReadRows(vector, 0, 1, buffer->view().f32());
    return buffer;
  }

  absl::StatusOr<std::unique_ptr<KvCache>> MakeKvCache(const KvShape& shape) override {
    return std::make_unique<KvCacheHost>(shape);
  }

  absl::StatusOr<std::unique_ptr<AttentionState>> MakeAttentionState(
      const KvShape& shape, const AttentionParams& params) override {
    return MakeAttentionStateCpu(shape, params, isa_);
  }

  bool forks() const override { return true; }

  int32_t FinalTokens(const AttentionState& state, const AttentionParams& params,
                      int32_t tokens) const override {
    return FinalTokensCpu(state, params, tokens);
  }

  absl::StatusOr<std::unique_ptr<AttentionState>> ForkAttentionState(
      const AttentionFork& fork, KvCache& kv, const AttentionShape& shape) override {
    return ForkAttentionStateCpu(pool_, isa_, fork, CastTo<KvCacheHost>(kv), shape);
  }

  void Embed(TensorView out, const Matrix& table, std::span<const int32_t> token_ids) override {
    EmbedCpu(out, CastTo<const EmbeddingTable>(table), token_ids);
  }

  void RmsNorm(TensorView out, TensorView x, const Buffer& weight, float eps) override {
    const TensorView w = weight.view();
    ALCCA_CHECK(w.rows == 1);
    RmsNormCpu(pool_, out, x, {w.f32(), static_cast<size_t>(w.cols)}, eps);
  }

  void MatMul(TensorView out, TensorView x, const Matrix& weight, Accumulate mode) override {
    MatMulCpu(pool_, kernels_, workspace_, out, x, CastTo<const PackedMatrix>(weight), mode);
  }

  void RopeAndStore(TensorView qkv, KvCache& kv, int32_t layer, const Batch& batch,
                    const AttentionShape& shape, const Buffer& frequencies) override {
    const TensorView f = frequencies.view();
    RopeAndStoreCpu(pool_, qkv, CastTo<KvCacheHost>(kv), layer, batch, shape,
                    {f.f32(), static_cast<size_t>(f.cols)});
  }

  void Attention(TensorView out, TensorView qkv, KvCache& kv, int32_t layer, const Batch& batch,
                 const AttentionShape& shape) override {
    AttentionCpu(pool_, isa_, out, qkv, CastTo<KvCacheHost>(kv), layer, batch, shape);
  }

  void SwiGlu(TensorView out, TensorView gate_up) override { SwiGluCpu(pool_, out, gate_up); }

  void GatherRows(TensorView out, TensorView x, std::span<const int32_t> rows) override {
    GatherRowsCpu(out, x, rows);
  }

  void Sample(std::span<SampledRow> results, TensorView logits,
              std::span<const SamplingRow> rows) override {
    sampler_.Sample(results, logits, rows);
  }

  void Download(std::span<float> out, TensorView x) override {
    ALCCA_CHECK(out.size() == static_cast<size_t>(x.rows) * static_cast<size_t>(x.cols));
    std::memcpy(out.data(), x.f32(), out.size_bytes());
  }

 private:
  const CpuIsa isa_;
  const BackendLimits limits_;
  const MatMulKernels& kernels_;
  ThreadPool pool_;
  MatMulWorkspace workspace_;
  SamplerCpu sampler_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(const CpuOptions& options) {
  constexpr int32_t kThreadsMax = 1024;
  ASSIGN_OR_RETURN(const CpuIsa isa, ChooseCpuIsa(options.isa));
  if (options.threads < 0 || options.threads > kThreadsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("threads is ", options.threads, "; it must be 0 to ", kThreadsMax));
  }
  const int32_t cores = static_cast<int32_t>(std::thread::hardware_concurrency());
  const int32_t threads = options.threads > 0 ? options.threads : std::clamp(cores, 1, kThreadsMax);
  return std::make_unique<CpuBackend>(isa, threads, options.limits);
}

}  // namespace alcca
