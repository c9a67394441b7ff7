#include "kernels/cpu/embed.h"

#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "kernels/half.h"
#include "kernels/operands.h"

namespace alcca {
namespace {

size_t TableBytes(int32_t rows, int32_t cols, DType dtype) {
  return static_cast<size_t>(rows) * static_cast<size_t>(cols) * DTypeBytes(dtype);
}

}  // namespace

EmbeddingTable::EmbeddingTable(const HostTensor& table, HostMemory data)
    : rows_(table.rows), cols_(table.cols), dtype_(table.dtype), data_(std::move(data)) {
  const size_t row_bytes = TableBytes(1, cols_, dtype_);
  ForRowsInParallel(rows_, [&](int32_t begin, int32_t count) {
    ReadStoredRows(table, begin, count, data_.get() + static_cast<size_t>(begin) * row_bytes);
  });
}

size_t EmbeddingTable::bytes() const {
  return TableBytes(rows_, cols_, dtype_);
}

absl::StatusOr<std::unique_ptr<EmbeddingTable>> EmbeddingTable::Copy(const HostTensor& table) {
  if (table.empty() || table.rows < 1 || table.cols < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("an embedding table of [", table.rows, ", ", table.cols, "] is empty"));
  }
  HostMemory data = AllocateHost(TableBytes(table.rows, table.cols, table.dtype));
  if (data == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory for a [", table.rows, ", ", table.cols, "] embedding table"));
  }
  return std::unique_ptr<EmbeddingTable>(new EmbeddingTable(table, std::move(data)));
}

void EmbeddingTable::ReadRow(int32_t row, float* out) const {
  ALCCA_CHECK(row >= 0 && row < rows_);
  const size_t cols = static_cast<size_t>(cols_);
  ToFloat(out, data_.get(), dtype_, static_cast<size_t>(row) * cols, cols);
}

void EmbedCpu(TensorView out, const EmbeddingTable& table, std::span<const int32_t> token_ids) {
  ALCCA_CHECK(out.dtype == DType::kF32 && out.cols == table.cols());
  ALCCA_CHECK(static_cast<size_t>(out.rows) == token_ids.size());
  float* row = out.f32();
  for (const int32_t token : token_ids) {
    table.ReadRow(token, row);
    row += out.cols;
  }
}

void GatherRowsCpu(TensorView out, TensorView x, std::span<const int32_t> rows) {
  ALCCA_CHECK(out.dtype == DType::kF32 && x.dtype == DType::kF32 && out.cols == x.cols);
  ALCCA_CHECK(static_cast<size_t>(out.rows) == rows.size());
  const size_t cols = static_cast<size_t>(x.cols);
  float* to = out.f32();
  for (const int32_t row : rows) {
    ALCCA_CHECK(row >= 0 && row < x.rows);
    std::memcpy(to, x.f32() + static_cast<size_t>(row) * cols, cols * sizeof(float));
    to += cols;
  }
}

}  // namespace alcca
