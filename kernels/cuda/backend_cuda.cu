// The CUDA backend: owns the stream, the memory budget and what a step uploads, and hands each op
// to its file. Activations are f32; products read bf16 or int8 forms of them that the op before
// wrote (row_operands.h).

#include "kernels/cuda/backend_cuda.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "kernels/cuda/attention/attention.h"
#include "kernels/cuda/device_words/flat_knn.h"
#include "kernels/cuda/matmul/matmul.h"
#include "kernels/cuda/recording.h"
#include "kernels/cuda/row_ops.h"
#include "kernels/cuda/rows/embed.h"
#include "kernels/cuda/sampling/sampling.h"
#include "kernels/half.h"
#include "kernels/operands.h"

namespace alcca::ALCCA_GPU {
namespace {

class BufferCuda final : public Buffer {
 public:
  BufferCuda(DeviceArray data, int32_t rows, int32_t cols)
      : data_(std::move(data)), rows_(rows), cols_(cols) {}
  TensorView view() const override { return {data_.get(), DType::kF32, rows_, cols_}; }

 private:
  DeviceArray data_;
  int32_t rows_, cols_;
};

// A stream that lives as long as the backend, and longer than all it made.
class OwnedStream {
 public:
  OwnedStream() : stream_(MakeStream()) {}
  ~OwnedStream() { DestroyStream(stream_); }
  OwnedStream(const OwnedStream&) = delete;
  OwnedStream& operator=(const OwnedStream&) = delete;
  Stream get() const { return stream_; }

 private:
  Stream stream_;
};

// Arrays of int32 on their way up: filled on the host, copied, read by the next kernel.
class Upload {
 public:
  absl::Status Reserve(const DeviceContext& device, int32_t count) {
    const size_t bytes = static_cast<size_t>(count) * sizeof(int32_t);
    ASSIGN_OR_RETURN(host_, PinnedArray::Allocate(bytes));
    ASSIGN_OR_RETURN(device_, device.budget->Allocate(bytes, "uploads"));
    capacity_ = count;
    return absl::OkStatus();
  }
  // From the start again: the stream has been waited for. So one use a step finds one place.
  void Rewind() { used_ = 0; }
  // The next `count` entries: where to write them, and where kernels find them after Send. Waits
  // for the stream when the array is full; what was there before is gone then.
  int32_t* Next(Stream stream, int32_t count) {
    ALCCA_CHECK(count <= capacity_);
    if (used_ + count > capacity_) {
      Synchronize(stream);
      used_ = 0;
    }
    begin_ = used_;
    used_ += count;
    return host_.as<int32_t>() + begin_;
  }
  const int32_t* Send(Stream stream) {
    CopyIn(stream, device_.as<int32_t>() + begin_, host_.as<int32_t>() + begin_,
           static_cast<size_t>(used_ - begin_) * sizeof(int32_t));
    return device_.as<int32_t>() + begin_;
  }
  int32_t capacity() const { return capacity_; }

 private:
  PinnedArray host_;
  DeviceArray device_;
  int32_t capacity_ = 0, begin_ = 0, used_ = 0;
};

class BackendCuda final : public Backend {
 public:
  BackendCuda(const CudaOptions& options, DeviceInfo info, size_t budget)
      : options_(options),
        budget_(budget),
        device_{.stream = stream_.get(),
                .budget = &budget_,
                .info = std::move(info),
                .batch_tokens = std::max(1, options.limits.batch_tokens)} {}
  ~BackendCuda() override { Synchronize(device_.stream); }

  absl::Status Start() {
    ASSIGN_OR_RETURN(matmul_, MatMulCuda::Make(device_, options_.row_independent));
    recorder_ = std::make_unique<Recorder>(device_, *matmul_, options_.graph_rows);
    // Embed and GatherRows of one step.
    RETURN_IF_ERROR(ids_.Reserve(device_, 2 * device_.batch_tokens));
    RETURN_IF_ERROR(places_.Reserve(device_, 3 * device_.batch_tokens));
    if (options_.limits.sampling.rows > 0) {
      ASSIGN_OR_RETURN(sampler_, SamplerCuda::Make(device_, options_.limits.sampling));
    }
    return absl::OkStatus();
  }

