// Exact search through FAISS against sorting all distances in double: everything but the one call
// of bfKnn, for which an unkind stand-in answers
// (kernels/cuda/device_words/emulated/flat_knn_emulated.cc).

#include "kernels/cuda/attention/alcca/faiss_search.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/half.h"

namespace alcca::cuda_emulated {
namespace {

struct Problem {
  int32_t d = 16, page_tokens = 5, rows = 1, group = 4, first_prefix = 100, k = 8;
  int32_t piece_keys = 16384, block_queries = 256;
  std::vector<int32_t> head_k = {};
  int32_t seen() const { return first_prefix + rows - 1; }
};

class KeySearchFaiss : public ::testing::Test {
 protected:
  ~KeySearchFaiss() override {
    simt::SetSeed(0);
    DestroyStream(stream_);
  }

  // Small whole numbers: every distance is exact and many are equal.
  void FillWhole(const Problem& p, int32_t range) {
    Fill(p, [&] {
      return static_cast<float>(static_cast<int32_t>(random_() % (2 * range + 1)) - range);
    });
  }
  void FillNormal(const Problem& p, float deviation) {
    std::normal_distribution<float> normal(0.5f, deviation);
    Fill(p, [&] { return normal(random_); });
  }
  template <typename Value>
  void Fill(const Problem& p, Value value) {
    queries_.resize(size_t(p.rows) * p.group * p.d);
    keys_.resize(size_t(p.seen()) * p.d);
    std::generate(queries_.begin(), queries_.end(), value);
    std::generate(keys_.begin(), keys_.end(), value);
  }
  void RoundToBf16(std::vector<float>& values) {
    for (float& value : values) {
      value = BFloat16ToFloat(FloatToBFloat16(value));
    }
  }

  template <typename Key>
  std::vector<NearestKey> Search(const Problem& p) {
    // Pages in no order, of which other heads' keys take a part that nobody may read.
    const int32_t page_count = (p.seen() + p.page_tokens - 1) / p.page_tokens;
    std::vector<int32_t> pages(page_count);
    std::iota(pages.begin(), pages.end(), 3);
    std::shuffle(pages.begin(), pages.end(), random_);
    const int64_t page_stride = int64_t{3} * p.page_tokens * p.d;
    Key nan_key;
    std::memset(&nan_key, 0xff, sizeof(nan_key));
    std::vector<Key> pool(size_t(page_count + 4) * page_stride, nan_key);
    for (int32_t t = 0; t < p.seen(); ++t) {
      Key* slot = &pool[pages[t / p.page_tokens] * page_stride + int64_t{t % p.page_tokens} * p.d];
      for (int32_t i = 0; i < p.d; ++i) {
        slot[i] = FromFloat<Key>(keys_[size_t(t) * p.d + i]);
      }
    }
    const int64_t row_stride = int64_t{p.group} * p.d + 7;
    std::vector<float> rows(size_t(p.rows) * row_stride, std::nanf(""));
    for (int32_t r = 0; r < p.rows; ++r) {
      std::copy_n(&queries_[size_t(r) * p.group * p.d], p.group * p.d, &rows[r * row_stride]);
    }

    DeviceArray device_pool = ToDevice(pool), device_pages = ToDevice(pages),
                device_rows = ToDevice(rows), device_k;
    if (!p.head_k.empty()) {
      device_k = ToDevice(p.head_k);
    }
    std::vector<NearestKey> out(size_t(p.rows) * p.group * p.k);
    DeviceArray device_out = budget_.Allocate(out.size() * sizeof(NearestKey), "out").value();
    auto search = FaissKeySearch::Make(stream_, budget_,
                                       {.head_dim = p.d,
                                        .rows = p.rows * p.group,
                                        .k = p.k,
                                        .piece_keys = p.piece_keys,
                                        .block_queries = p.block_queries})
                      .value();
    search->Search(KeyPages<Key>{device_pool.as<Key>(), page_stride, p.page_tokens,
                                 device_pages.as<int32_t>()},
                   GroupQueries<float>{device_rows.as<float>(), row_stride, p.rows, p.group,
                                       p.first_prefix, device_k.as<int32_t>(), p.k},
                   device_out.as<NearestKey>());
    CopyOut(stream_, out.data(), device_out.get(), out.size() * sizeof(NearestKey));
    scans_ = search->CountScans();
    return out;
  }

