// Softmax attention, one pass over the pages with running maximum and sum. Each page of keys and
// values is read once for all query heads of the group. Blocks end where pages end, so the order of
// operations depends on the query's position and nothing else.

#include "kernels/cpu/attention_dense.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace alcca {

void AttentionDenseRow(const AttentionTask& task, int32_t row) {
  const int32_t d = task.shape.head_dim, group = task.group();
  const int32_t page_tokens = task.kv.shape().page_tokens;
  const float scale = 1.0f / std::sqrt(static_cast<float>(d));
  thread_local std::vector<float> scores, query;
  thread_local std::vector<SoftmaxState> states;
  scores.resize(page_tokens);
  query.resize(size_t(group) * d);

  const int32_t position = task.position(row);
  const int32_t first = task.FirstAttended(position);
  states.assign(group, {});
  for (int32_t g = 0; g < group; ++g) {
    const float* q = task.Query(row, g);
    std::transform(q, q + d, query.data() + size_t(g) * d, [&](float x) { return x * scale; });
    std::fill_n(task.Out(row, g), d, 0.0f);
  }
  for (int32_t begin = first; begin <= position;) {
    const int32_t end = std::min(position + 1, (begin / page_tokens + 1) * page_tokens);
    const float* keys = task.Key(begin);
    const float* values = task.Value(begin);
    for (int32_t g = 0; g < group; ++g) {
      task.kernels.dots(scores.data(), query.data() + size_t(g) * d, keys, end - begin, d);
      task.kernels.fold(task.Out(row, g), &states[g], scores.data(), values, end - begin, d);
    }
    begin = end;
  }
  for (int32_t g = 0; g < group; ++g) {
    float* out = task.Out(row, g);
    const float norm = 1.0f / states[g].sum;
    std::transform(out, out + d, out, [&](float x) { return x * norm; });
  }
  const int64_t visible = position + 1 - first;
  task.counters->qk_exact += group * visible;
  task.counters->pv_exact += group * visible;
  task.counters->kv_bytes_read += 2 * visible * d * int64_t{sizeof(float)};
  CountDenseEquivalent(task, position);
}

void AttentionDense(const AttentionTask& task) {
  for (int32_t row = task.row_begin; row < task.row_end; ++row) {
    AttentionDenseRow(task, row);
  }
}

}  // namespace alcca
