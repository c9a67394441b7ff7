// ALCCA, verbatim (DESIGN: c = mean of the keys; near: mean of the values; far: the k nearest keys,
// weights 1 / (distance + epsilon), normalised). The sums and the index grow row by row, so a query
// sees exactly the keys up to its own, wherever the prompt was cut.

#include "kernels/cpu/attention_alcca.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

namespace alcca {
namespace {

struct Scratch {
  std::vector<float> centre;        // [d]
  std::vector<float> mean_value;    // [d]
  std::vector<NearestKey> nearest;  // [k]
  std::vector<int32_t> read;        // positions whose value was read in this row
};

void AppendToken(const AttentionTask& task, int32_t position, AttentionStateCpu::Head& head) {
  const auto start = std::chrono::steady_clock::now();
  const int32_t d = task.shape.head_dim;
  const float* key = task.Key(position);
  const float* value = task.Value(position);
  for (int32_t i = 0; i < d; ++i) {
    head.key_sum[i] += key[i];
    head.value_sum[i] += value[i];
  }
  head.index->Append(key, 1);
  task.counters->running_sums += 2;
  head.build_seconds +=
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void Means(const AttentionStateCpu::Head& head, int32_t count, Scratch& scratch) {
  const double inverse = 1.0 / count;
  for (size_t i = 0; i < head.key_sum.size(); ++i) {
    scratch.centre[i] = static_cast<float>(head.key_sum[i] * inverse);
    scratch.mean_value[i] = static_cast<float>(head.value_sum[i] * inverse);
  }
}

void FarQuery(const AttentionTask& task, int32_t row, int32_t g, AttentionStateCpu::Head& head,
              Scratch& scratch) {
  const AttentionParams& params = task.sequence.attention;
  const int32_t d = task.shape.head_dim, prefix = task.position(row) + 1;
  const float* q = task.Query(row, g);
  float* out = task.Out(row, g);
  const int32_t found = head.index->Search(q, params.k, prefix, scratch.nearest);
  std::fill_n(out, d, 0.0f);
  float sum = 0;
  for (int32_t i = 0; i < found; ++i) {
    const NearestKey& near = scratch.nearest[i];
    const float weight = 1.0f / (std::sqrt(near.squared_distance) + params.epsilon);
    task.kernels.axpy(out, weight, task.Value(near.key), d);
    sum += weight;
    scratch.read.push_back(near.key);
  }
  // No key found means every distance was NaN; 0 / 0 hands that on to the logits, where it is
  // caught.
  const float norm = 1.0f / sum;
  std::transform(out, out + d, out, [&](float x) { return x * norm; });
  task.counters->qk_exact += prefix;
  task.counters->pv_exact += found;
}

}  // namespace

void AttentionAlcca(const AttentionTask& task, AttentionStateCpu::Head& head) {
  const AttentionParams& params = task.sequence.attention;
  const int32_t d = task.shape.head_dim, group = task.group();
  thread_local Scratch scratch;
  scratch.centre.resize(d);
  scratch.mean_value.resize(d);
  scratch.nearest.resize(params.k);

  for (int32_t row = task.row_begin; row < task.row_end; ++row) {
    const int32_t position = task.position(row);
    AppendToken(task, position, head);
    Means(head, position + 1, scratch);
    scratch.read.clear();
    bool any_far = false;
    for (int32_t g = 0; g < group; ++g) {
      float gap = 0;
      task.kernels.squared_distances(&gap, task.Query(row, g), scratch.centre.data(), 1, d);
      gap = std::sqrt(gap);
      task.counters->com_test += 1;
      if (gap < params.theta) {
        std::copy_n(scratch.mean_value.data(), d, task.Out(row, g));
        task.counters->near_queries += 1;
        task.counters->pv_centroid += 1;
      } else {
        FarQuery(task, row, g, head, scratch);
        any_far = true;
      }
    }
    // Keys are scanned once for the group as far as memory is concerned; values as a union.
    std::sort(scratch.read.begin(), scratch.read.end());
    const int64_t values =
        std::unique(scratch.read.begin(), scratch.read.end()) - scratch.read.begin();
    const int64_t keys = any_far ? position + 1 : 0;
    task.counters->kv_bytes_read += (keys + values) * d * int64_t{sizeof(float)};
    CountDenseEquivalent(task, position);
  }
}

}  // namespace alcca
