#include "kernels/reference/attention_reference.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <utility>
#include <vector>

#include "kernels/key_clusters.h"
#include "kernels/reference/key_clusters_reference.h"
#include "kernels/reference/key_tree_reference.h"

namespace alcca {
namespace {

using Vector = std::vector<double>;

// Of the past it keeps what the pages do not hold: the near gate's distances, by (layer, head),
// where theta is their running quantile; and by (layer, KV head) the queries of every position, as
// means over the group.
class ReferenceState final : public AttentionState {
 public:
  size_t bytes() const override { return 0; }
  double build_seconds() const override { return 0; }
  std::map<std::pair<int32_t, int32_t>, std::vector<double>> gate_distances;
  std::map<std::pair<int32_t, int32_t>, std::vector<std::vector<double>>> queries;
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

// The number of `past` below which floor(share * n) of its n numbers lie; before the first, 0.
double RunningTheta(Vector past, float share) {
  if (past.empty()) {
    return 0;
  }
  std::sort(past.begin(), past.end());
  const auto below = static_cast<size_t>(double{share} * static_cast<double>(past.size()));
  return below < past.size() ? past[below] : std::numeric_limits<double>::infinity();
}

Vector Alcca(const Vector& q, const std::vector<Vector>& keys, const std::vector<Vector>& values,
             const AttentionParams& params, double theta, int32_t k) {
  const Vector ones(keys.size(), 1.0);
  if (Distance(q, WeightedMean(keys, ones)) < theta) {
    return WeightedMean(values, ones);
  }
  std::vector<size_t> compared(keys.size());
  std::iota(compared.begin(), compared.end(), size_t{0});
  if (params.search == KeySearch::kTree) {
    compared = TreeCandidatesReference(
        q, keys, {.distances = params.tree_distances, .recent = params.tree_recent});
  }
  std::vector<std::pair<double, size_t>> order;  // (distance, position): ties to the lower position
  order.reserve(compared.size());
  for (const size_t j : compared) {
    order.emplace_back(Distance(q, keys[j]), j);
  }
  std::sort(order.begin(), order.end());
  order.resize(std::min<size_t>(order.size(), k));
  Vector weights;
  std::vector<Vector> nearest;
  for (const auto& [distance, j] : order) {
    weights.push_back(1.0 / (distance + params.epsilon));
    nearest.push_back(values[j]);
  }
  return WeightedMean(nearest, weights);
}

Vector ToDouble(const float* x, int32_t d) {
  return Vector(x, x + d);
}

// Every head of one token of one sequence.
class TokenReference {
 public:
  TokenReference(const KvCacheHost& kv, int32_t layer, const AttentionShape& shape,
                 const BatchSequence& sequence)
      : kv_(kv), layer_(layer), shape_(shape), sequence_(sequence) {}

  // `rows`: the token's row of qkv; `out` that of the output.
  void Answer(int32_t position, const float* qkv, float* out) {
    const int32_t d = shape_.head_dim, group = shape_.heads / shape_.kv_heads;
    for (int32_t kv_head = 0; kv_head < shape_.kv_heads; ++kv_head) {
      Read(position, kv_head);
      std::vector<Vector> queries;
      for (int32_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
        queries.push_back(ToDouble(qkv + head * d, d));
      }
      const std::vector<Vector> results = Group(queries, position, kv_head);
      for (int32_t g = 0; g < group; ++g) {
        std::copy(results[g].begin(), results[g].end(), out + (kv_head * group + g) * d);
      }
    }
  }

 private:
  void Read(int32_t position, int32_t kv_head) {
    const int32_t d = shape_.head_dim, page_tokens = kv_.shape().page_tokens;
    keys_.clear();
    values_.clear();
    const int32_t first = FirstKey(*sequence_.attention, shape_.sliding_window, position);
    for (int32_t t = first; t <= position; ++t) {
      const int32_t page = sequence_.pages[t / page_tokens], slot = t % page_tokens;
      keys_.push_back(ToDouble(kv_.Keys(layer_, page, kv_head) + slot * d, d));
      values_.push_back(ToDouble(kv_.Values(layer_, page, kv_head) + slot * d, d));
    }
  }

