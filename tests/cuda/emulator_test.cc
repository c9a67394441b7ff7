// The emulator that every other test of kernels/cuda stands on: does it do what CUDA does, and does
// it notice what CUDA would leave undefined?

#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/device_words/runtime.h"
#include "kernels/cuda/device_words/simt.h"
#include "kernels/half.h"

namespace alcca::cuda_emulated {
namespace {

class Emulator : public ::testing::Test {
 protected:
  ~Emulator() override {
    simt::SetSeed(0);
    DestroyStream(stream_);
  }
  // Runs `kernel` over a device copy of `values` and returns what it left there.
  template <typename T>
  std::vector<T> Run(void (*kernel)(T*), dim3 grid, dim3 block, std::vector<T> values,
                     size_t shared_bytes = 0) {
    DeviceArray array = budget_.Allocate(values.size() * sizeof(T), "test").value();
    CopyIn(stream_, array.get(), values.data(), values.size() * sizeof(T));
    Launch(kernel,
           {.name = "test",
            .grid = grid,
            .block = block,
            .shared_bytes = shared_bytes,
            .stream = stream_},
           array.as<T>());
    CopyOut(stream_, values.data(), array.get(), values.size() * sizeof(T));
    Synchronize(stream_);
    return values;
  }
  DeviceBudget budget_{size_t{1} << 20};
  Stream stream_ = MakeStream();
};

__global__ void WritePlaces(int* out) {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const unsigned at = block * (blockDim.x * blockDim.y * blockDim.z) + thread;
  atomicAdd(&out[at], static_cast<int>(at));
}

TEST_F(Emulator, EveryThreadOfEveryBlockRunsOnce) {
  for (const uint64_t seed : {0, 1, 2}) {
    simt::SetSeed(seed);
    const auto out = Run(WritePlaces, {3, 2, 2}, {5, 3, 2}, std::vector<int>(360));
    for (int i = 0; i < 360; ++i) {
      ASSERT_EQ(out[i], i);
    }
  }
}

__global__ void ReverseInShared(int* data) {
  ALCCA_SHARED(int[96], values);
  const unsigned t = threadIdx.x;
  values[t] = data[t];
  __syncthreads();
  data[t] = values[95 - t];
}
__global__ void ReverseWithoutBarrier(int* data) {
  ALCCA_SHARED(int[96], values);
  const unsigned t = threadIdx.x;
  values[t] = data[t];
  data[t] = values[95 - t];
}

TEST_F(Emulator, BarriersOrderSharedMemory) {
  std::vector<int> values(96), reversed(96);
  std::iota(values.begin(), values.end(), 0);
  std::iota(reversed.rbegin(), reversed.rend(), 0);
  for (const uint64_t seed : {0, 1, 2, 3}) {
    simt::SetSeed(seed);
    EXPECT_EQ(Run(ReverseInShared, 1, 96, values), reversed);
    EXPECT_NE(Run(ReverseWithoutBarrier, 1, 96, values), reversed);
  }
}

__global__ void ReadUnwritten(float* out) {
  ALCCA_SHARED(float[8], fixed);
  ALCCA_SHARED(int, count);
  ALCCA_DYNAMIC_SHARED(float, dynamic);
  out[3 * blockIdx.x] = fixed[3];
  out[3 * blockIdx.x + 1] = dynamic[3];
  out[3 * blockIdx.x + 2] = static_cast<float>(count);
  __syncthreads();
  fixed[3] = dynamic[3] = 1.0f;
  count = 1;
}

TEST_F(Emulator, SharedMemoryIsPoisonedBeforeEachBlock) {
  const auto out = Run(ReadUnwritten, 2, 1, std::vector<float>(6, 0.0f), 64);
  for (const int i : {0, 1, 3, 4}) {
    EXPECT_TRUE(std::isnan(out[i])) << i;
  }
  EXPECT_EQ(out[2], -1.0f);
  EXPECT_EQ(out[5], -1.0f);
}

TEST_F(Emulator, DeviceMemoryIsPoisonedAndWorkWaitsForItsStream) {
  DeviceArray array = budget_.Allocate(4, "test").value();
  float value = 0.0f;
  CopyOut(stream_, &value, array.get(), 4);
  EXPECT_EQ(value, 0.0f);  // not yet
  Synchronize(stream_);
  EXPECT_TRUE(std::isnan(value));
}

TEST_F(Emulator, TheBudgetIsKept) {
  DeviceArray half = budget_.Allocate(size_t{1} << 19, "a").value();
  EXPECT_EQ(budget_.used(), size_t{1} << 19);
  const auto more = budget_.Allocate((size_t{1} << 19) + 1, "the tables");
  EXPECT_TRUE(absl::IsResourceExhausted(more.status()));
  EXPECT_NE(more.status().message().find("the tables"), std::string::npos);
  half = DeviceArray();
  EXPECT_EQ(budget_.used(), 0u);
  EXPECT_TRUE(budget_.Allocate(size_t{1} << 20, "b").ok());
}

__global__ void WarpWords(int* out) {
  const int t = static_cast<int>(threadIdx.x), lane = t % 32;
  int* row = out + 16 * t;
  row[0] = __shfl_sync(kFullMask, t, 5);
  row[1] = __shfl_xor_sync(kFullMask, t, 3);
  row[2] = __shfl_up_sync(kFullMask, t, 2);
  row[3] = __shfl_down_sync(kFullMask, t, 2);
  row[4] = static_cast<int>(__ballot_sync(kFullMask, lane % 3 == 0));
  row[5] = __reduce_add_sync(kFullMask, lane);
  row[6] = __reduce_max_sync(kFullMask, lane ^ 7);
  row[7] = __reduce_min_sync(kFullMask, lane + 4);
  row[8] = __any_sync(kFullMask, lane == 9);
  row[9] = __all_sync(kFullMask, lane < 31);
  row[10] = __shfl_sync(kFullMask, t, 3, 8);
  row[11] = __shfl_down_sync(kFullMask, t, 3, 8);
  // Halves that part ways meet in their own operations.
  if (lane < 16) {
    row[12] = __reduce_add_sync(0x0000ffffu, lane);
    row[13] = __shfl_sync(0x0000ffffu, lane, 2);
  } else {
    row[12] = __reduce_add_sync(0xffff0000u, lane);
    row[13] = -1;
  }
  __syncwarp();
  row[14] = static_cast<int>(WarpSum(static_cast<float>(lane)));
  row[15] = static_cast<int>(WarpMax(static_cast<float>(lane)));
}

TEST_F(Emulator, WarpOperations) {
  for (const uint64_t seed : {0, 7, 8}) {
    simt::SetSeed(seed);
    const auto out = Run(WarpWords, 1, 64, std::vector<int>(16 * 64));
    for (int t = 0; t < 64; ++t) {
      const int lane = t % 32, base = t - lane;
      const std::vector<int> expected = {base + 5,
                                         t ^ 3,
                                         lane >= 2 ? t - 2 : t,
                                         lane < 30 ? t + 2 : t,
                                         0x49249249,
                                         31 * 16,
                                         31,
                                         4,
                                         1,
                                         0,
                                         base + lane / 8 * 8 + 3,
                                         lane % 8 < 5 ? t + 3 : t,
                                         lane < 16 ? 120 : 376,
                                         lane < 16 ? 2 : -1,
                                         31 * 16,
                                         31};
      EXPECT_EQ(std::vector<int>(out.begin() + 16 * t, out.begin() + 16 * t + 16), expected) << t;
    }
  }
}

__global__ void OneLeavesEarly(int* out) {
  if (threadIdx.x == 3) {
    return;
  }
  __syncthreads();
  out[threadIdx.x] = 1;
}
__global__ void TwoBarriers(int* out) {
  if (threadIdx.x < 16) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = 1;
}
__global__ void LaneMissing(int* out) {
  if (threadIdx.x != 8) {
    out[threadIdx.x] = __shfl_sync(kFullMask, 1, 0);
  }
}
__global__ void BarrierAgainstShuffle(int* out) {
  if (threadIdx.x < 8) {
    __syncthreads();
  }
  out[threadIdx.x] = __shfl_sync(kFullMask, 1, 0);
}
__global__ void NotInMask(int* out) {
  out[threadIdx.x] = __shfl_sync(0xffu, 1, 0);
}
__global__ void TooMuchShared(int* out) {
  ALCCA_SHARED(int[13000], values);
  out[0] = values[0];
}

using EmulatorDeathTest = Emulator;

TEST_F(EmulatorDeathTest, DivergenceIsNamed) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const std::vector<int> values(32);
  EXPECT_DEATH(Run(OneLeavesEarly, 1, 32, values), "kernel test.*wait for each other");
  EXPECT_DEATH(Run(TwoBarriers, 1, 32, values), "different barriers");
  EXPECT_DEATH(Run(LaneMissing, 1, 32, values), "wait for each other");
  EXPECT_DEATH(Run(BarrierAgainstShuffle, 1, 32, values), "wait for each other");
  EXPECT_DEATH(Run(NotInMask, 1, 32, values), "not in the mask");
  EXPECT_DEATH(Run(LaneMissing, 1, 16, values), "does not have");
  EXPECT_DEATH(Run(TooMuchShared, 1, 1, values), "more shared memory");
  EXPECT_DEATH(Run(ReadUnwritten, 1, 1, std::vector<float>(3)), "launched without");
  EXPECT_DEATH(Run(WritePlaces, 1, {64, 32}, values), "cannot be launched");
}

TEST(Words, Bits) {
  EXPECT_EQ(__byte_perm(0x33221100u, 0x77665544u, 0x7410), 0x77441100u);
  EXPECT_EQ(__dp4a(0x01ff0380, 0x02020202, 10), 10 + 2 * (1 - 1 + 3 - 128));
  EXPECT_EQ(__popc(0xf0f0u), 8);
  EXPECT_EQ(__clz(1), 31);
  EXPECT_EQ(__ffs(8), 4);
  EXPECT_EQ(__ffs(0), 0);
}

double ValueOf(Float8 f) {
  const int exponent = f.bits >> 3 & 15, mantissa = f.bits & 7;
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return f.bits >> 7 != 0 ? -magnitude : magnitude;
}

TEST(Words, Float8RoundsToTheNearest) {
  std::vector<double> all;
  for (int bits = 0; bits < 0x7f; ++bits) {
    all.push_back(ValueOf({static_cast<uint8_t>(bits)}));
  }
  EXPECT_EQ(all.back(), 448.0);
  for (size_t i = 0; i + 1 < all.size(); ++i) {
    const double middle = (all[i] + all[i + 1]) / 2;
    EXPECT_EQ(ToFloat8(static_cast<float>(all[i])).bits, i);
    EXPECT_EQ(ToFloat8(static_cast<float>(middle)).bits, i % 2 == 0 ? i : i + 1);  // ties to even
    EXPECT_EQ(ToFloat8(std::nextafter(static_cast<float>(middle), 0.0f)).bits, i);
    EXPECT_EQ(ToFloat8(std::nextafter(static_cast<float>(-middle), -1e9f)).bits, 0x81 + i);
  }
  EXPECT_EQ(ToFloat8(1e9f).bits, 0x7e);
  EXPECT_EQ(ToFloat8(-std::numeric_limits<float>::infinity()).bits, 0xfe);
  EXPECT_EQ(ToFloat8(std::numeric_limits<float>::quiet_NaN()).bits & 0x7f, 0x7f);
}

TEST(Words, Float8sBecomeTheSameBFloat16s) {
  for (uint32_t bits = 0; bits < 256; bits += 4) {
    const uint2 pairs = ToBFloat16s(bits | (bits + 1) << 8 | (bits + 2) << 16 | (bits + 3) << 24);
    for (uint32_t i = 0; i < 4; ++i) {
      const Float8 f = {static_cast<uint8_t>(bits + i)};
      const auto half = static_cast<uint16_t>((i < 2 ? pairs.x : pairs.y) >> (16 * (i % 2)));
      if ((f.bits & 0x7f) != 0x7f) {  // weights are finite
        EXPECT_EQ(ToFloat(BFloat16{half}), ValueOf(f)) << bits + i;
      }
    }
  }
}

}  // namespace
}  // namespace alcca::cuda_emulated
