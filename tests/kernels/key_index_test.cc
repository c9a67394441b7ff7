// The per-request FAISS index against brute force in double.

#include "kernels/key_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "kernels/cpu/attention_kernels.h"
#include "kernels/host/kv_cache_host.h"

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
        if (t % 13 != 0 && t != 149) {
          continue;
        }
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
    if (t % 5 != 0) {
      expected.push_back(t);
    }
  }
  for (int32_t t = 0; expected.size() < 45; t += 5) {
    expected.push_back(t);
  }
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
                      Case{"best",
                           AttentionKernelsFor(ChooseCpuIsa("auto").value()).squared_distances}),
    [](const auto& test) { return test.param.name; });

// --- Over the pages of a KV cache ---------------------------------------------------------------

constexpr int32_t kPages = 64;

// One layer, two KV heads; the index is over head 1, so that pages of a head are never adjacent.
class PagedKeys {
 public:
  PagedKeys(int32_t head_dim, int32_t page_tokens)
      : head_dim_(head_dim),
        page_tokens_(page_tokens),
        cache_({.layers = 1,
                .kv_heads = 2,
                .head_dim = head_dim,
                .page_tokens = page_tokens,
                .pages = kPages}) {
    std::fill_n(cache_.Keys(0, 0, 0), cache_.bytes() / sizeof(float),
                std::numeric_limits<float>::quiet_NaN());
  }

  float* Key(int32_t position) {
    const int32_t page = (position / page_tokens_ * 27 + 11) % kPages;  // scattered
    return cache_.Keys(0, page, 1) + size_t(position % page_tokens_) * head_dim_;
  }
  // Writes keys up to `count` and appends them, as many at once as a page allows.
  void Append(KeyIndex& index, const std::vector<std::vector<float>>& keys, int32_t count) {
    while (index.size() < count) {
      const int32_t begin = index.size();
      const int32_t end = std::min(count, (begin / page_tokens_ + 1) * page_tokens_);
      for (int32_t t = begin; t < end; ++t) {
        std::copy(keys[t].begin(), keys[t].end(), Key(t));
      }
      index.Append(Key(begin), end - begin);
    }
  }

 private:
  const int32_t head_dim_, page_tokens_;
  KvCacheHost cache_;
};

// Multiples of 1/8: squared distances are exact in f32, and `levels` few makes ties common.
std::vector<std::vector<float>> GridVectors(int32_t count, int32_t head_dim, int32_t levels,
                                            uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<std::vector<float>> vectors(count, std::vector<float>(head_dim));
  for (auto& vector : vectors) {
    for (float& x : vector) {
      x = static_cast<float>(static_cast<int32_t>(random() % levels) - levels / 2) / 8.0f;
    }
  }
  return vectors;
}

std::vector<std::pair<double, int32_t>> BruteForce(const std::vector<std::vector<float>>& keys,
                                                   const std::vector<float>& query, int32_t k,
                                                   int32_t prefix) {
  std::vector<std::pair<double, int32_t>> order;
  for (int32_t t = 0; t < prefix; ++t) {
    double squared = 0;
    for (size_t i = 0; i < query.size(); ++i) {
      const double gap = double{query[i]} - keys[t][i];
      squared += gap * gap;
    }
    order.emplace_back(squared, t);
  }
  std::sort(order.begin(), order.end());
  order.resize(std::min<size_t>(order.size(), static_cast<size_t>(k)));
  return order;
}

void ExpectExact(KeyIndex& index, const std::vector<std::vector<float>>& keys,
                 const std::vector<float>& query, int32_t k, int32_t prefix) {
  SCOPED_TRACE("k " + std::to_string(k) + " prefix " + std::to_string(prefix) + " of " +
               std::to_string(index.size()));
  const auto expected = BruteForce(keys, query, k, prefix);
  std::vector<NearestKey> found(static_cast<size_t>(k), {-1.0f, -1});
  ASSERT_EQ(index.Search(query.data(), k, prefix, found), std::min(k, prefix));
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_EQ(found[i].key, expected[i].second) << "place " << i;
    ASSERT_EQ(double{found[i].squared_distance}, expected[i].first) << "place " << i;
  }
  for (size_t i = expected.size(); i < found.size(); ++i) {
    ASSERT_EQ(found[i].key, -1) << "place " << i << " was not to be filled";
  }
}

