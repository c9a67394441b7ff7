// Loading: rows go up as the checkpoint has them, in pieces, and are converted on the device.

#include "kernels/cuda/matmul/matrix.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "kernels/cuda/matmul/row_operands.h"
#include "kernels/operands.h"

namespace alcca::ALCCA_GPU {
namespace {

constexpr size_t kPieceBytes = size_t{8} << 20;
// A column is a uint16 in lists of outliers, and a row of floats must fit shared memory.
constexpr int32_t kColsMax = 40960;

__device__ __forceinline__ int8_t Quantized(float scaled, int8_t) {
  return static_cast<int8_t>(__float2int_rn(scaled));
}
__device__ __forceinline__ Float8 Quantized(float scaled, Float8) {
  return ToFloat8(scaled);
}

// Row blockIdx.x of `source` [*, cols] becomes row `first` + blockIdx.x of `out` [*, stride]. For
// 8 bits a row that is not finite sets *bad.
template <typename E, typename W>
__global__ void __launch_bounds__(kRowThreadsMax)
    ConvertRows(W* out, float* scales, int32_t* bad, const E* source, int32_t first, int32_t cols,
                int32_t stride) {
  const int32_t tid = static_cast<int32_t>(threadIdx.x);
  const int32_t threads = static_cast<int32_t>(blockDim.x);
  const E* from = source + static_cast<size_t>(blockIdx.x) * cols;
  W* to = out + (static_cast<size_t>(first) + blockIdx.x) * stride;
  if constexpr (sizeof(W) == 1) {
    constexpr float kLargest = std::is_same_v<W, int8_t> ? 127.0f : kFloat8Max;
    float absmax = 0.0f;
    bool finite = true;
    for (int32_t k = tid; k < cols; k += threads) {
      const float w = ToFloat(from[k]);
      finite &= fabsf(w) < INFINITY;
      absmax = fmaxf(absmax, fabsf(w));
    }
    absmax = BlockMax(absmax);
    if (!finite) {
      *bad = 1;
    }
    const float inverse = absmax < kAbsMaxMin ? 0.0f : kLargest / absmax;
    for (int32_t k = tid; k < stride; k += threads) {
      const float w = k < cols && finite ? ToFloat(from[k]) : 0.0f;
      to[k] = Quantized(absmax < INFINITY ? w * inverse : 0.0f, W());
    }
    if (tid == 0) {
      scales[first + blockIdx.x] = absmax < kAbsMaxMin ? 0.0f : absmax / kLargest;
    }
  } else {
    for (int32_t k = tid; k < stride; k += threads) {
      to[k] = FromFloat<W>(k < cols ? ToFloat(from[k]) : 0.0f);
    }
  }
}

template <typename E, typename W>
void Convert(const DeviceContext& device, const DeviceArray& out, const DeviceArray& scales,
             const DeviceArray& bad, const DeviceArray& source, int32_t first, int32_t rows,
             int32_t cols, int32_t stride) {
  Launch(ConvertRows<E, W>,
         {.name = "convert_rows",
          .grid = static_cast<unsigned>(rows),
          .block = RowThreads(cols),
          .stream = device.stream},
         out.as<W>(), scales.as<float>(), bad.as<int32_t>(), source.as<E>(), first, cols, stride);
}

template <typename E>
void Convert(const DeviceContext& device, WeightDType dtype, const DeviceArray& out,
             const DeviceArray& scales, const DeviceArray& bad, const DeviceArray& source,
             int32_t first, int32_t rows, int32_t cols, int32_t stride) {
  switch (dtype) {
    case WeightDType::kF32:
      return Convert<E, float>(device, out, scales, bad, source, first, rows, cols, stride);
    case WeightDType::kBF16:
      return Convert<E, BFloat16>(device, out, scales, bad, source, first, rows, cols, stride);
    case WeightDType::kInt8:
      return Convert<E, int8_t>(device, out, scales, bad, source, first, rows, cols, stride);
    case WeightDType::kFp8:
      return Convert<E, Float8>(device, out, scales, bad, source, first, rows, cols, stride);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<MatrixCuda>> MatrixCuda::Make(const DeviceContext& device,
                                                             std::span<const HostTensor> parts,
                                                             WeightDType dtype,
                                                             std::span<const HostTensor> bias) {
  auto matrix = std::make_unique<MatrixCuda>();
  MatrixCuda& m = *matrix;
  ASSIGN_OR_RETURN(m.rows_, StackedRows(parts, kColsMax));
  m.cols_ = parts[0].cols;
  m.stride_ = PaddedCols(m.cols_);
  m.padded_rows_ = (m.rows_ + 15) / 16 * 16;
  m.dtype_ = dtype;
  const size_t bytes = WeightBytes(dtype, int64_t{m.padded_rows_} * m.stride_);
  ASSIGN_OR_RETURN(m.data_, device.budget->Allocate(bytes, "a weight matrix"));
  const size_t used = WeightBytes(dtype, int64_t{m.rows_} * m.stride_);
  FillBytes(device.stream, m.data_.as<std::byte>() + used, 0, bytes - used);
  if (FormatOf(dtype).row_scales) {
    ASSIGN_OR_RETURN(m.scales_, device.budget->Allocate(size_t(m.padded_rows_) * 4, "scales"));
    FillBytes(device.stream, m.scales_.get(), 0, size_t(m.padded_rows_) * 4);
  }
  ASSIGN_OR_RETURN(const std::vector<float> biases, StackedBias(parts, bias));
  if (!biases.empty()) {
    const size_t bias_bytes = biases.size() * sizeof(float);
    ASSIGN_OR_RETURN(m.bias_, device.budget->Allocate(bias_bytes, "a bias"));
    CopyIn(device.stream, m.bias_.get(), biases.data(), bias_bytes);
    Synchronize(device.stream);
  }
  ASSIGN_OR_RETURN(const DeviceArray bad, device.budget->Allocate(4, "a flag"));
  FillBytes(device.stream, bad.get(), 0, 4);

  const size_t row_bytes_max = size_t(m.cols_) * 4;
  const size_t piece = std::max(kPieceBytes, row_bytes_max);
  ASSIGN_OR_RETURN(const DeviceArray source, device.budget->Allocate(piece, "loading"));
  ASSIGN_OR_RETURN(const PinnedArray staging, PinnedArray::Allocate(piece));
  int32_t first = 0;
  for (const HostTensor& part : parts) {
    // Rows of a source come as f32.
    const DType dtype_up = part.source != nullptr ? DType::kF32 : part.dtype;
    const size_t row_bytes = size_t(part.cols) * DTypeBytes(dtype_up);
    const int32_t rows_max = static_cast<int32_t>(piece / row_bytes);
    for (int32_t r = 0; r < part.rows;) {
      const int32_t rows = std::min(rows_max, part.rows - r);
      if (part.source != nullptr) {
        ForRowsInParallel(rows, [&](int32_t begin, int32_t count) {
          ReadRows(part, r + begin, count, staging.as<float>() + size_t(begin) * part.cols);
        });
      } else {
        std::memcpy(staging.as<std::byte>(), part.data + size_t(r) * row_bytes, rows * row_bytes);
      }
      CopyIn(device.stream, source.get(), staging.as<std::byte>(), rows * row_bytes);
      const auto convert = dtype_up == DType::kF32    ? &Convert<float>
                           : dtype_up == DType::kBF16 ? &Convert<BFloat16>
                                                      : &Convert<Half>;
      convert(device, dtype, m.data_, m.scales_, bad, source, first, rows, m.cols_, m.stride_);
      Synchronize(device.stream);  // before `staging` is written again
      r += rows;
      first += rows;
    }
  }
  int32_t is_bad = 0;
  CopyOut(device.stream, &is_bad, bad.get(), 4);
  Synchronize(device.stream);
  if (is_bad != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(FormatOf(dtype).name, " needs finite weights; a row has NaN or infinity"));
  }
  return matrix;
}

absl::StatusOr<std::unique_ptr<EmbeddingCuda>> EmbeddingCuda::Make(const DeviceContext& device,
                                                                   const HostTensor& table) {
  if (table.empty() || table.rows < 1 || table.cols < 1) {
    return absl::InvalidArgumentError("an embedding table needs rows and columns");
  }
  auto embedding = std::make_unique<EmbeddingCuda>();
  embedding->rows_ = table.rows;
  embedding->cols_ = table.cols;
  embedding->dtype_ = table.dtype;
  const size_t bytes = embedding->bytes();
  ASSIGN_OR_RETURN(embedding->data_, device.budget->Allocate(bytes, "the embedding"));
  std::vector<std::byte> rows;  // of a source
  if (table.source != nullptr) {
    rows.resize(bytes);
    ForRowsInParallel(table.rows, [&](int32_t begin, int32_t count) {
      ReadStoredRows(table, begin, count, rows.data() + bytes / size_t(table.rows) * begin);
    });
  }
  const std::byte* data = table.source != nullptr ? rows.data() : table.data;
  CopyIn(device.stream, embedding->data_.get(), data, bytes);
  Synchronize(device.stream);
  return embedding;
}

}  // namespace alcca::ALCCA_GPU
