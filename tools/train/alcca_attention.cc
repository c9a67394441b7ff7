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
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

#include "kernels/key_index.h"

namespace {

constexpr int D = HEAD_DIM;
constexpr int kLanes = 16;  // one AVX-512 register
constexpr int kMaxTop = kLanes;
constexpr int kQueries = 8;  // compared with a block of keys at a time, so that it is read once
constexpr float kInfinity = std::numeric_limits<float>::infinity();
using Block = float __attribute__((vector_size(kLanes * sizeof(float))));
using Ints = int32_t __attribute__((vector_size(kLanes * sizeof(int32_t))));

using Nearest = std::array<alcca::NearestKey, kMaxTop>;  // ascending

constexpr Ints kBefore = {0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};

float SquaredDistance(const float* a, const float* b) {
  float sum = 0;
  for (int i = 0; i < D; ++i) {
    sum += (a[i] - b[i]) * (a[i] - b[i]);
  }
  return sum;
}

// Bit l is set if value[l] <= bound.
uint32_t AtMost(Block value, float bound) {
#ifdef __AVX512F__
  return _mm512_cmp_ps_mask(__m512(value), _mm512_set1_ps(bound), _CMP_LE_OQ);
#else
  const Ints below = value <= bound;
  uint32_t bits = 0;
  for (int l = 0; l < kLanes; ++l) {
    bits |= uint32_t(below[l] & 1) << l;
  }
  return bits;
#endif
}

// The least of the values that came, ascending, and their keys. Keys come in descending order, so
// that of equal values the lower key stands first.
struct Least {
  Block value = Block{} + kInfinity;
  Ints key = Ints{} - 1;

  void Insert(float x, int32_t j) {
    const Block v = __builtin_shuffle(value, kBefore);
    const Ints k = __builtin_shuffle(key, kBefore);
    const Ints stays = value < x;
    Ints first = v < x;  // x comes right behind v
    first[0] = -1;
    key = stays ? key : (first ? Ints{} + j : k);
    value = stays ? value : (first ? Block{} + x : v);
  }
};

// Compares queries with all keys of one head: |k|^2 / 2 - q.k, which differs from half the squared
// distance by the same for all keys.
class Scan {
 public:
  Scan(const float* keys, int T)
      : blocks_(size_t(T + 2 * kLanes - 1) / (2 * kLanes) * 2),
        keys_(blocks_ * D),
        half_(blocks_),
        cost_(blocks_ * kQueries) {
    for (int j = 0; j < T; ++j) {
      float sum = 0;
      for (int i = 0; i < D; ++i) {
        keys_[size_t(j / kLanes) * D + i][j % kLanes] = keys[j * D + i];
        sum += keys[j * D + i] * keys[j * D + i];
      }
      half_[j / kLanes][j % kLanes] = sum / 2;
    }
  }

  // Costs of `kQueries` queries with the first `visible` keys and those that fill up two blocks.
  void Compare(const float* q, int visible) {
    const size_t blocks = size_t(visible + kLanes - 1) / kLanes;
    for (size_t b = 0; b < blocks; b += 2) {
      Block a[kQueries], c[kQueries];
#pragma GCC unroll 8
      for (int r = 0; r < kQueries; ++r) {
        a[r] = half_[b];
        c[r] = half_[b + 1];
      }
      const Block *left = &keys_[b * D], *right = left + D;
      for (int i = 0; i < D; ++i) {
#pragma GCC unroll 8
        for (int r = 0; r < kQueries; ++r) {
          a[r] -= left[i] * q[r * D + i];
          c[r] -= right[i] * q[r * D + i];
        }
      }
#pragma GCC unroll 8
      for (int r = 0; r < kQueries; ++r) {
        cost_[r * blocks_ + b] = a[r];
        cost_[r * blocks_ + b + 1] = c[r];
      }
    }
  }