class PagedKeyIndexTest : public ::testing::TestWithParam<Case> {
 protected:
  std::unique_ptr<KeyIndex> Make(int32_t head_dim, int32_t page_tokens) {
    return MakeFaissKeyIndex(head_dim, page_tokens, GetParam().distances).value();
  }
};

TEST_P(PagedKeyIndexTest, MatchesBruteForceAtRandomSizes) {
  std::mt19937 random(1);
  for (int32_t round = 0; round < 60; ++round) {
    const int32_t head_dim = std::vector<int32_t>{1, 16, 20, 33, 64, 128}[random() % 6];
    const int32_t page_tokens = std::vector<int32_t>{1, 3, 16, 17}[random() % 4];
    const int32_t count = 1 + static_cast<int32_t>(random() % (kPages * page_tokens));
    const auto keys = GridVectors(count, head_dim, 49, random());
    const auto queries = GridVectors(8, head_dim, 49, random());
    PagedKeys pages(head_dim, page_tokens);
    const auto index = Make(head_dim, page_tokens);
    pages.Append(*index, keys, count);
    ASSERT_EQ(index->size(), count);
    for (const auto& query : queries) {
      for (const int32_t k : {1, 8, 1 + static_cast<int32_t>(random() % 300)}) {
        ExpectExact(*index, keys, query, k, count);
        ExpectExact(*index, keys, query, k, 1 + static_cast<int32_t>(random() % count));
      }
    }
  }
}

TEST_P(PagedKeyIndexTest, TiesGoToTheLowerPosition) {
  // Two dimensions of three levels: hundreds of keys on nine points.
  const int32_t count = 200;
  const auto keys = GridVectors(count, 2, 3, 2);
  PagedKeys pages(2, 16);
  const auto index = Make(2, 16);
  pages.Append(*index, keys, count);
  for (const auto& query : GridVectors(9, 2, 3, 3)) {
    for (const int32_t k : {1, 2, 8, 30, 100, 199}) {
      ExpectExact(*index, keys, query, k, count);
    }
  }
}

TEST_P(PagedKeyIndexTest, AllKeysEqual) {
  const std::vector<std::vector<float>> keys(40, std::vector<float>(32, 1.5f));
  PagedKeys pages(32, 16);
  const auto index = Make(32, 16);
  pages.Append(*index, keys, 40);
  ExpectExact(*index, keys, keys[0], 5, 40);
  ExpectExact(*index, keys, std::vector<float>(32, 0.0f), 33, 40);
}

TEST_P(PagedKeyIndexTest, MoreThanThereAre) {
  const int32_t count = 19;
  const auto keys = GridVectors(count, 16, 49, 4), queries = GridVectors(3, 16, 49, 5);
  PagedKeys pages(16, 8);
  const auto index = Make(16, 8);
  pages.Append(*index, keys, count);
  for (const auto& query : queries) {
    for (const int32_t k : {count - 1, count, count + 1, 2048}) {
      ExpectExact(*index, keys, query, k, count);
    }
    ExpectExact(*index, keys, query, 8, 1);
  }
  std::vector<NearestKey> found(8);
  EXPECT_EQ(index->Search(queries[0].data(), 8, 0, found), 0);
}