  bool asynchronous() const override { return true; }

  std::string Describe() const override {
    return absl::StrCat("cuda (", device_.info.name, ", sm_", device_.info.major,
                        device_.info.minor, ", ", budget_.limit() >> 20, " MiB)");
  }

  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int32_t rows, int32_t cols) override {
    if (rows < 1 || cols < 1) {
      return absl::InvalidArgumentError(absl::StrCat("a [", rows, ", ", cols, "] buffer is empty"));
    }
    ASSIGN_OR_RETURN(DeviceArray data,
                     budget_.Allocate(size_t(rows) * cols * sizeof(float),
                                      absl::StrCat("a [", rows, ", ", cols, "] buffer")));
    return std::make_unique<BufferCuda>(std::move(data), rows, cols);
  }

  absl::StatusOr<std::unique_ptr<Matrix>> MakeMatrix(std::span<const HostTensor> parts,
                                                     WeightDType dtype,
                                                     std::span<const HostTensor> bias) override {
    recorder_->Clear();  // graphs have addresses of workspaces, which may grow
    ASSIGN_OR_RETURN(auto matrix, MatrixCuda::Make(device_, parts, dtype, bias));
    RETURN_IF_ERROR(matmul_->Register(*matrix));
    return matrix;
  }

  absl::StatusOr<std::unique_ptr<Matrix>> MakeEmbedding(const HostTensor& table) override {
    recorder_->End();
    return EmbeddingCuda::Make(device_, table);
  }

  absl::StatusOr<std::unique_ptr<Buffer>> MakeVector(const HostTensor& vector) override {
    if (vector.empty() || vector.rows != 1) {
      return absl::InvalidArgumentError(absl::StrCat("a vector has 1 row, not ", vector.rows));
    }
    recorder_->End();
    ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, Allocate(1, vector.cols));
    std::vector<float> values(static_cast<size_t>(vector.cols));
    ReadRows(vector, 0, 1, values.data());
    CopyIn(device_.stream, buffer->view().data, values.data(), values.size() * sizeof(float));
    Synchronize(device_.stream);
    return buffer;
  }

  absl::StatusOr<std::unique_ptr<KvCache>> MakeKvCache(const KvShape& shape) override {
    if (shape.head_dim > kHeadDimMax) {
      return absl::InvalidArgumentError(absl::StrCat("head_dim ", shape.head_dim, " is above the ",
                                                     kHeadDimMax, " that CUDA attention holds"));
    }
    recorder_->Clear();
    ASSIGN_OR_RETURN(
        DeviceArray data,
        budget_.Allocate(KvCacheCuda::Bytes(shape, options_.kv_dtype), "keys and values"));
    attention_.reset();
    ASSIGN_OR_RETURN(attention_,
                     AttentionCuda::Make(device_, shape, options_.kv_dtype, options_.faiss_search));
    return std::make_unique<KvCacheCuda>(shape, options_.kv_dtype, std::move(data));
  }

  absl::StatusOr<std::unique_ptr<AttentionState>> MakeAttentionState(
      const KvShape&, const AttentionParams& params) override {
    ALCCA_CHECK(attention_ != nullptr);  // a cache comes first
    recorder_->End();
    return attention_->MakeState(params);
  }

  void BeginStep(const Batch&) override {
    recorder_->End();
    placed_page_tokens_ = 0;
    places_.Rewind();  // EndStep waited; so that each step's rows find the same place
    ids_.Rewind();     // so that no step fills it up, which would be to wait in the middle of one
    if (attention_ != nullptr) {
      attention_->BeginStep();
    }
  }

