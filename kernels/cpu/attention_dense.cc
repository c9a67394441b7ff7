// Softmax attention, one pass over the pages with running maximum and sum. Each page of keys and
// values is read once for all query heads of the group. Blocks end where pages end, so the order of
// operations depends on the query's position and nothing else.

#include "kernels/cpu/attention_dense.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace alcca {

namespace {

// Query heads [g_begin, g_end) of the group, head g into out(g).
template <typename Out>
void SoftmaxOverPages(const AttentionTask& task, int32_t row, int32_t g_begin, int32_t g_end,
                      Out out) {
  const int32_t d = task.shape.head_dim, heads = g_end - g_begin;
  const int32_t page_tokens = task.kv.shape().page_tokens;
  const float scale = 1.0f / std::sqrt(static_cast<float>(d));
  thread_local std::vector<float> scores, query;
  thread_local std::vector<SoftmaxState> states;
  scores.resize(page_tokens);
  query.resize(size_t(heads) * d);

  const int32_t position = task.position(row);
  states.assign(heads, {});
  for (int32_t h = 0; h < heads; ++h) {
    const float* q = task.Query(row, g_begin + h);
    std::transform(q, q + d, query.data() + size_t(h) * d, [&](float x) { return x * scale; });
    std::fill_n(out(g_begin + h), d, 0.0f);
  }
  for (int32_t begin = task.FirstAttended(position); begin <= position;) {
    const int32_t end = std::min(position + 1, (begin / page_tokens + 1) * page_tokens);
    const float* keys = task.Key(begin);
    const float* values = task.Value(begin);
    for (int32_t h = 0; h < heads; ++h) {
      task.kernels.dots(scores.data(), query.data() + size_t(h) * d, keys, end - begin, d);
      task.kernels.fold(out(g_begin + h), &states[h], scores.data(), values, end - begin, d);
    }
    begin = end;
  }
  for (int32_t h = 0; h < heads; ++h) {
    float* o = out(g_begin + h);
    const float norm = 1.0f / states[h].sum;
    std::transform(o, o + d, o, [&](float x) { return x * norm; });
  }
}

}  // namespace

void DenseHead(const AttentionTask& task, int32_t row, int32_t g, float* out) {
  SoftmaxOverPages(task, row, g, g + 1, [&](int32_t) { return out; });
}

void AttentionDenseRow(const AttentionTask& task, int32_t row) {
  const int32_t d = task.shape.head_dim, group = task.group();
  SoftmaxOverPages(task, row, 0, group, [&](int32_t g) { return task.Out(row, g); });
  const int32_t position = task.position(row);
  const int64_t visible = position + 1 - task.FirstAttended(position);
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