  // All distances in double, sorted by (distance, position).
  std::vector<std::pair<double, int32_t>> Sorted(const Problem& p, int32_t row, int32_t head) {
    std::vector<std::pair<double, int32_t>> all;
    const float* q = &queries_[(size_t(row) * p.group + head) * p.d];
    for (int32_t t = 0; t < p.first_prefix + row; ++t) {
      double sum = 0;
      for (int32_t i = 0; i < p.d; ++i) {
        const double difference = double{q[i]} - keys_[size_t(t) * p.d + i];
        sum += difference * difference;
      }
      if (!std::isnan(sum)) {
        all.emplace_back(sum, t);
      }
    }
    std::sort(all.begin(), all.end());
    return all;
  }

  // `exact`: the very keys in the very order; else keys whose distances are as small, up to
  // rounding.
  void Expect(const Problem& p, const std::vector<NearestKey>& out, bool exact) {
    for (int32_t row = 0; row < p.rows; ++row) {
      for (int32_t head = 0; head < p.group; ++head) {
        const auto expected = Sorted(p, row, head);
        const int32_t k = p.head_k.empty() ? p.k : p.head_k[head];
        for (int32_t i = 0; i < p.k; ++i) {
          const NearestKey found = out[(size_t(row) * p.group + head) * p.k + i];
          if (i >= k || i >= static_cast<int32_t>(expected.size())) {
            ASSERT_EQ(found.key, -1) << "row " << row << " head " << head << " place " << i;
            continue;
          }
          ASSERT_NEAR(found.squared_distance, expected[i].first, 1e-5 * expected[i].first)
              << "row " << row << " head " << head << " place " << i;
          if (exact) {
            ASSERT_EQ(found.key, expected[i].second)
                << "row " << row << " head " << head << " place " << i;
          } else {
            ASSERT_TRUE(std::any_of(expected.begin(), expected.end(), [&](const auto& e) {
              return e.second == found.key &&
                     std::fabs(e.first - found.squared_distance) <= 1e-5 * e.first;
            }));
          }
        }
      }
    }
  }

  std::mt19937 random_{7};
  std::vector<float> queries_, keys_;
  int64_t scans_ = 0;
  DeviceBudget budget_{size_t{64} << 20};
  Stream stream_ = MakeStream();

