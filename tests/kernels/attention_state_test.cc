// What the CPU backend remembers of a sequence for `alcca`: the running sums against a
// recomputation in double, and the memory and time it owns up to.

#include "kernels/cpu/attention_state_cpu.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/check.h"
#include "gtest/gtest.h"
#include "kernels/backend.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/cpu_features.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/host/kv_cache_host.h"

namespace alcca {
namespace {

constexpr KvShape kKvShape = {
    .layers = 3, .kv_heads = 2, .head_dim = 24, .page_tokens = 8, .pages = 16};
constexpr AttentionShape kShape = {.heads = 4, .kv_heads = 2, .head_dim = 24};
const AttentionParams kAlcca = {{.mode = AttentionMode::kAlcca, .k = 4}};

// A sequence with random keys and values in every page, and the op that advances its state.
class AttentionStateTest : public ::testing::Test {
 protected:
  AttentionStateTest() : cache_(kKvShape), pool_(2) {
    std::mt19937 random(1);
    // A mean of 100 with a spread of 1: sums in f32 would lose digits that the test asks for.
    std::normal_distribution<float> normal(100.0f, 1.0f);
    std::generate_n(cache_.Keys(0, 0, 0), cache_.bytes() / sizeof(float),
                    [&] { return normal(random); });
    for (int32_t page = 0; page < kKvShape.pages; ++page) {
      pages_.push_back((page * 5 + 3) % kKvShape.pages);
    }
  }

  std::unique_ptr<AttentionStateCpu> Make(const AttentionParams& params) {
    return AttentionStateCpu::Make(kKvShape, params, CpuIsa::kPortable).value();
  }

  // One step of `count` tokens over the layers [0, layers).
  void Advance(AttentionStateCpu& state, int32_t count, int32_t layers = kKvShape.layers,
               const AttentionParams& params = kAlcca) {
    std::vector<float> qkv(static_cast<size_t>(count * kShape.qkv_cols()), 1.0f);
    std::vector<float> out(static_cast<size_t>(count * kShape.heads * kShape.head_dim));
    Batch batch;
    batch.token_ids.resize(static_cast<size_t>(count));
    batch.positions.resize(static_cast<size_t>(count));
    batch.sequences.push_back({.query_start = 0,
                               .query_count = count,
                               .kv_len = length_ + count,
                               .pages = pages_.data(),
                               .attention = &params,
                               .state = &state,
                               .counters = &counters_});
    for (int32_t layer = 0; layer < layers; ++layer) {
      AttentionCpu(pool_, CpuIsa::kPortable,
                   {out.data(), DType::kF32, count, kShape.heads * kShape.head_dim},
                   {qkv.data(), DType::kF32, count, kShape.qkv_cols()}, cache_, layer, batch,
                   kShape);
    }
    length_ += count;
  }

  // Keys or values of one layer and head, summed over [0, count) with compensation.
  double Sum(bool values, int32_t layer, int32_t kv_head, int32_t element, int32_t count) {
    double sum = 0, lost = 0;
    for (int32_t t = 0; t < count; ++t) {
      const int32_t page = pages_[static_cast<size_t>(t / kKvShape.page_tokens)];
      const float* block =
          values ? cache_.Values(layer, page, kv_head) : cache_.Keys(layer, page, kv_head);
      const double x = block[t % kKvShape.page_tokens * kKvShape.head_dim + element] - lost;
      const double next = sum + x;
      lost = (next - sum) - x;
      sum = next;
    }
    return sum;
  }

  void ExpectSums(AttentionStateCpu& state, int32_t layer, int32_t count) {
    SCOPED_TRACE("layer " + std::to_string(layer) + " tokens " + std::to_string(count));
    for (int32_t kv_head = 0; kv_head < kKvShape.kv_heads; ++kv_head) {
      const AttentionStateCpu::Head& head = state.head(layer, kv_head);
      ASSERT_EQ(head.index->size(), count);
      for (int32_t i = 0; i < kKvShape.head_dim; ++i) {
        const size_t at = static_cast<size_t>(i);
        ASSERT_NEAR(head.key_sum[at], Sum(false, layer, kv_head, i, count), 1e-9);
        ASSERT_NEAR(head.value_sum[at], Sum(true, layer, kv_head, i, count), 1e-9);
      }
    }
  }

