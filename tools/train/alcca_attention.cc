// ALCCA with theta = 0 for training on a CPU: forward and gradient, float32, plain C ABI.
// model.py compiles it; alcca_attention() there is the reference it is checked against.
//
// q, out [N, G, T, D]: G query heads for each of N key heads. k, v [N, T, D]. index and weight
// [N, G, T, K] carry the chosen keys (-1: none) and 1 / (d + eps) from forward to backward, where
// d = sqrt(|q - k|^2 + delta2). Ties go to the lower key. The choice has no gradient, so it may be
// any search's: every key compared, or the tree that the server searches (kernels/key_index.h).

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "kernels/key_index.h"

namespace {

constexpr int D = HEAD_DIM;
constexpr int kBlock = 16;  // keys at a time: one AVX-512 register
constexpr int kMaxTop = 64;
using Block = float __attribute__((vector_size(kBlock * sizeof(float))));

using Nearest = std::array<alcca::NearestKey, kMaxTop>;  // ascending

// Compares a query with all keys of one head.
class Scan {
 public:
  Scan(const float* keys, int T)
      : keys_(size_t(T + kBlock - 1) / kBlock * D), d2_(keys_.size() / D) {
    for (int j = 0; j < T; ++j) {
      for (int i = 0; i < D; ++i) {
        keys_[size_t(j / kBlock) * D + i][j % kBlock] = keys[j * D + i];
      }
    }
  }

  int Search(const float* q, int visible, int K, Nearest& out) {
    const int blocks = (visible + kBlock - 1) / kBlock;
    for (int b = 0; b < blocks; ++b) {
      d2_[b] = Compare(q, &keys_[size_t(b) * D]);
    }
    int count = 0;
    float worst = std::numeric_limits<float>::infinity();
    for (int b = 0; b < blocks; ++b) {
      if (count == K && !AnyBelow(d2_[b], worst)) {
        continue;
      }
      for (int j = b * kBlock; j < std::min((b + 1) * kBlock, visible); ++j) {
        const float d2 = d2_[b][j % kBlock];
        if (count == K && d2 >= worst) {
          continue;
        }
      }
      int p = count < K ? count++ : K - 1;
      for (; p > 0 && out[p - 1].squared_distance > d2; --p) {
        out[p] = out[p - 1];
      }
      out[p] = {d2, j};
      if (count == K) {
        worst = out[K - 1].squared_distance;
      }
    }
  }
} return count;
}

private:
// Two sums, so that an addition need not wait for the one before it.
static Block Compare(const float* q, const Block* keys) {
  Block even = {}, odd = {};
  for (int i = 0; i < D; i += 2) {
    const Block a = q[i] - keys[i], b = q[i + 1] - keys[i + 1];
    even += a * a;
    odd += b * b;
  }
  return even + odd;
}

static bool AnyBelow(Block d2, float bound) {
  const auto below = d2 < bound;
  int any = 0;
  for (int l = 0; l < kBlock; ++l) {
    any |= below[l];
  }
  return any != 0;
}

std::vector<Block> keys_;  // [blocks][D]: distances vectorise over the keys of a block
std::vector<Block> d2_;
}
;

void SquaredDistances(float* out, const float* q, const float* keys, int n, int d) {
  for (int j = 0; j < n; ++j) {
    float sum = 0;
    for (int i = 0; i < d; ++i) {
      sum += (q[i] - keys[j * d + i]) * (q[i] - keys[j * d + i]);
    }
    out[j] = sum;
  }
}

}  // namespace

// tree_distances: computed for a query by the tree, tree_recent of them with the newest keys;
// 0: every key is compared.
extern "C" void alcca_forward(const float* q, const float* k, const float* v, float* out,
                              int* index, float* weight, int N, int G, int T, int K, float eps,
                              float delta2, int tree_distances, int tree_recent) {
  Nearest near;
  K = std::min(K, kMaxTop);
  for (int n = 0; n < N; ++n) {
    const float* kn = k + size_t(n) * T * D;
    const float* vn = v + size_t(n) * T * D;
    std::unique_ptr<Scan> scan;
    std::unique_ptr<alcca::KeyIndex> tree;
    if (tree_distances > 0) {
      tree = alcca::MakeTreeKeyIndex(D, {tree_distances, tree_recent}, SquaredDistances);
    } else {
      scan = std::make_unique<Scan>(kn, T);
    }
    for (int t = 0; t < T; ++t) {
      if (tree) {
        tree->Append(kn + size_t(t) * D, 1);
      }
      for (int head = 0; head < G; ++head) {
        const size_t r = (size_t(n) * G + head) * T + t;
        const int count = tree ? tree->Search(q + r * D, K, t + 1, near)
                               : scan->Search(q + r * D, t + 1, K, near);
        float total = 0, acc[D] = {};
        for (int s = 0; s < count; ++s) {
          const float w = 1 / (std::sqrt(near[s].squared_distance + delta2) + eps);
          weight[r * K + s] = w;
          index[r * K + s] = near[s].key;
          total += w;
          for (int i = 0; i < D; ++i) {
            acc[i] += w * vn[size_t(near[s].key) * D + i];
          }
        }
        for (int s = count; s < K; ++s) {
          weight[r * K + s] = 0;
          index[r * K + s] = -1;
        }
        for (int i = 0; i < D; ++i) {
          out[r * D + i] = acc[i] / total;
        }
      }
    }
  }
}

// gk and gv come zeroed.
extern "C" void alcca_backward(const float* q, const float* k, const float* v, const float* out,
                               const int* index, const float* weight, const float* grad, float* gq,
                               float* gk, float* gv, int N, int G, int T, int K, float eps) {
  for (size_t r = 0; r < size_t(N) * G * T; ++r) {
    const size_t first = r / (size_t(G) * T) * T;  // this key head's first row of k and v
    const float* g = grad + r * D;
    const int* idx = index + r * K;
    const float* w = weight + r * K;
    int count = 0;
    float total = 0, g_out = 0, acc[D] = {};
    while (count < K && idx[count] >= 0) {
      total += w[count++];
    }
    for (int i = 0; i < D; ++i) {
      g_out += g[i] * out[r * D + i];
    }
    for (int s = 0; s < count; ++s) {
      const size_t j = (first + idx[s]) * D;
      float g_v = 0;
      for (int i = 0; i < D; ++i) {
        g_v += g[i] * v[j + i];
        gv[j + i] += w[s] / total * g[i];
      }
      // out = sum w v / total, dw/dd = -w^2, dd/dq = (q - k) / d.
      const float d = 1 / w[s] - eps;
      const float f = -(g_v - g_out) / total * w[s] * w[s] / d;
      for (int i = 0; i < D; ++i) {
        const float e = f * (q[r * D + i] - k[j + i]);
        acc[i] += e;
        gk[j + i] -= e;
      }
    }
    std::copy(acc, acc + D, gq + r * D);
  }
}
