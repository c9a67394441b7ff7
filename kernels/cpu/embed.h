#pragma once

// Row copies of the CPU backend: embedding lookup and gathering.

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/host/host_memory.h"

namespace alcca {

// A table [rows, cols] in the source's element type.
class EmbeddingTable final : public Matrix {
 public:
  // InvalidArgument for an empty table, ResourceExhausted without memory for it.
  static absl::StatusOr<std::unique_ptr<EmbeddingTable>> Copy(const HostTensor& table);

  int32_t rows() const override { return rows_; }
  int32_t cols() const override { return cols_; }
  size_t bytes() const override;
  void ReadRow(int32_t row, float* out) const;  // out [cols]

 private:
  EmbeddingTable(const HostTensor& table, HostMemory data);

  int32_t rows_, cols_;
  DType dtype_;
  HostMemory data_;
};

// out[t] = table[token_ids[t]]; token ids were checked against the vocabulary at admission.
void EmbedCpu(TensorView out, const EmbeddingTable& table, std::span<const int32_t> token_ids);
// out[i] = x[rows[i]].
void GatherRowsCpu(TensorView out, TensorView x, std::span<const int32_t> rows);

}  // namespace alcca
