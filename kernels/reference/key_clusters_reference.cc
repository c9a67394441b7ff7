#include "kernels/reference/key_clusters_reference.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/key_clusters.h"

namespace alcca {
namespace {

using Vector = std::vector<double>;

double InnerProduct(const Vector& a, const Vector& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

double SquaredDistance(const Vector& a, const Vector& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    sum += (a[i] - b[i]) * (a[i] - b[i]);
  }
  return sum;
}

Vector MeanOf(const std::vector<Vector>& rows, const std::vector<size_t>& which) {
  Vector mean(rows[0].size(), 0.0);
  for (const size_t j : which) {
    for (size_t i = 0; i < mean.size(); ++i) {
      mean[i] += rows[j][i] / static_cast<double>(which.size());
    }
  }
  return mean;
}

Vector Normalised(Vector v) {
  const double norm = std::sqrt(InnerProduct(v, v));
  for (double& x : v) {
    x = norm > 0 ? x / norm : 0;
  }
  return v;
}

// The power method on the scatter matrix, written out.
Vector PrincipalAxis(const std::vector<Vector>& keys, const std::vector<size_t>& tokens) {
  const size_t d = keys[0].size();
  const Vector mean = MeanOf(keys, tokens);
  std::vector<Vector> scatter(d, Vector(d, 0.0));
  Vector axis(d, 0.0);
  double farthest = -1;
  for (const size_t t : tokens) {
    Vector centred = keys[t];
    for (size_t i = 0; i < d; ++i) {
      centred[i] -= mean[i];
    }
    if (InnerProduct(centred, centred) > farthest) {
      farthest = InnerProduct(centred, centred);
      axis = centred;
    }
    for (size_t i = 0; i < d; ++i) {
      for (size_t j = 0; j < d; ++j) {
        scatter[i][j] += centred[i] * centred[j];
      }
    }
  }
  axis = Normalised(axis);
  for (int iteration = 0; iteration < kAxisIterations; ++iteration) {
    Vector next(d);
    for (size_t i = 0; i < d; ++i) {
      next[i] = InnerProduct(scatter[i], axis);
    }
    axis = Normalised(next);
  }
  return axis;
}

// Reorders `tokens`, the current order of a segment or of a half of it.
void SplitInHalves(const std::vector<Vector>& keys, std::vector<size_t>& tokens) {
  if (tokens.size() <= kFineTokens) {
    return;
  }
  const Vector axis = PrincipalAxis(keys, tokens);
  std::vector<size_t> by_projection(tokens.size());
  std::iota(by_projection.begin(), by_projection.end(), size_t{0});
  std::stable_sort(by_projection.begin(), by_projection.end(), [&](size_t a, size_t b) {
    return InnerProduct(keys[tokens[a]], axis) < InnerProduct(keys[tokens[b]], axis);
  });
  std::vector<bool> lower(tokens.size(), false);
  for (size_t i = 0; i < tokens.size() / 2; ++i) {
    lower[by_projection[i]] = true;
  }
  std::vector<size_t> halves[2];
  for (size_t i = 0; i < tokens.size(); ++i) {
    halves[lower[i] ? 0 : 1].push_back(tokens[i]);
  }
  tokens.clear();
  for (std::vector<size_t>& half : halves) {
    SplitInHalves(keys, half);
    tokens.insert(tokens.end(), half.begin(), half.end());
  }
}

// Rounded to int8 by one scale.
Vector Stored(Vector mean) {
  double largest = 0;
  for (const double x : mean) {
    largest = std::max(largest, std::fabs(x));
  }
  for (double& x : mean) {
    x = largest > 0 ? std::nearbyint(x / largest * kCentreSteps) * largest / kCentreSteps : 0;
  }
  return mean;
}

// A key and its value as the smallest of clusters.
ClusterReference Leaf(const Vector& key, const Vector& value, const Vector& point, size_t token) {
  ClusterReference leaf;
  leaf.members = {token};
  leaf.point = point;
  leaf.log_mass = InnerProduct(point, key) / std::sqrt(static_cast<double>(key.size()));
  leaf.key = key;
  leaf.value = value;
  return leaf;
}

ClusterReference MakeCluster(const std::vector<ClusterReference>& parts) {
  const size_t d = parts[0].key.size();
  ClusterReference cluster;
  cluster.point = parts[0].point;
  double top = -std::numeric_limits<double>::infinity(), sum = 0;
  for (const ClusterReference& part : parts) {
    cluster.members.insert(cluster.members.end(), part.members.begin(), part.members.end());
    top = std::max(top, part.log_mass);
  }
  for (const ClusterReference& part : parts) {
    sum += std::exp(part.log_mass - top);
  }
  const double log_mass = top + std::log(sum);
  Vector key(d, 0.0), value(d, 0.0);
  for (const ClusterReference& part : parts) {
    for (size_t i = 0; i < d; ++i) {
      key[i] += std::exp(part.log_mass - log_mass) * part.key[i];
      value[i] += std::exp(part.log_mass - log_mass) * part.value[i];
    }
  }
  for (const ClusterReference& part : parts) {
    cluster.variance += std::exp(part.log_mass - log_mass) *
                        (part.variance + SquaredDistance(part.key, key) / static_cast<double>(d));
  }
  cluster.log_mass = log_mass;
  cluster.key = Stored(std::move(key));
  cluster.value = Stored(std::move(value));
  return cluster;
}

// Of what closes at `position`.
Vector ExpansionPoint(const std::vector<Vector>& queries, int position, size_t d) {
  const int end = position / kBlockTokens * kBlockTokens;
  std::vector<size_t> late(std::min(end, kQueryBlocks * kBlockTokens));
  std::iota(late.begin(), late.end(), end - late.size());
  return late.empty() ? Vector(d, 0.0) : MeanOf(queries, late);
}

}  // namespace

std::vector<ClusterReference> ClustersReference(const std::vector<Vector>& keys,
                                                const std::vector<Vector>& values,
                                                const std::vector<Vector>& queries,
                                                const AttentionParams& params, int sliding_window) {
  const int visible = static_cast<int>(keys.size());
  std::vector<size_t> order(std::max(0, visible - params.sinks));
  std::iota(order.begin(), order.end(), static_cast<size_t>(params.sinks));
  std::vector<Vector> points;  // of each block's segment
  int done = 0;
  for (int seen = 1; seen <= visible; ++seen) {
    const int blocks = ClosedBlocks(params, sliding_window, seen);
    points.resize(blocks);
    for (int end = done + 1; end <= blocks; ++end) {
      bool merged_at_once = false;  // by a later segment of the same query
      for (int later = end + 1; later <= blocks; ++later) {
        merged_at_once |= later - SegmentBlocks(later) < end;
      }
      if (!merged_at_once) {
        const auto first = order.begin() + (end - SegmentBlocks(end)) * kBlockTokens;
        const auto last = order.begin() + end * kBlockTokens;
        std::vector<size_t> segment(first, last);
        SplitInHalves(keys, segment);
        std::copy(segment.begin(), segment.end(), first);
        std::fill(points.begin() + (end - SegmentBlocks(end)), points.begin() + end,
                  ExpansionPoint(queries, seen - 1, keys[0].size()));
      }
    }
    done = blocks;
  }
  std::vector<ClusterReference> clusters;
  for (int block = 0; block < done; ++block) {
    std::vector<ClusterReference> middles;
    size_t next = size_t(block) * kBlockTokens;
    for (int m = 0; m < kFanout; ++m) {
      std::vector<ClusterReference> fines;
      for (int f = 0; f < kFanout; ++f) {
        std::vector<ClusterReference> leaves;
        for (int i = 0; i < kFineTokens; ++i) {
          const size_t token = order[next++];
          leaves.push_back(Leaf(keys[token], values[token], points[block], token));
        }
        fines.push_back(MakeCluster(leaves));
      }
      middles.push_back(MakeCluster(fines));
      middles.back().parts = std::move(fines);
    }
    clusters.push_back(MakeCluster(middles));
    clusters.back().parts = std::move(middles);
  }
  return clusters;
}

std::vector<Vector> MultipoleReference(const std::vector<Vector>& queries,
                                       const std::vector<Vector>& keys,
                                       const std::vector<Vector>& values,
                                       const std::vector<ClusterReference>& clusters,
                                       const AttentionParams& params) {
  const size_t heads = queries.size();
  const double root = std::sqrt(static_cast<double>(keys[0].size()));
  const auto correction = [&](size_t h, const ClusterReference& c) {
    return std::min(
        SquaredDistance(queries[h], clusters.back().point) * c.variance / (2 * root * root),
        double{kClusterCorrectionMax});
  };
  const auto logit = [&](size_t h, const ClusterReference& c) {
    return c.log_mass + (InnerProduct(queries[h], c.key) - InnerProduct(c.point, c.key)) / root +
           correction(h, c);
  };
  std::vector<bool> clustered(keys.size(), false);
  std::vector<const ClusterReference*> closed;
  for (const ClusterReference& c : clusters) {
    closed.push_back(&c);
    for (const size_t t : c.members) {
      clustered[t] = true;
    }
  }
  std::vector<size_t> real;
  for (size_t t = 0; t < keys.size(); ++t) {
    if (!clustered[t]) {
      real.push_back(t);
    }
  }
  const auto real_mass = [&](size_t h) {
    double sum = 0;
    for (const size_t t : real) {
      sum += std::exp(InnerProduct(queries[h], keys[t]) / root);
    }
    return sum;
  };
  // Masses are compared across heads as shares of each head's first estimate.
  Vector first(heads);
  for (size_t h = 0; h < heads; ++h) {
    first[h] = real_mass(h);
    for (const ClusterReference* c : closed) {
      first[h] += std::exp(logit(h, *c));
    }
  }
  const auto mass_rms = [&](const ClusterReference& c) {
    double largest = 0;
    for (size_t h = 0; h < heads; ++h) {
      largest = std::max(largest, std::exp(logit(h, c) + correction(h, c)) / first[h]);
    }
    return largest;
  };
  int rows = 0;
  while (!closed.empty()) {
    double uncovered = 0;
    for (size_t h = 0; h < heads; ++h) {
      double rest = 0;
      for (const ClusterReference* c : closed) {
        rest += std::exp(logit(h, *c));
      }
      uncovered = std::max(uncovered, rest / (rest + real_mass(h)));
    }
    if (params.mass < 1 && uncovered <= 1 - double{params.mass}) {
      break;
    }
    // Of equals the first, which is the one that came to light first.
    std::stable_sort(closed.begin(), closed.end(),
                     [&](const ClusterReference* a, const ClusterReference* b) {
                       return mass_rms(*a) > mass_rms(*b);
                     });
    size_t round = 0;
    bool fits = true;
    while (fits && round < std::min(closed.size(), size_t{kOpenedAtOnce})) {
      const ClusterReference& next = *closed[round];
      rows += static_cast<int>(next.parts.empty() ? next.members.size() : next.parts.size());
      fits = params.max_keys == 0 || rows <= params.max_keys;
      round += fits ? 1 : 0;
    }
    const std::vector<const ClusterReference*> opened(closed.begin(), closed.begin() + round);
    closed.erase(closed.begin(), closed.begin() + round);
    for (const ClusterReference* cluster : opened) {
      if (cluster->parts.empty()) {
        real.insert(real.end(), cluster->members.begin(), cluster->members.end());
      }
      for (const ClusterReference& part : cluster->parts) {
        closed.push_back(&part);
      }
    }
    if (!fits) {
      break;
    }
  }
  std::vector<Vector> outputs;
  for (size_t h = 0; h < heads; ++h) {
    std::vector<std::pair<double, const Vector*>> terms;
    for (const size_t t : real) {
      terms.emplace_back(InnerProduct(queries[h], keys[t]) / root, &values[t]);
    }
    for (const ClusterReference* c : closed) {
      terms.emplace_back(logit(h, *c), &c->value);
    }
    const double top = std::max_element(terms.begin(), terms.end(), [](auto& a, auto& b) {
                         return a.first < b.first;
                       })->first;
    Vector out(values[0].size(), 0.0);
    double total = 0;
    for (const auto& [score, value] : terms) {
      total += std::exp(score - top);
      for (size_t i = 0; i < out.size(); ++i) {
        out[i] += std::exp(score - top) * (*value)[i];
      }
    }
    for (double& x : out) {
      x /= total;
    }
    outputs.push_back(std::move(out));
  }
  return outputs;
}

}  // namespace alcca