  // The nearest of the first `visible` keys to the r-th query of Compare.
  Least Search(int r, int visible, int K) const {
    Least least;
    float worst = kInfinity;
    const Block* cost = &cost_[r * blocks_];
    for (int b = (visible - 1) / kLanes; b >= 0; --b) {
      uint32_t bits = AtMost(cost[b], worst);
      const int last = visible - b * kLanes;
      if (last < kLanes) {
        bits &= (1u << last) - 1;
      }
      for (; bits != 0; bits &= ~(1u << (31 - __builtin_clz(bits)))) {
        const int lane = 31 - __builtin_clz(bits);
        least.Insert(cost[b][lane], b * kLanes + lane);
      }
      worst = least.value[K - 1];
    }
    return least;
  }

 private:
  size_t blocks_;
  std::vector<Block> keys_;  // [blocks][D]: products vectorise over the keys of a block
  std::vector<Block> half_;
  std::vector<Block> cost_;  // [kQueries][blocks]
};

// Weights of the chosen keys and the mean of their values by them.
struct Rows {
  float *out, *weight;
  int* index;

  void Set(const float* values, const Nearest& near, int count, int K, float eps,
           float delta2) const {
    float total = 0, sum[D] = {};
    for (int s = 0; s < count; ++s) {
      const float w = 1 / (std::sqrt(near[s].squared_distance + delta2) + eps);
      weight[s] = w;
      index[s] = near[s].key;
      total += w;
      for (int i = 0; i < D; ++i) {
        sum[i] += w * values[size_t(near[s].key) * D + i];
      }
    }
    for (int s = count; s < K; ++s) {
      weight[s] = 0;
      index[s] = -1;
    }
    for (int i = 0; i < D; ++i) {
      out[i] = sum[i] / total;
    }
  }
};

void SquaredDistances(float* out, const float* q, const float* keys, int n, int) {
  for (int j = 0; j < n; ++j) {
    out[j] = SquaredDistance(q, keys + j * D);
  }
}

}  // namespace

// K is at most 16. tree_distances: computed for a query by the tree, tree_recent of them with the
// newest keys; 0: every key is compared.
extern "C" void alcca_forward(const float* q, const float* k, const float* v, float* out,
                              int* index, float* weight, int N, int G, int T, int K, float eps,
                              float delta2, int tree_distances, int tree_recent) {
  Nearest near;
  const auto rows = [&](size_t n, int head, int t) {
    const size_t r = (n * G + head) * T + t;
    return Rows{out + r * D, weight + r * K, index + r * K};
  };
  for (size_t n = 0; n < size_t(N); ++n) {
    const float *qn = q + n * G * T * D, *kn = k + n * T * D, *vn = v + n * T * D;
    if (tree_distances > 0) {
      const auto tree = alcca::MakeTreeKeyIndex(D, {tree_distances, tree_recent}, SquaredDistances);
      for (int t = 0; t < T; ++t) {
        tree->Append(kn + size_t(t) * D, 1);
        for (int head = 0; head < G; ++head) {
          const int count = tree->Search(qn + (size_t(head) * T + t) * D, K, t + 1, near);
          rows(n, head, t).Set(vn, near, count, K, eps, delta2);
        }
      }
      continue;
    }
    Scan scan(kn, T);
    for (int head = 0; head < G; ++head) {
      for (int begin = 0; begin < T; begin += kQueries) {
        const int end = std::min(begin + kQueries, T);
        const float* queries = qn + (size_t(head) * T + begin) * D;
        float last[kQueries * D] = {};
        if (end - begin < kQueries) {
          std::copy(queries, queries + (end - begin) * D, last);
        }
        scan.Compare(end - begin < kQueries ? last : queries, end);
        for (int t = begin; t < end; ++t) {
          const Least least = scan.Search(t - begin, t + 1, K);
          const int count = std::min(K, t + 1);
          for (int s = 0; s < count; ++s) {
            // From differences: the cost has lost what a small distance is made of.
            const int key = least.key[s];
            near[s] = {SquaredDistance(queries + (t - begin) * D, kn + size_t(key) * D), key};
          }
          rows(n, head, t).Set(vn, near, count, K, eps, delta2);
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
