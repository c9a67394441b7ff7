#include "kernels/reference/attention_reference.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "kernels/reference/key_tree_reference.h"

namespace alcca {
namespace {

using Vector = std::vector<double>;

class NoState final : public AttentionState {
 public:
  size_t bytes() const override { return 0; }
  double build_seconds() const override { return 0; }
};

double Dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    sum += a[i] * b[i];
  }
  return sum;
}

double Distance(const Vector& a, const Vector& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    sum += (a[i] - b[i]) * (a[i] - b[i]);
  }
  return std::sqrt(sum);
}

// sum_j weights[j] * rows[j] / sum_j weights[j]
Vector WeightedMean(const std::vector<Vector>& rows, const Vector& weights) {
  Vector out(rows[0].size(), 0.0);
  double total = 0;
  for (size_t j = 0; j < rows.size(); ++j) {
    total += weights[j];
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] += weights[j] * rows[j][i];
    }
  }
  for (double& x : out) {
    x /= total;
  }
  return out;
}

Vector Dense(const Vector& q, const std::vector<Vector>& keys, const std::vector<Vector>& values) {
  Vector weights;
  for (const Vector& key : keys) {
    weights.push_back(Dot(q, key) / std::sqrt(static_cast<double>(q.size())));
  }
  const double top = *std::max_element(weights.begin(), weights.end());
  for (double& w : weights) {
    w = std::exp(w - top);
  }
  return WeightedMean(values, weights);
}

// Softmax over the keys of the largest products with q; ties to the lower position.
Vector TopK(const Vector& q, const std::vector<Vector>& keys, const std::vector<Vector>& values,
            float sparsity) {
  std::vector<std::pair<double, size_t>> order;
  for (size_t j = 0; j < keys.size(); ++j) {
    order.emplace_back(-Dot(q, keys[j]), j);
  }
  std::sort(order.begin(), order.end());
  order.resize(TopKCount(sparsity, static_cast<int64_t>(order.size())));
  std::vector<Vector> best_keys, best_values;
  for (const auto& [product, j] : order) {
    best_keys.push_back(keys[j]);
    best_values.push_back(values[j]);
  }
  return Dense(q, best_keys, best_values);
}

Vector Alcca(const Vector& q, const std::vector<Vector>& keys, const std::vector<Vector>& values,
             const AttentionParams& params) {
  const Vector ones(keys.size(), 1.0);
  if (Distance(q, WeightedMean(keys, ones)) < params.theta) {
    return WeightedMean(values, ones);
  }
  std::vector<size_t> compared(keys.size());
  std::iota(compared.begin(), compared.end(), size_t{0});
  if (params.search == KeySearch::kTree) {
    compared = TreeCandidatesReference(
        q, keys, {.distances = params.tree_distances, .recent = params.tree_recent});
  }
  std::vector<std::pair<double, size_t>> order;  // (distance, position): ties to the lower position
  for (const size_t j : compared) {
    order.emplace_back(Distance(q, keys[j]), j);
  }
  std::sort(order.begin(), order.end());
  order.resize(std::min<size_t>(order.size(), params.k));
  Vector weights;
  std::vector<Vector> nearest;
  for (const auto& [distance, j] : order) {
    weights.push_back(1.0 / (distance + params.epsilon));
    nearest.push_back(values[j]);
  }
  return WeightedMean(nearest, weights);
}

Vector Attend(const Vector& q, const std::vector<Vector>& keys, const std::vector<Vector>& values,
              const AttentionParams& params) {
  switch (params.mode) {
    case AttentionMode::kDense:
    case AttentionMode::kWindow:
      return Dense(q, keys, values);
    case AttentionMode::kTopK:
      return TopK(q, keys, values, params.sparsity);
    case AttentionMode::kAlcca:
      return Alcca(q, keys, values, params);
  }
  return {};
}

// The model's own window holds for the softmax modes; alcca sees every key.
int32_t FirstKey(const AttentionParams& params, const AttentionShape& shape, int32_t position) {
  int32_t first = 0;
  if (params.mode != AttentionMode::kAlcca && shape.sliding_window > 0) {
    first = std::max(first, position + 1 - shape.sliding_window);
  }
  if (params.mode == AttentionMode::kWindow) {
    first = std::max(first, position + 1 - params.window);
  }
  return first;
}

Vector ToDouble(const float* x, int32_t d) {
  return Vector(x, x + d);
}

}  // namespace

void AttentionReference(TensorView out, TensorView qkv, const KvCacheHost& kv, int32_t layer,
                        const Batch& batch, const AttentionShape& shape) {
  const int32_t d = shape.head_dim, page_tokens = kv.shape().page_tokens;
  for (const BatchSequence& sequence : batch.sequences) {
    for (int32_t row = 0; row < sequence.query_count; ++row) {
      const int32_t position = sequence.kv_len - sequence.query_count + row;
      const int32_t first = FirstKey(sequence.attention, shape, position);
      for (int32_t head = 0; head < shape.heads; ++head) {
        const int32_t kv_head = head / (shape.heads / shape.kv_heads);
        std::vector<Vector> keys, values;
        for (int32_t t = first; t <= position; ++t) {
          const int32_t page = sequence.pages[t / page_tokens], slot = t % page_tokens;
          keys.push_back(ToDouble(kv.Keys(layer, page, kv_head) + slot * d, d));
          values.push_back(ToDouble(kv.Values(layer, page, kv_head) + slot * d, d));
        }
        const size_t batch_row = sequence.query_start + row;
        const Vector q = ToDouble(qkv.f32() + batch_row * qkv.cols + head * d, d);
        const Vector result = Attend(q, keys, values, sequence.attention);
        std::copy(result.begin(), result.end(), out.f32() + batch_row * out.cols + head * d);
      }
    }
  }
}

absl::StatusOr<std::unique_ptr<AttentionState>> MakeAttentionStateReference(
    const KvShape&, const AttentionParams&) {
  return std::make_unique<NoState>();
}

}  // namespace alcca
