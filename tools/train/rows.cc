// What a training step does to rows beside its products, for a CPU, plain C ABI: model.py compiles
// it, and has the same in PyTorch, which it is checked against. Each function reads a row once,
// where PyTorch's reads and writes one an operation. Bytes are float, or bfloat16 where `half` is
// set.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace {

struct Half {
  uint16_t bits;
};

float Read(float x) {
  return x;
}
float Read(Half x) {
  return std::bit_cast<float>(uint32_t(x.bits) << 16);
}
void Write(float& y, float x) {
  y = x;
}
void Write(Half& y, float x) {  // to the nearest, ties to even
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  y.bits = uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// e^x for x in [-87, 87], relative error 2e-7; a loop over it vectorises, as over std::exp it need
// not.
float Exp(float x) {
  x = std::min(std::max(x, -87.f), 87.f) * 1.44269504f;
  const float whole = std::nearbyint(x), f = (x - whole) * 0.69314718f;
  const float p =
      1 + f * (1 + f * (0.5f + f * (0.16666667f +
                                    f * (0.041666668f + f * (0.0083333f + f * 0.0013889f)))));
  return p * std::bit_cast<float>((int32_t(whole) + 127) << 23);
}

// Lane by lane: compilers reorder no maximum of floats, as one may be NaN.
template <typename T>
float Most(const T* row, int n) {
  constexpr int kLanes = 32;
  float most[kLanes];
  std::fill_n(most, kLanes, Read(row[0]));
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) {
      const float x = Read(row[i + l]);
      most[l] = most[l] < x ? x : most[l];
    }
  }
  for (; i < n; ++i) {
    most[0] = std::max(most[0], Read(row[i]));
  }
  return *std::max_element(most, most + kLanes);
}

// In a function of its own, as compilers believe __restrict of parameters alone.
template <typename T>
void SwigluGradient(const T* __restrict gate, const T* __restrict up, const T* __restrict gy,
                    T* __restrict ggate, T* __restrict gup, int n) {
  for (int i = 0; i < n; ++i) {
    const float a = Read(gate[i]), sigmoid = 1 / (1 + Exp(-a)), g = Read(gy[i]);
    Write(ggate[i], g * Read(up[i]) * sigmoid * (1 + a * (1 - sigmoid)));
    Write(gup[i], g * a * sigmoid);
  }
}

template <typename F>
void With(bool half, void* p, F f) {
  half ? f(static_cast<Half*>(p)) : f(static_cast<float*>(p));
}

}  // namespace

// y = x / rms(x) * weight; x [rows, n] float, y the same; inverse [rows] is 1 / rms.
extern "C" void rms_norm_forward(const float* x, const float* weight, void* y, float* inverse,
                                 int rows, int n, float eps, bool half) {
  With(half, y, [&](auto* out) {
    for (size_t r = 0; r < size_t(rows); ++r) {
      const float* row = x + r * n;
      float sum = 0;
      for (int i = 0; i < n; ++i) {
        sum += row[i] * row[i];
      }
      const float s = inverse[r] = 1 / std::sqrt(sum / n + eps);
      for (int i = 0; i < n; ++i) {
        Write(out[r * n + i], row[i] * s * weight[i]);
      }
    }
  });
}

// gx [rows, n], and gweight [n], which comes zeroed.
extern "C" void rms_norm_backward(const float* x, const float* weight, const float* inverse,
                                  void* gy, float* gx, float* gweight, int rows, int n, bool half) {
  With(half, gy, [&](const auto* g) {
    for (size_t r = 0; r < size_t(rows); ++r, g += n) {
      const float *row = x + r * n, s = inverse[r];
      float dot = 0;
      for (int i = 0; i < n; ++i) {
        const float gi = Read(g[i]);
        dot += gi * weight[i] * row[i];
        gweight[i] += gi * row[i] * s;
      }
      const float along = dot * s * s * s / n;
      for (int i = 0; i < n; ++i) {
        gx[r * n + i] = Read(g[i]) * weight[i] * s - row[i] * along;
      }
    }
  });
}

