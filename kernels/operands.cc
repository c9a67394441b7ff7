#include "kernels/operands.h"

#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/half.h"

namespace alcca {

absl::StatusOr<int32_t> StackedRows(std::span<const HostTensor> parts, int32_t cols_max) {
  constexpr int32_t kPadding = 64;  // at least what any backend pads rows to
  int64_t rows = 0;
  for (const HostTensor& part : parts) {
    if (part.data == nullptr || part.rows < 1 || part.cols != parts[0].cols) {
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
    if (vector.data == nullptr || vector.rows != 1 || vector.cols != parts[i].rows) {
      return absl::InvalidArgumentError(absl::StrCat("a bias of [", vector.rows, ", ", vector.cols,
                                                     "] for a tensor of ", parts[i].rows, " rows"));
    }
    const size_t begin = stacked.size(), count = static_cast<size_t>(vector.cols);
    stacked.resize(begin + count);
    ToFloat(stacked.data() + begin, vector.data, vector.dtype, 0, count);
  }
  return stacked;
}

}  // namespace alcca