  void EndStep(const Batch& batch) override {
    recorder_->End();
    if (attention_ != nullptr) {
      attention_->EndStep(batch);
    }
    Synchronize(device_.stream);  // what was uploaded for this step may be overwritten now
    if (attention_ != nullptr) {
      attention_->Finish(batch);
    }
    if (sampler_ != nullptr) {
      sampler_->Finish();
    }
  }

  void Embed(TensorView out, const Matrix& table, std::span<const int32_t> token_ids) override {
    const auto& rows = CastTo<const EmbeddingCuda>(table);
    ALCCA_CHECK(out.cols == table.cols() && static_cast<size_t>(out.rows) == token_ids.size());
    for (const int32_t token : token_ids) {
      ALCCA_CHECK(token >= 0 && token < table.rows());
    }
    CopyRows(out, rows.data(), rows.dtype(), token_ids);
  }

  void RmsNorm(TensorView out, TensorView x, const Buffer& weight, float eps) override {
    const TensorView w = weight.view();
    ALCCA_CHECK(out.rows == x.rows && out.cols == x.cols && w.rows == 1 && w.cols == x.cols);
    recorder_->Do(NormOp{.out = out.f32(),
                         .x = x.f32(),
                         .weight = w.f32(),
                         .rows = x.rows,
                         .cols = x.cols,
                         .eps = eps});
  }

  void MatMul(TensorView out, TensorView x, const Matrix& weight, Accumulate mode) override {
    ALCCA_CHECK(out.rows == x.rows && out.cols == weight.rows() && x.cols == weight.cols());
    recorder_->Do(MatMulOp{.out = out.f32(),
                           .x = x.f32(),
                           .rows = x.rows,
                           .weight = &CastTo<const MatrixCuda>(weight),
                           .add = mode == Accumulate::kAdd});
  }

  void RopeAndStore(TensorView qkv, KvCache& kv, int32_t layer, const Batch& batch,
                    const AttentionShape& shape, const Buffer& frequencies) override {
    KvCacheCuda& cache = CastTo<KvCacheCuda>(kv);
    const TensorView f = frequencies.view();
    ALCCA_CHECK(qkv.cols == shape.qkv_cols() && qkv.rows == batch.tokens());
    ALCCA_CHECK(shape.head_dim % 2 == 0 && shape.head_dim == cache.shape().head_dim);
    ALCCA_CHECK(f.rows == 1 && f.cols == shape.head_dim / 2);
    PlaceRows(batch, cache.shape().page_tokens);
    recorder_->Do(RopeOp{.qkv = qkv.f32(),
                         .kv = &cache,
                         .layer = layer,
                         .places = device_places_,
                         .frequencies = f.f32(),
                         .rows = qkv.rows,
                         .shape = shape});
  }

  void Attention(TensorView out, TensorView qkv, KvCache& kv, int32_t layer, const Batch& batch,
                 const AttentionShape& shape) override {
    ALCCA_CHECK(qkv.cols == shape.qkv_cols() && qkv.rows == batch.tokens());
    ALCCA_CHECK(out.rows == qkv.rows && out.cols == shape.heads * shape.head_dim);
    recorder_->End();
    matmul_->Forget(out.data);
    attention_->Run(out, qkv, CastTo<KvCacheCuda>(kv), layer, batch, shape);
    recorder_->Begin(layer, out.rows);
  }

  void SwiGlu(TensorView out, TensorView gate_up) override {
    ALCCA_CHECK(out.rows == gate_up.rows && gate_up.cols == 2 * out.cols);
    recorder_->Do(
        SwiGluOp{.out = out.f32(), .gate_up = gate_up.f32(), .rows = out.rows, .cols = out.cols});
  }

  void GatherRows(TensorView out, TensorView x, std::span<const int32_t> rows) override {
    ALCCA_CHECK(out.cols == x.cols && static_cast<size_t>(out.rows) == rows.size());
    for (const int32_t row : rows) {
      ALCCA_CHECK(row >= 0 && row < x.rows);
    }
    CopyRows(out, x.f32(), DType::kF32, rows);
  }