  std::vector<Vector> Group(const std::vector<Vector>& queries, int32_t position, int32_t kv_head) {
    const AttentionParams& params = *sequence_.attention;
    if (params.mode == AttentionMode::kMultipole &&
        !MultipoleIsDense(params, shape_.sliding_window, position + 1)) {
      const int32_t blocks = ClosedBlocks(params, shape_.sliding_window, position + 1);
      auto [clusters, is_new] = clusters_.try_emplace({kv_head, blocks});
      if (is_new) {
        auto& past = static_cast<ReferenceState*>(sequence_.state)->queries[{layer_, kv_head}];
        clusters->second = ClustersReference(keys_, values_, past, params, shape_.sliding_window);
      }
      return MultipoleReference(queries, keys_, values_, clusters->second, params);
    }
    std::vector<Vector> results;
    for (const Vector& q : queries) {
      const int32_t head =
          kv_head * (shape_.heads / shape_.kv_heads) + static_cast<int32_t>(results.size());
      results.push_back(One(q, head));
    }
    return results;
  }

  Vector One(const Vector& q, int32_t head) {
    const AttentionParams& params = *sequence_.attention;
    switch (params.mode) {
      case AttentionMode::kDense:
      case AttentionMode::kWindow:
      case AttentionMode::kMultipole:
        return Dense(q, keys_, values_);
      case AttentionMode::kTopK:
        return TopK(q, keys_, values_, params.sparsity);
      case AttentionMode::kAlcca:
        return Alcca(q, keys_, values_, params, Theta(q, head), K(head));
    }
    return {};
  }

  double Theta(const Vector& q, int32_t head) {
    const AttentionParams& params = *sequence_.attention;
    if (params.near_share > 0) {
      Vector& past = static_cast<ReferenceState*>(sequence_.state)->gate_distances[{layer_, head}];
      const double theta = RunningTheta(past, params.near_share);
      past.push_back(Distance(q, WeightedMean(keys_, Vector(keys_.size(), 1.0))));
      return theta;
    }
    return params.head_theta == nullptr ? params.theta
                                        : (*params.head_theta)[layer_ * shape_.heads + head];
  }
  int32_t K(int32_t head) const {
    const AttentionParams& params = *sequence_.attention;
    return params.head_k == nullptr ? params.k : (*params.head_k)[layer_ * shape_.heads + head];
  }

  const KvCacheHost& kv_;
  const int32_t layer_;
  const AttentionShape& shape_;
  const BatchSequence& sequence_;
  std::vector<Vector> keys_, values_;
  std::map<std::pair<int32_t, int32_t>, std::vector<ClusterReference>>
      clusters_;  // (KV head, blocks)
};

}  // namespace

void AttentionReference(TensorView out, TensorView qkv, const KvCacheHost& kv, int32_t layer,
                        const Batch& batch, const AttentionShape& shape) {
  for (const BatchSequence& sequence : batch.sequences) {
    TokenReference token(kv, layer, shape, sequence);
    for (int32_t row = 0; row < sequence.query_count; ++row) {
      const size_t batch_row = sequence.query_start + row;
      token.Answer(sequence.position(row), qkv.f32() + batch_row * qkv.cols,
                   out.f32() + batch_row * out.cols);
    }
  }
}

void RememberQueriesReference(TensorView qkv, int32_t layer, const Batch& batch,
                              const AttentionShape& shape) {
  const int32_t d = shape.head_dim, group = shape.heads / shape.kv_heads;
  for (const BatchSequence& sequence : batch.sequences) {
    auto* state = static_cast<ReferenceState*>(sequence.state);
    for (int32_t row = 0; row < sequence.query_count && state != nullptr; ++row) {
      const float* q = qkv.f32() + size_t(sequence.query_start + row) * qkv.cols;
      for (int32_t kv_head = 0; kv_head < shape.kv_heads; ++kv_head) {
        Vector mean(d, 0.0);
        for (int32_t i = 0; i < group * d; ++i) {
          mean[i % d] += double{q[kv_head * group * d + i]} / group;
        }
        state->queries[{layer, kv_head}].push_back(std::move(mean));
      }
    }
  }
}

std::unique_ptr<AttentionState> ForkAttentionStateReference(const AttentionFork& fork) {
  auto state = std::make_unique<ReferenceState>();
  for (const auto& [head, queries] : static_cast<const ReferenceState*>(fork.from)->queries) {
    state->queries[head].assign(queries.begin(), queries.begin() + fork.tokens);
  }
  return state;
}

absl::StatusOr<std::unique_ptr<AttentionState>> MakeAttentionStateReference(
    const KvShape&, const AttentionParams&) {
  return std::make_unique<ReferenceState>();
}

}  // namespace alcca
