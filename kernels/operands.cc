#include "kernels/operands.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/half.h"

namespace alcca {

absl::StatusOr<int32_t> StackedRows(std::span<const HostTensor> parts, int32_t cols_max) {
  constexpr int32_t kPadding = 64;  // at least what any backend pads rows to
  int64_t rows = 0;
  for (const HostTensor& part : parts) {
    if (part.empty() || part.rows < 1 || part.cols != parts[0].cols) {
      return absl::InvalidArgumentError(absl::StrCat("cannot stack a [", part.rows, ", ", part.cols,
                                                     "] tensor into a matrix of ", parts[0].cols,
                                                     " columns"));
    }
    rows += part.rows;
  }
  if (parts.empty() || parts[0].cols < 1 || parts[0].cols > cols_max) {
    return absl::InvalidArgumentError(absl::StrCat("a matrix needs 1 to ", cols_max, " columns"));
  }
  if (rows > std::numeric_limits<int32_t>::max() - kPadding) {
    return absl::InvalidArgumentError(absl::StrCat("a matrix of ", rows, " rows is too tall"));
  }
  return static_cast<int32_t>(rows);
}

absl::StatusOr<std::vector<float>> StackedBias(std::span<const HostTensor> parts,
                                               std::span<const HostTensor> bias) {
  std::vector<float> stacked;
  if (bias.empty()) {
    return stacked;
  }
  if (bias.size() != parts.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(bias.size(), " biases for a stack of ", parts.size(), " tensors"));
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    const HostTensor& vector = bias[i];
    if (vector.empty() || vector.rows != 1 || vector.cols != parts[i].rows) {
      return absl::InvalidArgumentError(absl::StrCat("a bias of [", vector.rows, ", ", vector.cols,
                                                     "] for a tensor of ", parts[i].rows, " rows"));
    }
    const size_t begin = stacked.size();
    stacked.resize(begin + static_cast<size_t>(vector.cols));
    ReadRows(vector, 0, 1, stacked.data() + begin);
  }
  return stacked;
}

void ReadRows(const HostTensor& tensor, int32_t first, int32_t count, float* out) {
  const size_t cols = static_cast<size_t>(tensor.cols);
  if (tensor.source == nullptr) {
    ToFloat(out, tensor.data, tensor.dtype, static_cast<size_t>(first) * cols,
            static_cast<size_t>(count) * cols);
    return;
  }
  for (int32_t row = first; row < first + count; ++row, out += cols) {
    tensor.source->ReadRow(row, out);
  }
}

void ReadStoredRows(const HostTensor& tensor, int32_t first, int32_t count, std::byte* out) {
  const size_t cols = static_cast<size_t>(tensor.cols);
  const size_t row_bytes = cols * DTypeBytes(tensor.dtype);
  if (tensor.source == nullptr) {
    std::memcpy(out, tensor.data + static_cast<size_t>(first) * row_bytes,
                static_cast<size_t>(count) * row_bytes);
    return;
  }
  ALCCA_CHECK(tensor.dtype == DType::kF32 || tensor.dtype == DType::kBF16);
  std::vector<float> floats(cols);
  for (int32_t row = first; row < first + count; ++row, out += row_bytes) {
    tensor.source->ReadRow(row, floats.data());
    if (tensor.dtype == DType::kF32) {
      std::memcpy(out, floats.data(), row_bytes);
      continue;
    }
    for (size_t i = 0; i < cols; ++i) {
      const uint16_t half = FloatToBFloat16(floats[i]);
      std::memcpy(out + i * sizeof(half), &half, sizeof(half));
    }
  }
}

void ForRowsInParallel(int32_t rows, absl::FunctionRef<void(int32_t, int32_t)> read) {
  constexpr int32_t kThreadsMax = 16;
  const int32_t cores = static_cast<int32_t>(std::thread::hardware_concurrency());
  const int32_t threads = std::clamp(std::min(cores, rows), 1, kThreadsMax);
  std::vector<std::thread> others;
  const auto piece = [&](int32_t i) {
    const auto begin = static_cast<int32_t>(int64_t{rows} * i / threads);
    const auto end = static_cast<int32_t>(int64_t{rows} * (i + 1) / threads);
    read(begin, end - begin);
  };
  for (int32_t i = 1; i < threads; ++i) {
    others.emplace_back(piece, i);
  }
  piece(0);
  for (std::thread& other : others) {
    other.join();
  }
}

}  // namespace alcca
