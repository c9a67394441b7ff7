#pragma once

// Checks that every backend makes on the operands of its caller.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "base/check.h"
#include "kernels/tensor.h"

namespace alcca {

// The backend's own kind of an opaque operand.
template <class Wanted, class Base>
Wanted& CastTo(Base& base) {
  auto* wanted = dynamic_cast<Wanted*>(&base);
  ALCCA_CHECK(wanted != nullptr);  // made by another backend, or for another op
  return *wanted;
}

// The number of rows of the matrix that the stacked `parts` make. InvalidArgument: there is no
// part, a part is empty or has another width, or the matrix has more than `cols_max` columns or
// more rows than an int32_t holds with padding.
absl::StatusOr<int32_t> StackedRows(std::span<const HostTensor> parts, int32_t cols_max);

// The biases of `parts` one after another, [rows of all parts]; empty if `bias` is.
// InvalidArgument: there is not one for each part, with a value for each of its rows.
absl::StatusOr<std::vector<float>> StackedBias(std::span<const HostTensor> parts,
                                               std::span<const HostTensor> bias);

// Rows [first, first + count) of `tensor` as f32, [count, cols].
void ReadRows(const HostTensor& tensor, int32_t first, int32_t count, float* out);

// The same in `tensor.dtype`, which is f32 or bf16 if the tensor has a source.
void ReadStoredRows(const HostTensor& tensor, int32_t first, int32_t count, std::byte* out);

// Calls read(first, count) for pieces of [0, rows), on as many threads as the machine has.
void ForRowsInParallel(int32_t rows, absl::FunctionRef<void(int32_t, int32_t)> read);

}  // namespace alcca
