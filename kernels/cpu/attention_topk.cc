#include "kernels/cpu/attention_topk.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace alcca {
namespace {

struct Scored {
  float score = 0;  // q . k, not scaled
  int32_t key = 0;
};

bool Better(const Scored& a, const Scored& b) {
  return a.score > b.score || (a.score == b.score && a.key < b.key);
}

// All of [first, position], in order.
void ScoreKeys(const AttentionTask& task, const float* q, int32_t first, int32_t position,
               std::vector<Scored>* out) {
  const int32_t page_tokens = task.kv.shape().page_tokens;
  thread_local std::vector<float> scores;
  scores.resize(page_tokens);
  out->clear();
  for (int32_t begin = first; begin <= position;) {
    const int32_t end = std::min(position + 1, (begin / page_tokens + 1) * page_tokens);
    task.kernels.dots(scores.data(), q, task.Key(begin), end - begin, task.shape.head_dim);
    for (int32_t t = begin; t < end; ++t) {
      out->push_back({scores[t - begin], t});
    }
    begin = end;
  }
}

// The best first, then a softmax over them; in that order, so that the sum is the same in any
// chunk.
void Attend(const AttentionTask& task, const std::vector<Scored>& best, float* out) {
  const int32_t d = task.shape.head_dim;
  const float scale = 1.0f / std::sqrt(static_cast<float>(d));
  std::fill_n(out, d, 0.0f);
  float sum = 0;
  for (const Scored& key : best) {
    const float weight = std::exp((key.score - best[0].score) * scale);
    task.kernels.axpy(out, weight, task.Value(key.key), d);
    sum += weight;
  }
  const float norm = 1.0f / sum;
  std::transform(out, out + d, out, [&](float x) { return x * norm; });
}

}  // namespace

void AttentionTopK(const AttentionTask& task) {
  const int32_t d = task.shape.head_dim, group = task.group();
  thread_local std::vector<Scored> scored;
  thread_local std::vector<int32_t> read;  // positions whose value the group reads in this row
  for (int32_t row = task.row_begin; row < task.row_end; ++row) {
    const int32_t position = task.position(row), first = task.FirstVisible(position);
    const int64_t visible = position + 1 - first;
    const int64_t kept = TopKCount(task.sequence.attention.sparsity, visible);
    read.clear();
    for (int32_t g = 0; g < group; ++g) {
      ScoreKeys(task, task.Query(row, g), first, position, &scored);
      std::partial_sort(scored.begin(), scored.begin() + kept, scored.end(), Better);
      scored.resize(kept);
      Attend(task, scored, task.Out(row, g));
      for (const Scored& key : scored) {
        read.push_back(key.key);
      }
    }
    std::sort(read.begin(), read.end());
    const int64_t values = std::unique(read.begin(), read.end()) - read.begin();
    task.counters->qk_exact += group * visible;
    task.counters->pv_exact += group * kept;
    task.counters->kv_bytes_read += (visible + values) * d * int64_t{sizeof(float)};
    CountDenseEquivalent(task, position);
  }
}

}  // namespace alcca