  void Sample(std::span<SampledRow> results, TensorView logits,
              std::span<const SamplingRow> rows) override {
    ALCCA_CHECK(sampler_ != nullptr);  // BackendLimits::sampling
    recorder_->End();
    sampler_->Sample(results, logits, rows);
  }

  void Download(std::span<float> out, TensorView x) override {
    ALCCA_CHECK(out.size() == static_cast<size_t>(x.rows) * static_cast<size_t>(x.cols));
    recorder_->End();
    CopyOut(device_.stream, out.data(), x.f32(), out.size_bytes());
    Synchronize(device_.stream);
  }

 private:
  void CopyRows(TensorView out, const void* table, DType dtype, std::span<const int32_t> rows) {
    recorder_->End();
    matmul_->Forget(out.data);
    for (size_t first = 0; first < rows.size();) {
      const size_t count = std::min(rows.size() - first, static_cast<size_t>(ids_.capacity()));
      std::copy_n(rows.data() + first, count,
                  ids_.Next(device_.stream, static_cast<int32_t>(count)));
      const int32_t* device_rows = ids_.Send(device_.stream);
      EmbedRows(device_, out.f32() + first * static_cast<size_t>(out.cols), table, dtype,
                device_rows, static_cast<int32_t>(count), out.cols);
      first += count;
    }
  }

  // Once a step: where each row's key and value go.
  void PlaceRows(const Batch& batch, int32_t page_tokens) {
    if (placed_page_tokens_ == page_tokens) {
      return;
    }
    recorder_->End();
    static_assert(sizeof(RowPlace) == 3 * sizeof(int32_t));
    ALCCA_CHECK(3 * batch.tokens() <= places_.capacity());
    int32_t* place = places_.Next(device_.stream, 3 * batch.tokens());
    for (const BatchSequence& s : batch.sequences) {
      for (int32_t r = 0; r < s.query_count; ++r) {
        const int32_t token = s.position(r);
        const RowPlace row = {batch.positions[static_cast<size_t>(s.query_start + r)],
                              s.pages[token / page_tokens], token % page_tokens};
        std::memcpy(place + 3 * (s.query_start + r), &row, sizeof(row));
      }
    }
    device_places_ = reinterpret_cast<const RowPlace*>(places_.Send(device_.stream));
    placed_page_tokens_ = page_tokens;
  }

  const CudaOptions options_;
  OwnedStream stream_;
  DeviceBudget budget_;
  const DeviceContext device_;
  std::unique_ptr<MatMulCuda> matmul_;
  std::unique_ptr<Recorder> recorder_;        // of everything between attentions
  std::unique_ptr<AttentionCuda> attention_;  // of the last cache made
  std::unique_ptr<SamplerCuda> sampler_;      // or null: no limits for it
  Upload ids_, places_;
  const RowPlace* device_places_ = nullptr;
  int32_t placed_page_tokens_ = 0;  // 0: not yet in this step
};

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(const CudaOptions& options) {
  if (options.kv_dtype == DType::kF16) {
    return absl::InvalidArgumentError("keys and values are kept as bf16 or f32");
  }
  ALCCA_CHECK(options.graph_rows >= 0 && options.graph_rows <= kGraphRowsMax);
  if (options.faiss_search) {  // before weights are loaded
    RETURN_IF_ERROR(CheckFlatKnn());
  }
  ASSIGN_OR_RETURN(DeviceInfo info, OpenDevice());
  const size_t budget = options.memory_bytes > 0 ? options.memory_bytes : info.free_bytes / 10 * 9;
  if (budget > info.free_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the device has ", info.free_bytes, " bytes free of ", info.total_bytes, ", ",
                     budget, " are wanted; another process may hold the rest"));
  }
  auto backend = std::make_unique<BackendCuda>(options, std::move(info), budget);
  RETURN_IF_ERROR(backend->Start());
  return backend;
}

}  // namespace alcca::ALCCA_GPU