  KvCacheHost cache_;
  ThreadPool pool_;
  std::vector<int32_t> pages_;
  AttentionCounters counters_;
  int32_t length_ = 0;
};

TEST_F(AttentionStateTest, SumsFollowEveryAppend) {
  const auto state = Make(kAlcca);
  for (int32_t layer = 0; layer < kKvShape.layers; ++layer) {
    ExpectSums(*state, layer, 0);
  }
  for (const int32_t count : {1, 1, 5, 1, 8, 16, 3, 1, 30, 1, 1, 60}) {
    Advance(*state, count);
    for (int32_t layer = 0; layer < kKvShape.layers; ++layer) {
      ExpectSums(*state, layer, length_);
    }
  }
  EXPECT_EQ(length_, kKvShape.pages * kKvShape.page_tokens);  // to the last slot of the last page
}

TEST_F(AttentionStateTest, ChunksGiveTheSameBits) {
  const auto whole = Make(kAlcca);
  Advance(*whole, 100);
  for (const int32_t chunk : {1, 7, 64}) {
    const auto state = Make(kAlcca);
    length_ = 0;
    while (length_ < 100) {
      Advance(*state, std::min(chunk, 100 - length_));
    }
    for (int32_t layer = 0; layer < kKvShape.layers; ++layer) {
      for (int32_t kv_head = 0; kv_head < kKvShape.kv_heads; ++kv_head) {
        EXPECT_EQ(state->head(layer, kv_head).key_sum, whole->head(layer, kv_head).key_sum);
        EXPECT_EQ(state->head(layer, kv_head).value_sum, whole->head(layer, kv_head).value_sum);
      }
    }
  }
}

TEST_F(AttentionStateTest, LayersAreApart) {
  const auto state = Make(kAlcca);
  Advance(*state, 9, /*layers=*/1);
  ExpectSums(*state, 0, 9);
  ExpectSums(*state, 1, 0);
  ExpectSums(*state, 2, 0);
  EXPECT_NE(state->head(0, 0).key_sum, state->head(0, 1).key_sum);
}

TEST_F(AttentionStateTest, DenseRemembersNothing) {
  const AttentionParams dense = {{.mode = AttentionMode::kDense}};
  const auto state = Make(dense);
  const size_t before = state->bytes();
  EXPECT_LT(before, 256u);
  Advance(*state, 50, kKvShape.layers, dense);
  EXPECT_EQ(state->bytes(), before);
  EXPECT_EQ(state->build_seconds(), 0.0);
}

TEST_F(AttentionStateTest, BytesAreKnownAtTheStartAndGrowWithPagesAlone) {
  const auto state = Make(kAlcca), twin = Make(kAlcca);
  const size_t empty = state->bytes();
  EXPECT_EQ(empty, twin->bytes());
  const size_t heads = size_t{kKvShape.layers} * kKvShape.kv_heads;
  const size_t sums = heads * 2 * kKvShape.head_dim * sizeof(double);
  EXPECT_GT(empty, sums);
  EXPECT_LT(empty, sums + heads * 1024);
  size_t last = empty;
  for (int32_t t = 0; t < kKvShape.pages * kKvShape.page_tokens; ++t) {
    Advance(*state, 1);
    EXPECT_GE(state->bytes(), last);
    last = state->bytes();
  }
  EXPECT_GE(last, empty + heads * kKvShape.pages * sizeof(float*));
  EXPECT_LT(last, empty + heads * (2 * kKvShape.pages * sizeof(float*) + 256));
  EXPECT_EQ(twin->bytes(), empty);
}

TEST_F(AttentionStateTest, BuildTimeRisesWithTheTokens) {
  const auto state = Make(kAlcca);
  EXPECT_EQ(state->build_seconds(), 0.0);
  Advance(*state, 20);
  const double first = state->build_seconds();
  EXPECT_GT(first, 0.0);
  Advance(*state, 20);
  EXPECT_GT(state->build_seconds(), first);
  EXPECT_LT(state->build_seconds(), 5.0);
}

}  // namespace
}  // namespace alcca
