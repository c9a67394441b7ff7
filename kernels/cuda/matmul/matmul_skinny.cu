// Products of few rows, up to about 100: decode, and the ends of prompts. Bound by the bytes of the
// weights, each read once for up to 64 rows of x.
//
// Weights are the M operand of mma.sync, so that 1 to 8 rows of x waste nothing but idle tensor
// cores. A block makes 16 * R outputs of 8 * T rows; its eight warps share the columns out, 64
// bytes of a row each in turn, and add up in order at the end. A lane loads 16 bytes of a weight
// row and as many of an x row, which are the fragments of two mma steps as they stand: which column
// is which k does not matter as long as both operands agree. So nothing is repacked, and there is
// no shared memory but for the final sum. Of fp8 weights 16 bytes are four steps in bf16, with 32
// bytes of x.
//
// The order in which an output is summed depends on the number of columns alone.

#include <algorithm>

#include "base/check.h"
#include "kernels/cuda/device_words/mma.h"
#include "kernels/cuda/matmul/matmul_kernels.h"

namespace alcca::ALCCA_GPU {
namespace {

constexpr int32_t kSkinnyWarps = 8;
constexpr int32_t kSkinnyThreads = kSkinnyWarps * kWarp;
constexpr int32_t kChunkBytes = 64;  // of a row, for a warp
constexpr int32_t kMmaRows = 16, kMmaColumns = 8;
constexpr int32_t kTokenTilesMax = 8;

template <typename W>
struct Traits;  // X: what x is read as
template <>
struct Traits<BFloat16> {
  using Sum = float;
  using X = BFloat16;
};
template <>
struct Traits<Float8> {
  using Sum = float;
  using X = BFloat16;
};
template <>
struct Traits<int8_t> {
  using Sum = int32_t;
  using X = int8_t;
};

__device__ __forceinline__ uint4 Load16(const void* base, size_t row, size_t row_bytes,
                                        size_t offset) {
  return *reinterpret_cast<const uint4*>(static_cast<const std::byte*>(base) + row * row_bytes +
                                         offset);
}
// Weights are read once: they should not push x out of the caches.
__device__ __forceinline__ uint4 LoadOnce16(const void* base, size_t row, size_t row_bytes,
                                            size_t offset) {
  return __ldcs(reinterpret_cast<const uint4*>(static_cast<const std::byte*>(base) +
                                               row * row_bytes + offset));
}

struct Arguments {
  float* out;
  const float* x;
  RowOperands operands;
  const void* operand = nullptr;  // x as Traits<W>::X
  const void* weights = nullptr;
  const float* scales;
  const float* bias;
  int32_t m, n, k;
  size_t row_bytes = 0;  // of the weights
  bool add;
};

// Output [token, feature] from its sum.
__device__ __forceinline__ float Finish(const Arguments& a, int32_t token, int32_t feature,
                                        int32_t dot, int8_t) {
  const RowOperands& o = a.operands;
  const auto* w = static_cast<const int8_t*>(a.weights) + size_t(feature) * a.row_bytes;
  const uint16_t* columns = o.outliers + static_cast<size_t>(token) * o.stride;
  float outliers = 0.0f;
  for (int32_t i = 0; i < o.outlier_counts[token]; ++i) {
    outliers = AddOutlier(outliers, a.x[size_t(token) * a.k + columns[i]], w[columns[i]]);
  }
  return Dequantize(dot, outliers, o.scales[token], a.scales[feature]);
}
__device__ __forceinline__ float Finish(const Arguments&, int32_t, int32_t, float sum, BFloat16) {
  return sum;
}
__device__ __forceinline__ float Finish(const Arguments& a, int32_t, int32_t feature, float sum,
                                        Float8) {
  return a.scales[feature] * sum;
}

// sum += the products of 16 bytes of two weight rows, 8 apart, with what they meet of an x row.
template <typename W>
__device__ __forceinline__ void Multiply(typename Traits<W>::Sum (&sum)[4], const uint4& low,
                                         const uint4& high, const uint4* x) {
  if constexpr (std::is_same_v<W, Float8>) {
    const uint32_t lows[4] = {low.x, low.y, low.z, low.w};
    const uint32_t highs[4] = {high.x, high.y, high.z, high.w};
    const uint32_t xs[8] = {x[0].x, x[0].y, x[0].z, x[0].w, x[1].x, x[1].y, x[1].z, x[1].w};
#pragma unroll
    for (int32_t i = 0; i < 4; ++i) {
      const uint2 l = ToBFloat16s(lows[i]), h = ToBFloat16s(highs[i]);
      const uint32_t a[4] = {l.x, h.x, l.y, h.y}, b[2] = {xs[2 * i], xs[2 * i + 1]};
      Mma(sum, a, b, BFloat16());
    }
  } else {
    const uint32_t a0[4] = {low.x, high.x, low.y, high.y}, b0[2] = {x->x, x->y};
    const uint32_t a1[4] = {low.z, high.z, low.w, high.w}, b1[2] = {x->z, x->w};
    Mma(sum, a0, b0, W());
    Mma(sum, a1, b1, W());
  }
}

template <typename W, int R, int T>
__global__ void __launch_bounds__(kSkinnyThreads) MatMulSkinnyKernel(Arguments a) {
  using Sum = typename Traits<W>::Sum;
  constexpr int32_t kWide = sizeof(typename Traits<W>::X) / sizeof(W);  // bytes of x to one of w
  ALCCA_DYNAMIC_SHARED(Sum, partial);  // [kSkinnyWarps][8 * T tokens][16 features]
  const int32_t warp = static_cast<int32_t>(threadIdx.x) / kWarp;
  const int32_t lane = static_cast<int32_t>(threadIdx.x) % kWarp;
  const int32_t g = lane / 4, t = lane % 4;
  const int32_t first_feature = static_cast<int32_t>(blockIdx.x) * kMmaRows * R;
  const int32_t first_token = static_cast<int32_t>(blockIdx.y) * kMmaColumns * T;
  const int32_t chunks = static_cast<int32_t>(a.row_bytes) / kChunkBytes;
  const int32_t features_end = (a.n + kMmaRows - 1) / kMmaRows * kMmaRows;  // of the padded matrix

  // Loads in flight hide the memory's latency: with few sums there are registers for more.
  [[maybe_unused]] constexpr int32_t kUnroll = R * T <= 2 ? 4 : R * T <= 16 ? 2 : 1;
  Sum sums[R][T][4] = {};
#pragma unroll kUnroll
  for (int32_t chunk = warp; chunk < chunks; chunk += kSkinnyWarps) {
    const size_t offset = static_cast<size_t>(chunk) * kChunkBytes + t * 16;
    uint4 low[R], high[R];
#pragma unroll
    for (int32_t r = 0; r < R; ++r) {
      // A tile past the matrix reads its last rows again; nothing of it is stored.
      const int32_t row = min(first_feature + r * kMmaRows, features_end - kMmaRows) + g;
      low[r] = LoadOnce16(a.weights, row, a.row_bytes, offset);
      high[r] = LoadOnce16(a.weights, row + 8, a.row_bytes, offset);
    }
#pragma unroll
    for (int32_t tile = 0; tile < T; ++tile) {
      const int32_t token = min(first_token + tile * kMmaColumns + g, a.m - 1);
      uint4 x[kWide];
#pragma unroll
      for (int32_t i = 0; i < kWide; ++i) {
        x[i] = Load16(a.operand, token, kWide * a.row_bytes, kWide * offset + 16 * i);
      }
#pragma unroll
      for (int32_t r = 0; r < R; ++r) {
        Multiply<W>(sums[r][tile], low[r], high[r], x);
      }
    }
  }

  constexpr int32_t kOutputs = kMmaRows * kMmaColumns * T;
#pragma unroll
  for (int32_t r = 0; r < R; ++r) {
#pragma unroll
    for (int32_t tile = 0; tile < T; ++tile) {
#pragma unroll
      for (int32_t i = 0; i < 4; ++i) {
        const int32_t token = tile * kMmaColumns + 2 * t + i % 2;
        partial[warp * kOutputs + token * kMmaRows + g + i / 2 * 8] = sums[r][tile][i];
      }
    }
    __syncthreads();
    for (int32_t i = static_cast<int32_t>(threadIdx.x); i < kOutputs; i += kSkinnyThreads) {
      const int32_t token = first_token + i / kMmaRows;
      const int32_t feature = first_feature + r * kMmaRows + i % kMmaRows;
      if (token >= a.m || feature >= a.n) {
        continue;
      }
      Sum sum = partial[i];
      for (int32_t w = 1; w < kSkinnyWarps; ++w) {
        sum += partial[w * kOutputs + i];
      }
      const float y = WithBias(Finish(a, token, feature, sum, W()), a.bias, feature);
      float& out = a.out[static_cast<size_t>(token) * a.n + feature];
      out = a.add ? out + y : y;
    }
    __syncthreads();  // before the next tile overwrites
  }
}

template <typename W, int R, int T>
void Start(const DeviceContext& device, const Arguments& arguments) {
  const int32_t features = kMmaRows * R, tokens = kMmaColumns * T;
  Launch(MatMulSkinnyKernel<W, R, T>,
         {.name = "matmul_skinny",
          .grid = dim3(static_cast<unsigned>((arguments.n + features - 1) / features),
                       static_cast<unsigned>((arguments.m + tokens - 1) / tokens)),
          .block = kSkinnyThreads,
          .shared_bytes = sizeof(float) * kSkinnyWarps * kMmaRows * tokens,
          .stream = device.stream},
         arguments);
}

// The more outputs a block makes, the less often x is read; but there must be blocks for every SM.
template <typename W, int T>
void Start(const DeviceContext& device, const Arguments& arguments) {
  const int32_t tiles = (arguments.n + kMmaRows - 1) / kMmaRows;
  const int32_t possible = tiles / (2 * device.info.sm_count);
  if constexpr (T >= 8) {
    if (possible >= 4) {
      return Start<W, 4, T>(device, arguments);
    }
  }
  if constexpr (T >= 4) {
    if (possible >= 2) {
      return Start<W, 2, T>(device, arguments);
    }
  }
  Start<W, 1, T>(device, arguments);
}

template <typename W>
void StartTiles(const DeviceContext& device, const Arguments& arguments) {
  const int32_t tiles = (arguments.m + kMmaColumns - 1) / kMmaColumns;
  if (tiles == 1) {
    Start<W, 1>(device, arguments);
  } else if (tiles == 2) {
    Start<W, 2>(device, arguments);
  } else if (tiles <= 4) {
    Start<W, 4>(device, arguments);
  } else {
    Start<W, kTokenTilesMax>(device, arguments);
  }
}

}  // namespace

void MatMulSkinny(const DeviceContext& device, const Product& product, const MatrixCuda& weight) {
  Arguments arguments = {.out = product.out,
                         .x = product.x,
                         .operands = product.operands,
                         .scales = weight.scales(),
                         .bias = weight.bias(),
                         .m = product.m,
                         .n = weight.rows(),
                         .k = weight.cols(),
                         .add = product.add};
  if (weight.dtype() == WeightDType::kInt8) {
    arguments.operand = product.operands.int8;
    arguments.weights = weight.data<int8_t>();
    arguments.row_bytes = static_cast<size_t>(weight.stride());
    StartTiles<int8_t>(device, arguments);
  } else if (weight.dtype() == WeightDType::kFp8) {
    arguments.operand = product.operands.bf16;
    arguments.weights = weight.data<Float8>();
    arguments.row_bytes = static_cast<size_t>(weight.stride());
    StartTiles<Float8>(device, arguments);
  } else {
    ALCCA_CHECK(weight.dtype() == WeightDType::kBF16);
    arguments.operand = product.operands.bf16;
    arguments.weights = weight.data<BFloat16>();
    arguments.row_bytes = static_cast<size_t>(weight.stride()) * sizeof(BFloat16);
    StartTiles<BFloat16>(device, arguments);
  }
}

}  // namespace alcca::ALCCA_GPU