// y [rows, n] = silu(gate) * up, of x [rows, 2 n]: gate, then up.
extern "C" void swiglu_forward(void* x, void* y, int rows, int n, bool half) {
  With(half, x, [&](auto* in) {
    for (size_t r = 0; r < size_t(rows); ++r) {
      const auto* __restrict gate = in + r * 2 * n, * __restrict up = gate + n;
      auto* __restrict out = static_cast<decltype(in)>(y) + r * n;
      for (int i = 0; i < n; ++i) {
        const float a = Read(gate[i]);
        Write(out[i], a / (1 + Exp(-a)) * Read(up[i]));
      }
    }
  });
}

extern "C" void swiglu_backward(void* x, void* gy, void* gx, int rows, int n, bool half) {
  With(half, x, [&](auto* in) {
    using T = decltype(in);
    for (size_t r = 0; r < size_t(rows); ++r) {
      T gate = in + r * 2 * n, out = static_cast<T>(gx) + r * 2 * n;
      SwigluGradient(gate, gate + n, static_cast<T>(gy) + r * n, out, out + n, n);
    }
  });
}

// loss [rows] = log(sum of e^logits) - logits[target]; total [rows] is that logarithm.
extern "C" void cross_entropy_forward(void* logits, const int64_t* target, float* loss,
                                      float* total, int rows, int n, bool half) {
  With(half, logits, [&](const auto* row) {
    for (int r = 0; r < rows; ++r, row += n) {
      const float most = Most(row, n);
      float sum = 0;
      for (int i = 0; i < n; ++i) {
        sum += Exp(Read(row[i]) - most);
      }
      total[r] = most + std::log(sum);
      loss[r] = total[r] - Read(row[target[r]]);
    }
  });
}

// The logits become their gradient, given the losses' [rows].
extern "C" void cross_entropy_backward(void* logits, const int64_t* target, const float* total,
                                       const float* gloss, int rows, int n, bool half) {
  With(half, logits, [&](auto* row) {
    for (int r = 0; r < rows; ++r, row += n) {
      const float all = total[r], g = gloss[r], hit = Exp(Read(row[target[r]]) - all) - 1;
      for (int i = 0; i < n; ++i) {
        Write(row[i], g * Exp(Read(row[i]) - all));
      }
      Write(row[target[r]], g * hit);
    }
  });
}

// y [B, H, T, D] float, of x [B, T, stride], whose rows hold H heads of D. Where `cos` [T, D / 2]
// is given, each head is rotated by RoPE, halves apart.
extern "C" void split_heads(void* x, const float* cos, const float* sin, float* y, int B, int T,
                            int H, int D, int stride, bool half) {
  With(half, x, [&](const auto* in) {
    for (int b = 0; b < B; ++b) {
      for (int t = 0; t < T; ++t, in += stride) {
        for (int h = 0; h < H; ++h) {
          const auto* from = in + h * D;
          float* to = y + ((size_t(b) * H + h) * T + t) * D;
          for (int i = 0; i < D / 2; ++i) {
            const float c = cos ? cos[t * D / 2 + i] : 1, s = cos ? sin[t * D / 2 + i] : 0;
            const float left = Read(from[i]), right = Read(from[D / 2 + i]);
            to[i] = left * c - right * s;
            to[D / 2 + i] = right * c + left * s;
          }
        }
      }
    }
  });
}

// The way back, which is also the gradient: a rotation's inverse is its transpose.
extern "C" void merge_heads(const float* y, const float* cos, const float* sin, void* x, int B,
                            int T, int H, int D, int stride, bool half) {
  With(half, x, [&](auto* out) {
    for (int b = 0; b < B; ++b) {
      for (int t = 0; t < T; ++t, out += stride) {
        for (int h = 0; h < H; ++h) {
          auto* to = out + h * D;
          const float* from = y + ((size_t(b) * H + h) * T + t) * D;
          for (int i = 0; i < D / 2; ++i) {
            const float c = cos ? cos[t * D / 2 + i] : 1, s = cos ? sin[t * D / 2 + i] : 0;
            Write(to[i], from[i] * c + from[D / 2 + i] * s);
            Write(to[D / 2 + i], from[D / 2 + i] * c - from[i] * s);
          }
        }
      }
    }
  });
}
