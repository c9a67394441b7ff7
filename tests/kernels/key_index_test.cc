// The per-request FAISS index against brute force in double.

#include "kernels/key_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "kernels/cpu/attention_kernels.h"

namespace alcca {
namespace {

// Keys in separate blocks, as KV pages hold them.
class Keys {
 public:
  Keys(int32_t d, int32_t block) : d_(d), block_(block) {}
  float* Add() {
    if (count_ % block_ == 0) {
      blocks_.push_back(std::make_unique<float[]>(size_t(block_) * d_));
    }
    return blocks_.back().get() + size_t(count_++ % block_) * d_;
  }
  const float* at(int32_t t) const { return blocks_[t / block_].get() + size_t(t % block_) * d_; }
  int32_t size() const { return count_; }

  std::vector<NearestKey> Nearest(const std::vector<float>& q, int32_t k, int32_t prefix) const {
    std::vector<std::pair<double, int32_t>> order;
    for (int32_t t = 0; t < prefix; ++t) {
      double sum = 0;
      for (int32_t i = 0; i < d_; ++i) {
        sum += (double{q[i]} - at(t)[i]) * (double{q[i]} - at(t)[i]);
      }
      order.emplace_back(sum, t);
    }
    std::sort(order.begin(), order.end());
    std::vector<NearestKey> out;
    for (int32_t i = 0; i < std::min(k, prefix); ++i) {
      out.push_back({float(order[i].first), order[i].second});
    }
    return out;
  }

 private:
  const int32_t d_, block_;
  int32_t count_ = 0;
  std::vector<std::unique_ptr<float[]>> blocks_;
};

struct Case {
  const char* name;
  SquaredDistances distances;
};

class KeyIndexTest : public ::testing::TestWithParam<Case> {};

TEST_P(KeyIndexTest, FindsWhatBruteForceFinds) {
  std::mt19937 random(1);
  // Eighths: every distance is exact in f32, so that the order is, too, ties included.
  std::normal_distribution<float> normal;
  const auto draw = [&] { return std::round(normal(random) * 8) / 8; };
  for (const int32_t d : {3, 16, 32, 40, 128}) {
    for (const int32_t block : {1, 5, 16, 64}) {
      Keys keys(d, block);
      auto index = MakeFaissKeyIndex(d, block, GetParam().distances).value();
      for (int32_t t = 0; t < 150; ++t) {
        float* key = keys.Add();
        std::generate_n(key, d, draw);
        index->Append(key, 1);
        if (t % 13 != 0 && t != 149) continue;
        std::vector<float> q(d);
        std::generate_n(q.begin(), d, draw);
        for (const int32_t k : {1, 8, 200}) {
          for (const int32_t prefix : {1, (t + 1) / 2 + 1, t + 1}) {
            std::vector<NearestKey> out(k);
            const auto expected = keys.Nearest(q, k, prefix);
            ASSERT_EQ(index->Search(q.data(), k, prefix, out), int32_t(expected.size()));
            for (size_t i = 0; i < expected.size(); ++i) {
              ASSERT_EQ(out[i].key, expected[i].key) << d << " " << block << " " << t;
              ASSERT_NEAR(out[i].squared_distance, expected[i].squared_distance,
                          1e-5 * expected[i].squared_distance);
            }
          }
        }
      }
      EXPECT_EQ(index->size(), 150);
    }
  }
}

TEST_P(KeyIndexTest, EqualDistancesComeInOrderOfPosition) {
  Keys keys(16, 8);
  auto index = MakeFaissKeyIndex(16, 8, GetParam().distances).value();
  for (int32_t t = 0; t < 50; ++t) {
    float* key = keys.Add();
    std::fill_n(key, 16, 0.0f);
    key[t % 16] = t % 5 == 0 ? 2.0f : 1.0f;
    index->Append(key, 1);
  }
  const std::vector<float> q(16, 0.0f);
  std::vector<NearestKey> out(45);
  ASSERT_EQ(index->Search(q.data(), 45, 50, out), 45);
  std::vector<int32_t> expected;
  for (int32_t t = 0; t < 50; ++t) {
    if (t % 5 != 0) expected.push_back(t);
  }
  for (int32_t t = 0; expected.size() < 45; t += 5) expected.push_back(t);
  for (size_t i = 0; i < 45; ++i) {
    EXPECT_EQ(out[i].key, expected[i]) << i;
  }
}

TEST_P(KeyIndexTest, NanKeysAreNeverFound) {
  Keys keys(8, 4);
  auto index = MakeFaissKeyIndex(8, 4, GetParam().distances).value();
  for (int32_t t = 0; t < 12; ++t) {
    float* key = keys.Add();
    std::fill_n(key, 8, t % 2 ? float(t) : std::numeric_limits<float>::quiet_NaN());
    index->Append(key, 1);
  }
  const std::vector<float> q(8, 0.0f);
  std::vector<NearestKey> out(12);
  ASSERT_EQ(index->Search(q.data(), 12, 12, out), 6);
  for (int32_t i = 0; i < 6; ++i) {
    EXPECT_EQ(out[i].key, 2 * i + 1);
  }
}

// Keys stay where they are: the index holds a pointer per block, not the block.
TEST_P(KeyIndexTest, MemoryIsFarBelowTheKeys) {
  Keys keys(128, 64);
  auto index = MakeFaissKeyIndex(128, 64, GetParam().distances).value();
  for (int32_t t = 0; t < 6400; ++t) {
    float* key = keys.Add();
    std::fill_n(key, 128, float(t));
    index->Append(key, 1);
  }
  EXPECT_LT(index->bytes(), 6400u * 128 * sizeof(float) / 500);
}

INSTANTIATE_TEST_SUITE_P(
    Distances, KeyIndexTest,
    ::testing::Values(Case{"faiss", nullptr},
                      Case{"portable", AttentionKernelsFor(CpuIsa::kPortable).squared_distances},
                      Case{"best", AttentionKernelsFor(ChooseCpuIsa("auto").value()).squared_distances}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace alcca
