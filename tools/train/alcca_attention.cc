// ALCCA with theta = 0 for training on a CPU: forward and gradient, float32, plain C ABI.
// model.py compiles it; alcca_attention() there is the reference it is checked against.
//
// q, out [N, G, T, D]: G query heads for each of N key heads. k, v [N, T, D]. index and weight
// [N, G, T, K] carry the chosen keys (-1: none) and 1 / (d + eps) from forward to backward, where
// d = sqrt(|q - k|^2 + delta2). Ties go to the lower key.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

namespace {

constexpr int D = HEAD_DIM;
constexpr int kBlock = 16;  // keys at a time: one AVX-512 register
constexpr int kMaxTop = 64;

}  // namespace

extern "C" void alcca_forward(const float* q, const float* k, const float* v, float* out,
                              int* index, float* weight, int N, int G, int T, int K, float eps,
                              float delta2) {
  const int padded = (T + kBlock - 1) / kBlock * kBlock;
  std::vector<float> keys(size_t(D) * padded);  // [D][T]: distances vectorise over keys
  std::vector<float> d2(padded);
  K = std::min(K, kMaxTop);
  for (int n = 0; n < N; ++n) {
    const float* kn = k + size_t(n) * T * D;
    const float* vn = v + size_t(n) * T * D;
    for (int j = 0; j < T; ++j)
      for (int i = 0; i < D; ++i)
        keys[size_t(i) * padded + j] = kn[j * D + i];
    for (int row = 0; row < G * T; ++row) {
      const size_t r = size_t(n) * G * T + row;
      const int visible = row % T + 1;
      const float* qr = q + r * D;
      for (int b = 0; b < visible; b += kBlock) {
        float sum[kBlock] = {};
        for (int i = 0; i < D; ++i)
          for (int l = 0; l < kBlock; ++l) {
            const float e = qr[i] - keys[size_t(i) * padded + b + l];
            sum[l] += e * e;
          }
        std::copy(sum, sum + kBlock, &d2[b]);
      }
      float best[kMaxTop];  // ascending
      int who[kMaxTop];
      int count = 0;
      float worst = std::numeric_limits<float>::infinity();
      for (int b = 0; b < visible; b += kBlock) {
        const int end = std::min(b + kBlock, visible);
        if (count == K && *std::min_element(&d2[b], &d2[b] + (end - b)) >= worst)
          continue;
        for (int j = b; j < end; ++j) {
          if (count == K && d2[j] >= worst)
            continue;
          int p = count < K ? count++ : K - 1;
          for (; p > 0 && best[p - 1] > d2[j]; --p) {
            best[p] = best[p - 1];
            who[p] = who[p - 1];
          }
          best[p] = d2[j];
          who[p] = j;
          if (count == K)
            worst = best[K - 1];
        }
      }
      float total = 0, acc[D] = {};
      for (int s = 0; s < count; ++s) {
        const float w = 1 / (std::sqrt(best[s] + delta2) + eps);
        weight[r * K + s] = w;
        index[r * K + s] = who[s];
        total += w;
        for (int i = 0; i < D; ++i)
          acc[i] += w * vn[size_t(who[s]) * D + i];
      }
      for (int s = count; s < K; ++s) {
        weight[r * K + s] = 0;
        index[r * K + s] = -1;
      }
      for (int i = 0; i < D; ++i)
        out[r * D + i] = acc[i] / total;
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
    while (count < K && idx[count] >= 0)
      total += w[count++];
    for (int i = 0; i < D; ++i)
      g_out += g[i] * out[r * D + i];
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
