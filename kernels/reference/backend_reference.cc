// The reference backend: one thread, plain loops, double accumulation. Read it to learn what an op
// means; the tuned backends are tested against it.

#include <cmath>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "kernels/backend.h"
#include "kernels/host/kv_cache_host.h"
#include "kernels/make_backend.h"
#include "kernels/operands.h"
#include "kernels/reference/attention_reference.h"
#include "kernels/reference/matmul_reference.h"
#include "kernels/reference/rope_reference.h"
#include "kernels/reference/sampling_reference.h"

namespace alcca {
namespace {

class ReferenceBuffer final : public Buffer {
 public:
  ReferenceBuffer(int32_t rows, int32_t cols)
      : data_(new float[static_cast<size_t>(rows) * static_cast<size_t>(cols)]()),
        rows_(rows),
        cols_(cols) {}
  TensorView view() const override { return {data_.get(), DType::kF32, rows_, cols_}; }

 private:
  std::unique_ptr<float[]> data_;
  int32_t rows_, cols_;
};

float* RowOf(const TensorView& x, int32_t t) {
  return x.f32() + static_cast<size_t>(t) * static_cast<size_t>(x.cols);
}

class ReferenceBackend final : public Backend {
 public:
  std::string Describe() const override { return "reference"; }

  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int32_t rows, int32_t cols) override {
    if (rows < 1 || cols < 1) {
      return absl::InvalidArgumentError(absl::StrCat("a [", rows, ", ", cols, "] buffer is empty"));
    }
    return std::make_unique<ReferenceBuffer>(rows, cols);
  }

  absl::StatusOr<std::unique_ptr<Matrix>> MakeMatrix(std::span<const HostTensor> parts,
                                                     WeightDType dtype,
                                                     std::span<const HostTensor> bias) override {
    return MatrixReference::Make(parts, dtype, bias);
  }

  absl::StatusOr<std::unique_ptr<Matrix>> MakeEmbedding(const HostTensor& table) override {
    return MatrixReference::Make({&table, 1}, WeightDType::kF32, {});
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
    return MakeAttentionStateReference(shape, params);
  }

  bool forks() const override { return true; }

  int32_t FinalTokens(const AttentionState&, const AttentionParams&,
                      int32_t tokens) const override {
    return tokens;
  }

  absl::StatusOr<std::unique_ptr<AttentionState>> ForkAttentionState(
      const AttentionFork& fork, KvCache&, const AttentionShape&) override {
    return ForkAttentionStateReference(fork);
  }

  void Embed(TensorView out, const Matrix& table, std::span<const int32_t> token_ids) override {
    const auto& rows = dynamic_cast<const MatrixReference&>(table);
    ALCCA_CHECK(out.cols == table.cols() && static_cast<size_t>(out.rows) == token_ids.size());
    for (int32_t t = 0; t < out.rows; ++t) {
      const int32_t token = token_ids[static_cast<size_t>(t)];
      ALCCA_CHECK(token >= 0 && token < table.rows());
      for (int32_t k = 0; k < out.cols; ++k) {
        RowOf(out, t)[k] = rows.row(token)[k];
      }
    }
  }

  void RmsNorm(TensorView out, TensorView x, const Buffer& weight, float eps) override {
    const TensorView w = weight.view();
    ALCCA_CHECK(out.rows == x.rows && out.cols == x.cols && w.rows == 1 && w.cols == x.cols);
    for (int32_t t = 0; t < x.rows; ++t) {
      double sum = 0.0;
      for (int32_t k = 0; k < x.cols; ++k) {
        sum += double{RowOf(x, t)[k]} * RowOf(x, t)[k];
      }
      const double rms = std::sqrt(sum / x.cols + double{eps});
      for (int32_t k = 0; k < x.cols; ++k) {
        RowOf(out, t)[k] = static_cast<float>(RowOf(x, t)[k] / rms * w.f32()[k]);
      }
    }
  }

  void MatMul(TensorView out, TensorView x, const Matrix& weight, Accumulate mode) override {
    MatMulReference(out, x, dynamic_cast<const MatrixReference&>(weight), mode);
  }

  void RopeAndStore(TensorView qkv, KvCache& kv, int32_t layer, const Batch& batch,
                    const AttentionShape& shape, const Buffer& frequencies) override {
    const TensorView f = frequencies.view();
    RopeAndStoreReference(qkv, dynamic_cast<KvCacheHost&>(kv), layer, batch, shape,
                          {f.f32(), static_cast<size_t>(f.cols)});
    RememberQueriesReference(qkv, layer, batch, shape);
  }

  void Attention(TensorView out, TensorView qkv, KvCache& kv, int32_t layer, const Batch& batch,
                 const AttentionShape& shape) override {
    AttentionReference(out, qkv, dynamic_cast<KvCacheHost&>(kv), layer, batch, shape);
  }

  void SwiGlu(TensorView out, TensorView gate_up) override {
    ALCCA_CHECK(out.rows == gate_up.rows && gate_up.cols == 2 * out.cols);
    for (int32_t t = 0; t < out.rows; ++t) {
      for (int32_t k = 0; k < out.cols; ++k) {
        const double gate = RowOf(gate_up, t)[k], up = RowOf(gate_up, t)[out.cols + k];
        RowOf(out, t)[k] = static_cast<float>(gate / (1.0 + std::exp(-gate)) * up);
      }
    }
  }

  void GatherRows(TensorView out, TensorView x, std::span<const int32_t> rows) override {
    ALCCA_CHECK(out.cols == x.cols && static_cast<size_t>(out.rows) == rows.size());
    for (int32_t i = 0; i < out.rows; ++i) {
      const int32_t from = rows[static_cast<size_t>(i)];
      ALCCA_CHECK(from >= 0 && from < x.rows);
      for (int32_t k = 0; k < x.cols; ++k) {
        RowOf(out, i)[k] = RowOf(x, from)[k];
      }
    }
  }

  void Sample(std::span<SampledRow> results, TensorView logits,
              std::span<const SamplingRow> rows) override {
    SampleReference(results, logits, rows);
  }

  void Download(std::span<float> out, TensorView x) override {
    ALCCA_CHECK(out.size() == static_cast<size_t>(x.rows) * static_cast<size_t>(x.cols));
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] = x.f32()[i];
    }
  }
};

}  // namespace

std::unique_ptr<Backend> MakeReferenceBackend() {
  return std::make_unique<ReferenceBackend>();
}

}  // namespace alcca