 private:
  template <typename T>
  DeviceArray ToDevice(const std::vector<T>& values) {
    DeviceArray array = budget_.Allocate(values.size() * sizeof(T), "test").value();
    CopyIn(stream_, array.get(), values.data(), values.size() * sizeof(T));
    Synchronize(stream_);
    return array;
  }
};

TEST_F(KeySearchFaiss, FindsTheNearestOfADecodedToken) {
  for (const uint64_t seed : {0, 1, 2}) {
    simt::SetSeed(seed);
    for (const int32_t prefix : {1, 7, 33, 100, 333}) {
      const Problem p = {.first_prefix = prefix};
      FillNormal(p, 1.0f);
      Expect(p, Search<float>(p), /*exact=*/true);
    }
  }
}

TEST_F(KeySearchFaiss, MergesPiecesAndBlocksOfAChunkOfQueries) {
  for (const auto& [piece, block] : {std::pair{64, 3}, {50, 256}, {500, 5}, {199, 1}}) {
    const Problem p = {.rows = 9, .first_prefix = 200, .piece_keys = piece, .block_queries = block};
    FillNormal(p, 1.0f);
    Expect(p, Search<float>(p), true);
  }
}

TEST_F(KeySearchFaiss, EqualDistancesGoByPosition) {
  const Problem p = {.d = 2, .rows = 3, .first_prefix = 300, .piece_keys = 90};
  FillWhole(p, 1);  // nine different keys: each distance comes many times
  Expect(p, Search<float>(p), true);
  EXPECT_GT(scans_, 0) << "equal distances at the edge of FAISS' answer call for a scan";
}

TEST_F(KeySearchFaiss, AnswersAreTheSameHoweverTheWorkIsCut) {
  Problem p = {.rows = 2, .first_prefix = 257};
  FillNormal(p, 1e-3f);  // distances far below the rounding of the expanded formula
  const auto whole = Search<float>(p);
  Expect(p, whole, /*exact=*/false);
  for (const int32_t piece : {40, 100, 256}) {
    p.piece_keys = piece;
    const auto cut = Search<float>(p);
    ASSERT_EQ(std::memcmp(whole.data(), cut.data(), whole.size() * sizeof(NearestKey)), 0) << piece;
  }
  EXPECT_GT(scans_, 0);
}

TEST_F(KeySearchFaiss, SpreadKeysNeedNoScan) {
  const Problem p = {.d = 64, .page_tokens = 64, .rows = 4, .first_prefix = 500};
  FillNormal(p, 1.0f);
  Expect(p, Search<float>(p), true);
  EXPECT_EQ(scans_, 0);
}

TEST_F(KeySearchFaiss, Bfloat16KeysAndOddHeads) {
  for (const int32_t d : {33, 128, 256}) {
    const Problem p = {.d = d, .page_tokens = 64, .rows = 2, .group = 3, .first_prefix = 150};
    FillNormal(p, 1.0f);
    RoundToBf16(keys_);
    Expect(p, Search<BFloat16>(p), true);
  }
}

TEST_F(KeySearchFaiss, EachHeadHasItsOwnK) {
  const Problem p = {.rows = 2,
                     .group = 4,
                     .first_prefix = 120,
                     .k = 60,
                     .piece_keys = 70,
                     .head_k = {1, 60, 8, 33}};
  FillNormal(p, 1.0f);
  Expect(p, Search<float>(p), true);
}

TEST_F(KeySearchFaiss, TheLargestK) {
  const Problem p = {
      .d = 8, .group = 1, .first_prefix = 2300, .k = kFlatKnnMax, .piece_keys = 2100};
  FillNormal(p, 1.0f);
  Expect(p, Search<float>(p), true);
  EXPECT_GT(scans_, 0) << "no candidate beyond k fits, so nothing says that the k-th is certain";
}

TEST_F(KeySearchFaiss, NanIsNeverNear) {
  const Problem p = {.rows = 2, .first_prefix = 90, .k = 100};
  FillNormal(p, 1.0f);
  for (const int32_t key : {0, 17, 89, 90}) {
    keys_[size_t(key) * p.d + 3] = std::nanf("");
  }
  Expect(p, Search<float>(p), true);
  queries_[5] = std::nanf("");
  Expect(p, Search<float>(p), true);
}

TEST_F(KeySearchFaiss, MemoryBeyondTheBudgetIsRefusedByName) {
  DeviceBudget small(size_t{1} << 20);
  const auto search = FaissKeySearch::Make(stream_, small, {.head_dim = 128, .rows = 4, .k = 8});
  ASSERT_FALSE(search.ok());
  EXPECT_NE(search.status().message().find("keys for FAISS"), std::string_view::npos)
      << search.status();
  EXPECT_EQ(small.used(), 0u);
}

TEST_F(KeySearchFaiss, WhatFaissTakesByItselfIsOfTheBudget) {
  const KeySearchLimits limits = {.head_dim = 128, .rows = 4, .k = 8};
  const size_t faiss = FlatKnnTempBytes(limits.block_queries, limits.piece_keys, 32);
  DeviceBudget enough(size_t{64} << 20);
  {
    const auto search = FaissKeySearch::Make(stream_, enough, limits);
    ASSERT_TRUE(search.ok()) << search.status();
    EXPECT_GT(enough.used(), faiss);
  }
  EXPECT_EQ(enough.used(), 0u);
  DeviceBudget small(faiss);
  const auto search = FaissKeySearch::Make(stream_, small, limits);
  ASSERT_FALSE(search.ok());
  EXPECT_NE(search.status().message().find("FAISS itself"), std::string_view::npos)
      << search.status();
  EXPECT_EQ(small.used(), 0u);
}

}  // namespace
}  // namespace alcca::cuda_emulated