TEST_P(PagedKeyIndexTest, LaterKeysAreNotSeen) {
  // The later a key, the nearer: a search that looks past its prefix finds a wrong one.
  const int32_t count = 50, page_tokens = 16;
  std::vector<std::vector<float>> keys;
  for (int32_t t = 0; t < count; ++t) {
    keys.emplace_back(16, static_cast<float>(count - t));
  }
  PagedKeys pages(16, page_tokens);
  const auto index = Make(16, page_tokens);
  pages.Append(*index, keys, count);
  const std::vector<float> query(16, 0.0f);
  for (int32_t prefix = 1; prefix <= count; ++prefix) {
    std::vector<NearestKey> found(1);
    ASSERT_EQ(index->Search(query.data(), 1, prefix, found), 1);
    EXPECT_EQ(found[0].key, prefix - 1);
    ExpectExact(*index, keys, query, 20, prefix);
  }
}

TEST_P(PagedKeyIndexTest, GrowsKeyByKey) {
  const int32_t count = 70, page_tokens = 16, head_dim = 48;
  const auto keys = GridVectors(count, head_dim, 9, 6), queries = GridVectors(2, head_dim, 9, 7);
  PagedKeys pages(head_dim, page_tokens), at_once_pages(head_dim, page_tokens);
  const auto index = Make(head_dim, page_tokens), at_once = Make(head_dim, page_tokens);
  at_once_pages.Append(*at_once, keys, count);
  EXPECT_EQ(index->size(), 0);
  for (int32_t t = 1; t <= count; ++t) {
    pages.Append(*index, keys, t);
    ASSERT_EQ(index->size(), t);
    for (const auto& query : queries) {
      ExpectExact(*index, keys, query, 8, t);
      // Grown in steps or at once, an index gives the same bits.
      std::vector<NearestKey> a(8), b(8);
      index->Search(query.data(), 8, t, a);
      at_once->Search(query.data(), 8, t, b);
      for (size_t i = 0; i < a.size(); ++i) {
        ASSERT_EQ(a[i].key, b[i].key);
        ASSERT_EQ(a[i].squared_distance, b[i].squared_distance);
      }
    }
  }
}

TEST_P(PagedKeyIndexTest, KeysStayInThePages) {
  // The index reads the page at search time: it has no copy of its own.
  const auto keys = GridVectors(20, 16, 49, 8);
  PagedKeys pages(16, 8);
  const auto index = Make(16, 8);
  pages.Append(*index, keys, 20);
  const std::vector<float> query(16, 100.0f);
  std::copy(query.begin(), query.end(), pages.Key(13));
  std::vector<NearestKey> found(1);
  ASSERT_EQ(index->Search(query.data(), 1, 20, found), 1);
  EXPECT_EQ(found[0].key, 13);
  EXPECT_EQ(found[0].squared_distance, 0.0f);
}

TEST_P(PagedKeyIndexTest, NanKeysAndQueriesAreNeverFound) {
  auto keys = GridVectors(20, 16, 49, 9);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  keys[3][5] = keys[17][0] = nan;
  PagedKeys pages(16, 8);
  const auto index = Make(16, 8);
  pages.Append(*index, keys, 20);
  std::vector<NearestKey> found(20);
  const int32_t count = index->Search(keys[0].data(), 20, 20, found);
  EXPECT_EQ(count, 18);
  for (int32_t i = 0; i < count; ++i) {
    EXPECT_TRUE(found[i].key != 3 && found[i].key != 17);
  }
  EXPECT_EQ(index->Search(std::vector<float>(16, nan).data(), 4, 20, found), 0);
}

// FAISS' own distances and those of each instruction set the machine has.
std::vector<Case> DistanceCases() {
  std::vector<Case> cases = {{"faiss", nullptr}};
  for (const char* name : {"portable", "avx2", "avx512"}) {
    const auto isa = ChooseCpuIsa(name);
    if (isa.ok()) {
      cases.push_back({name, AttentionKernelsFor(*isa).squared_distances});
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Distances, PagedKeyIndexTest, ::testing::ValuesIn(DistanceCases()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace alcca
