#include "tools/lab/recording_backend.h"

#include "base/check.h"

namespace alcca::lab {

void RecordingBackend::Attention(TensorView out, TensorView qkv, KvCache& kv, int32_t layer,
                                 const Batch& batch, const AttentionShape& shape) {
  if (observer_ == nullptr) {
    return inner_->Attention(out, qkv, kv, layer, batch, shape);
  }
  Batch seen = batch;
  observer_->OnAttention(layer, qkv, seen, shape);
  inner_->Attention(out, qkv, kv, layer, seen, shape);
}

void QkvRecorder::OnAttention(int32_t layer, TensorView qkv, Batch& batch,
                              const AttentionShape& shape) {
  ALCCA_CHECK(batch.sequences.size() == 1);
  shape_ = shape;
  if (layer >= layers()) {
    rows_.resize(layer + 1);
  }
  std::vector<float>& rows = rows_[layer];
  const size_t count = size_t(qkv.rows) * qkv.cols;
  rows.resize(rows.size() + count);
  backend_->Download(std::span(rows).last(count), qkv);
}

}  // namespace alcca::lab
