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
  std::vector<int32_t> keys_read;   // and whose key, where the index did not read all
  std::vector<NearestKey> exact;    // all keys, in a recall check
};

// Distinct positions; sorts them.
int64_t Distinct(std::vector<int32_t>& positions) {
  std::sort(positions.begin(), positions.end());
  return std::unique(positions.begin(), positions.end()) - positions.begin();
}

void AppendToken(const AttentionTask& task, int32_t position, AttentionStateCpu::Head& head) {
  const auto start = std::chrono::steady_clock::now();
  const int32_t d = task.shape.head_dim;
  const float* key = task.Key(position);
  const float* value = task.Value(position);
  for (int32_t i = 0; i < d; ++i) {
    head.key_sum[i] += key[i];
    head.value_sum[i] += value[i];
  }
  const int64_t built = head.index->build_interactions();
  head.index->Append(key, 1);
  task.counters->index_build += head.index->build_interactions() - built;
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

// Counts how many of the k nearest keys of the prefix are among the `found` of scratch.nearest.
void CheckRecall(const AttentionTask& task, const float* q, int32_t g, int32_t prefix,
                 int32_t found, Scratch& scratch) {
  const int32_t page_tokens = task.kv.shape().page_tokens;
  thread_local std::vector<float> distances;
  distances.resize(page_tokens);
  scratch.exact.clear();
  for (int32_t begin = 0; begin < prefix; begin += page_tokens) {
    const int32_t count = std::min(page_tokens, prefix - begin);
    task.kernels.squared_distances(distances.data(), q, task.Key(begin), count,
                                   task.shape.head_dim);
    for (int32_t i = 0; i < count; ++i) {
      scratch.exact.push_back({distances[i], begin + i});
    }
  }
  const int32_t wanted = std::min(task.k(g), prefix);
  std::partial_sort(scratch.exact.begin(), scratch.exact.begin() + wanted, scratch.exact.end(),
                    [](const NearestKey& a, const NearestKey& b) {
                      return a.squared_distance < b.squared_distance ||
                             (a.squared_distance == b.squared_distance && a.key < b.key);
                    });
  task.counters->recall_wanted += wanted;
  for (int32_t i = 0; i < found; ++i) {
    task.counters->recall_found +=
        std::any_of(scratch.exact.begin(), scratch.exact.begin() + wanted,
                    [&](const NearestKey& near) { return near.key == scratch.nearest[i].key; });
  }
}

void FarQuery(const AttentionTask& task, int32_t row, int32_t g, AttentionStateCpu::Head& head,
              Scratch& scratch) {
  const AttentionParams& params = task.params();
  const int32_t d = task.shape.head_dim, prefix = task.position(row) + 1;
  const float* q = task.Query(row, g);
  float* out = task.Out(row, g);
  scratch.nearest.resize(task.k(g));
  const int32_t found = head.index->Search(q, task.k(g), prefix, scratch.nearest);
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
  const SearchCost& cost = head.index->last_cost();
  task.counters->qk_exact += cost.distances;
  task.counters->scalar_comparisons += cost.scalar_comparisons;
  task.counters->pv_exact += found;
  scratch.keys_read.insert(scratch.keys_read.end(), cost.keys_read.begin(), cost.keys_read.end());
  if (params.search == KeySearch::kTree && task.IsSampled(prefix - 1, g, params.recall_sample)) {
    CheckRecall(task, q, g, prefix, found, scratch);
  }
}

}  // namespace

void AttentionAlcca(const AttentionTask& task, AttentionStateCpu::Head& head) {
  const AttentionParams& params = task.params();
  const int32_t d = task.shape.head_dim, group = task.group();
  thread_local Scratch scratch;
  scratch.centre.resize(d);
  scratch.mean_value.resize(d);
  if (params.near_share > 0 && head.distances.empty()) {
    head.distances.assign(group, RunningQuantile(params.near_share));
  }

  for (int32_t row = task.row_begin; row < task.row_end; ++row) {
    const int32_t position = task.position(row);
    // Tokens before the first row ever seen are those of shared pages.
    for (int32_t token = head.index->size(); token <= position; ++token) {
      AppendToken(task, token, head);
    }
    Means(head, position + 1, scratch);
    scratch.read.clear();
    scratch.keys_read.clear();
    bool any_far = false;
    for (int32_t g = 0; g < group; ++g) {
      float gap = 0;
      task.kernels.squared_distances(&gap, task.Query(row, g), scratch.centre.data(), 1, d);
      gap = std::sqrt(gap);
      task.counters->com_test += 1;
      float theta = task.theta(g);
      if (!head.distances.empty()) {
        theta = head.distances[g].value();
        head.distances[g].Add(gap);
      }
      if (gap < theta) {
        std::copy_n(scratch.mean_value.data(), d, task.Out(row, g));
        task.counters->near_queries += 1;
        task.counters->pv_centroid += 1;
      } else {
        FarQuery(task, row, g, head, scratch);
        any_far = true;
      }
    }
    // Memory is read once for the group: values, and a tree's keys, as a union; else all keys.
    const int64_t values = Distinct(scratch.read);
    const int64_t keys = params.search == KeySearch::kTree ? Distinct(scratch.keys_read)
                         : any_far                         ? position + 1
                                                           : 0;
    task.counters->kv_bytes_read += (keys + values) * d * int64_t{sizeof(float)};
    CountDenseEquivalent(task, position);
  }
}

}  // namespace alcca
