#include "engine/checkpoint/gguf_checkpoint.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "engine/checkpoint/gguf_blocks.h"

namespace alcca {
namespace {

// Rows in blocks, or in another order, or both.
class GgufRows final : public RowSource {
 public:
  // `head_dim` 0: the rows are in order.
  GgufRows(const GgufBlockFormat& format, const std::byte* data, uint64_t cols, int64_t head_dim)
      : format_(format),
        data_(data),
        blocks_(cols / format.weights),
        half_(static_cast<int32_t>(head_dim / 2)) {}

  void ReadRow(int32_t row, float* out) const override {
    int32_t stored = row;
    if (half_ > 0) {
      const int32_t in_head = row % (2 * half_);
      stored = row - in_head + 2 * (in_head % half_) + in_head / half_;
    }
    const uint64_t begin = static_cast<uint64_t>(stored) * blocks_ * format_.bytes;
    DequantizeGguf(format_, data_ + begin, blocks_, out);
  }

 private:
  const GgufBlockFormat& format_;
  const std::byte* data_;
  uint64_t blocks_;  // Of a row.
  int32_t half_;     // Of a head's rows; 0: in order.
};

std::optional<DType> KernelDType(GgufBlockType type) {
  switch (type) {
    case GgufBlockType::kF32:
      return DType::kF32;
    case GgufBlockType::kF16:
      return DType::kF16;
    case GgufBlockType::kBF16:
      return DType::kBF16;
    default:
      return std::nullopt;
  }
}

bool IsRotated(std::string_view name) {
  return name.ends_with(".attn_q.weight") || name.ends_with(".attn_k.weight");
}

}  // namespace

std::vector<std::string_view> GgufCheckpoint::TensorNames() const {
  std::vector<std::string_view> names;
  for (const GgufModel::Part& part : model_.parts()) {
    for (const GgufTensor& tensor : part.header.tensors()) {
      names.push_back(tensor.name);
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

const std::string& GgufCheckpoint::FileOf(std::string_view name) const {
  const MappedFile* file = model_.Find(name).second;
  ALCCA_CHECK(file != nullptr);
  return file->path();
}

absl::StatusOr<TensorRef> GgufCheckpoint::Find(std::string_view name,
                                               const std::vector<int64_t>& expected_shape) const {
  const auto [tensor, file] = model_.Find(name);
  if (tensor == nullptr) {
    return absl::NotFoundError(absl::StrCat(model_.parts()[0].file->path(), ": tensor ",
                                            QuoteName(name), ": missing, expected ",
                                            ShapeToString(expected_shape)));
  }
  const std::string where = absl::StrCat(file->path(), ": tensor ", QuoteName(name), ": ");
  if (tensor->shape != expected_shape) {
    return absl::InvalidArgumentError(absl::StrCat(where, "shape ", ShapeToString(tensor->shape),
                                                   ", expected ", ShapeToString(expected_shape)));
  }
  TensorRef ref;
  ref.bytes = tensor->end - tensor->begin;
  ref.file = file;
  ref.begin = tensor->begin;
  RETURN_IF_ERROR(SetExtents(tensor->shape, where, &ref));
  const std::byte* data = file->data() + tensor->begin;
  const std::optional<DType> dtype = KernelDType(tensor->type);
  const int64_t head_dim = IsRotated(name) ? rotated_head_dim_ : 0;
  if (head_dim > 0 && ref.rows % head_dim != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ref.rows, " rows, expected heads of ", head_dim));
  }
  ref.dtype = dtype.value_or(DType::kBF16);
  if (dtype.has_value() && head_dim == 0) {
    ref.data = data;
  } else {
    const GgufBlockFormat& format = *FindGgufBlockFormat(static_cast<uint32_t>(tensor->type));
    ref.source =
        std::make_shared<GgufRows>(format, data, static_cast<uint64_t>(ref.cols), head_dim);
  }
  RETURN_IF_ERROR(file->CheckUnchanged());
  return ref;
}

}  // namespace alcca
