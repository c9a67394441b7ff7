#pragma once

// What the attention tests share: parameters by mode, a cache with its sequences on one backend,
// and the comparison with the reference.

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/host/kv_cache_host.h"
#include "tests/conformance/backends.h"

namespace alcca {

// q, k, v of every token of one sequence: [layers], each [tokens, qkv_cols].
using Tokens = std::vector<Host>;

struct Geometry {
  AttentionShape shape;
  int32_t page_tokens = 8;
  int32_t layers = 1;
};

inline Geometry MakeGeometry(int32_t heads, int32_t kv_heads, int32_t head_dim) {
  return {.shape = {.heads = heads, .kv_heads = kv_heads, .head_dim = head_dim}};
}

inline AttentionParams Dense() {
  return {{.mode = AttentionMode::kDense}};
}
inline AttentionParams Alcca(int32_t k, float theta = 0.0f, float epsilon = 1e-8f) {
  return {{.mode = AttentionMode::kAlcca, .theta = theta, .k = k, .epsilon = epsilon}};
}
inline AttentionParams Tree(int32_t k, int32_t distances, int32_t recent, float theta = 0.0f) {
  AttentionParams params = Alcca(k, theta);
  params.search = KeySearch::kTree;
  params.tree_distances = distances;
  params.tree_recent = recent;
  params.recall_sample = 0.0f;
  return params;
}
inline AttentionParams Window(int32_t window) {
  return {{.mode = AttentionMode::kWindow, .window = window}};
}
inline AttentionParams TopK(float sparsity) {
  return {{.mode = AttentionMode::kTopK, .sparsity = sparsity}};
}

inline Tokens RandomTokens(const Geometry& geometry, int32_t count, uint64_t seed) {
  Tokens tokens;
  for (int32_t layer = 0; layer < geometry.layers; ++layer) {
    tokens.push_back(RandomHost(count, geometry.shape.qkv_cols(), seed * 100 + layer));
    const int32_t qk = (geometry.shape.heads + geometry.shape.kv_heads) * geometry.shape.head_dim;
    for (int32_t t = 0; t < count; ++t) {
      for (int32_t c = 0; c < qk; ++c) {
        float& x = tokens.back().at(t, c);
        x = std::round(x * 8.0f) / 8.0f;
      }
    }
  }
  return tokens;
}

// Columns of a token's row.
inline int32_t KeyColumn(const AttentionShape& s, int32_t kv_head) {
  return (s.heads + kv_head) * s.head_dim;
}
inline int32_t ValueColumn(const AttentionShape& s, int32_t kv_head) {
  return (s.heads + s.kv_heads + kv_head) * s.head_dim;
}

// A cache and its sequences on one backend; a step is what the model does for each layer.
class Rig {
 public:
  struct Piece {
    int32_t sequence, count;
  };

  Rig(Backend& backend, const Geometry& geometry, int32_t pages = 97)
      : backend_(backend), geometry_(geometry), pages_(pages) {
    const AttentionShape& shape = geometry.shape;
    kv_shape_ = {.layers = geometry.layers,
                 .kv_heads = shape.kv_heads,
                 .head_dim = shape.head_dim,
                 .page_tokens = geometry.page_tokens,
                 .pages = pages};
    kv_ = backend.MakeKvCache(kv_shape_).value();
    no_frequencies_ = backend.MakeVector(Host(1, shape.head_dim / 2).tensor()).value();
    // What no token has written must not be read.
    if (auto* host = dynamic_cast<KvCacheHost*>(kv_.get())) {
      std::fill_n(host->Keys(0, 0, 0), host->bytes() / sizeof(float),
                  std::numeric_limits<float>::quiet_NaN());
    }
  }

  int32_t Add(Tokens tokens, const AttentionParams& params) {
    Sequence sequence;
    sequence.tokens = std::move(tokens);
    sequence.params = params;
    for (const Host& layer : sequence.tokens) {
      sequence.outputs.push_back(
          Poison(layer.rows, geometry_.shape.heads * geometry_.shape.head_dim));
    }
    sequence.state = backend_.MakeAttentionState(kv_shape_, params).value();
    sequences_.push_back(std::move(sequence));
    return static_cast<int32_t>(sequences_.size()) - 1;
  }

  // A sequence that begins with `count` tokens of `from`: by its pages alone, of which `count` are
  // whole ones, or by a fork of its state. False: the backend does not fork.
  int32_t AddSharing(int32_t from, int32_t count, Tokens tokens) {
    const int32_t added = Add(std::move(tokens), sequences_[from].params);
    Sequence& s = sequences_[added];
    s.pages.assign(sequences_[from].pages.begin(),
                   sequences_[from].pages.begin() + count / geometry_.page_tokens);
    s.done = count;
    return added;
  }
  bool AddFork(int32_t from, int32_t count, Tokens tokens) {
    Sequence& other = sequences_[from];
    const int32_t shared = backend_.FinalTokens(*other.state, other.params, count);
    if (shared < 0) {
      return false;
    }
    AddSharing(from, shared / geometry_.page_tokens * geometry_.page_tokens, std::move(tokens));
    Sequence& s = sequences_.back();
    GrowPages(s, count);
    s.state = backend_
                  .ForkAttentionState({.attention = &s.params,
                                       .from = sequences_[from].state.get(),
                                       .tokens = count,
                                       .from_pages = sequences_[from].pages.data(),
                                       .pages = s.pages.data(),
                                       .counters = s.counters.data()},
                                      *kv_, geometry_.shape)
                  .value();
    s.done = count;
    return true;
  }

  void Step(const std::vector<Piece>& pieces, Phase phase = Phase::kPrefill) {
    Run(pieces, phase, /*attend=*/true);
  }
  // Writes keys and values only: enough for a backend whose states remember nothing.
  void Store(int32_t sequence, int32_t count) {
    Run({{sequence, count}}, Phase::kPrefill, /*attend=*/false);
  }
  // The whole sequence in chunks of `chunk`, then single tokens from `decode_from` on.
  void RunAll(int32_t sequence, int32_t chunk, int32_t decode_from) {
    while (sequences_[sequence].done < decode_from) {
      Step({{sequence, std::min(chunk, decode_from - sequences_[sequence].done)}});
    }
    while (sequences_[sequence].done < sequences_[sequence].tokens[0].rows) {
      Step({{sequence, 1}}, Phase::kDecode);
    }
  }

  // [layers], each [tokens, heads * head_dim]; NaN where no step has been.
  const Tokens& outputs(int32_t sequence) const { return sequences_[sequence].outputs; }
  const AttentionCounters& counters(int32_t sequence, Phase phase) const {
    return sequences_[sequence].counters[static_cast<size_t>(phase)];
  }
  const AttentionState& state(int32_t sequence) const { return *sequences_[sequence].state; }

 private:
  struct Sequence {
    Tokens tokens;
    AttentionParams params;
    Tokens outputs;
    int32_t done = 0;
    std::vector<int32_t> pages;
    std::unique_ptr<AttentionState> state;
    PhaseCounters counters = {};
  };

  void GrowPages(Sequence& s, int32_t tokens) {
    while (static_cast<int32_t>(s.pages.size()) * geometry_.page_tokens < tokens) {
      ASSERT_LT(used_pages_, pages_);
      s.pages.push_back((used_pages_++ * 31 + 5) % pages_);  // scattered; 31 and `pages` coprime
    }
  }

  void Run(const std::vector<Piece>& pieces, Phase phase, bool attend) {
    Batch batch;
    for (const Piece& piece : pieces) {
      Sequence& s = sequences_[piece.sequence];
      const int32_t kv_len = s.done + piece.count;
      GrowPages(s, kv_len);
      batch.sequences.push_back({.query_start = batch.tokens(),
                                 .query_count = piece.count,
                                 .kv_len = kv_len,
                                 .pages = s.pages.data(),
                                 .attention = &s.params,
                                 .state = s.state.get(),
                                 .counters = &s.counters[static_cast<size_t>(phase)]});
      batch.token_ids.resize(batch.token_ids.size() + piece.count, 0);
    }
    // RoPE turns by nothing: the cache gets the rows as they are.
    batch.positions.assign(batch.token_ids.size(), 0);
    backend_.BeginStep(batch);
    for (int32_t layer = 0; layer < geometry_.layers; ++layer) {
      Host rows(batch.tokens(), geometry_.shape.qkv_cols());
      ForEachRow(pieces, [&](Sequence& s, int32_t position, int32_t row) {
        std::copy_n(&s.tokens[layer].at(position, 0), rows.cols, &rows.at(row, 0));
      });
      const auto qkv = Upload(backend_, rows);
      backend_.RopeAndStore(qkv->view(), *kv_, layer, batch, geometry_.shape, *no_frequencies_);
      if (attend) {
        const int32_t cols = geometry_.shape.heads * geometry_.shape.head_dim;
        const auto out = Upload(backend_, Poison(rows.rows, cols));
        backend_.Attention(out->view(), qkv->view(), *kv_, layer, batch, geometry_.shape);
        const Host result = Download(backend_, out->view());
        ForEachRow(pieces, [&](Sequence& s, int32_t position, int32_t row) {
          std::copy_n(&result.values[size_t(row) * cols], cols, &s.outputs[layer].at(position, 0));
        });
      }
    }
    backend_.EndStep(batch);
    for (const Piece& piece : pieces) {
      sequences_[piece.sequence].done += piece.count;
    }
  }

  template <typename Body>
  void ForEachRow(const std::vector<Piece>& pieces, Body body) {
    int32_t row = 0;
    for (const Piece& piece : pieces) {
      Sequence& s = sequences_[piece.sequence];
      for (int32_t i = 0; i < piece.count; ++i) {
        body(s, s.done + i, row++);
      }
    }
  }

  Backend& backend_;
  const Geometry geometry_;
  const int32_t pages_;
  KvShape kv_shape_;
  std::unique_ptr<KvCache> kv_;
  std::unique_ptr<Buffer> no_frequencies_;  // zeros
  int32_t used_pages_ = 0;
  std::vector<Sequence> sequences_;
};

inline void ExpectSameBits(const Tokens& actual, const Tokens& expected, const std::string& what) {
  for (size_t layer = 0; layer < expected.size(); ++layer) {
    ExpectSameBits(actual[layer], expected[layer], what + " layer " + std::to_string(layer));
  }
}

// ||q - c|| of the near gate in double, [position][head].
inline std::vector<std::vector<double>> GateDistances(const Host& tokens, const AttentionShape& s) {
  std::vector<std::vector<double>> distances;
  std::vector<double> sum(static_cast<size_t>(s.kv_heads * s.head_dim), 0.0);
  for (int32_t t = 0; t < tokens.rows; ++t) {
    for (size_t i = 0; i < sum.size(); ++i) {
      sum[i] += tokens.at(t, KeyColumn(s, 0) + static_cast<int32_t>(i));
    }
    distances.emplace_back();
    for (int32_t head = 0; head < s.heads; ++head) {
      const int32_t kv_head = head / (s.heads / s.kv_heads);
      double squared = 0;
      for (int32_t i = 0; i < s.head_dim; ++i) {
        const double gap = tokens.at(t, head * s.head_dim + i) -
                           sum[static_cast<size_t>(kv_head * s.head_dim + i)] / (t + 1);
        squared += gap * gap;
      }
      distances.back().push_back(std::sqrt(squared));
    }
  }
  return distances;
}

// A radius with about half of the queries on either side and none so close that rounding decides.
inline float MidTheta(const Tokens& tokens, const AttentionShape& s) {
  std::vector<double> all;
  for (const Host& layer : tokens) {
    for (const auto& row : GateDistances(layer, s)) {
      all.insert(all.end(), row.begin(), row.end());
    }
  }
  std::sort(all.begin(), all.end());
  size_t best = all.size() / 3;
  for (size_t i = best; i < all.size() * 2 / 3; ++i) {
    if (all[i + 1] - all[i] > all[best + 1] - all[best]) {
      best = i;
    }
  }
  EXPECT_GT(all[best + 1] - all[best], 1e-4);
  return static_cast<float>((all[best] + all[best + 1]) / 2);
}

class AttentionConformance : public ConformanceTest {
 protected:
  void SetUp() override {
    ConformanceTest::SetUp();
    if (backend_ != nullptr) {  // steps here are longer than the base allows
      backend_ = MakeBackend(GetParam(), 512).value();
    }
  }

  // What a test runs over: all of it, or on the emulator, which takes microseconds for each
  // operation of a warp, the first `few`. So the telling cases come first.
  template <typename T>
  std::vector<T> Some(size_t few, std::vector<T> all) const {
    if (GetParam().is_emulated() && all.size() > few) {
      all.erase(all.begin() + static_cast<std::ptrdiff_t>(few), all.end());
    }
    return all;
  }

  // Outputs of `tokens` on the reference, which needs no chunks.
  Tokens Expected(const Geometry& geometry, const Tokens& tokens, const AttentionParams& params) {
    Rig rig(*reference_, geometry);
    const int32_t id = rig.Add(tokens, params);
    rig.Step({{id, tokens[0].rows}});
    return rig.outputs(id);
  }

  Tokens Actual(const Geometry& geometry, const Tokens& tokens, const AttentionParams& params,
                int32_t chunk, int32_t decode_from) {
    Rig rig(*backend_, geometry);
    const int32_t id = rig.Add(tokens, params);
    rig.RunAll(id, chunk, decode_from);
    return rig.outputs(id);
  }

  static float LargestValue(const Host& tokens, const AttentionShape& shape) {
    float largest = 0;
    for (int32_t t = 0; t < tokens.rows; ++t) {
      for (int32_t c = ValueColumn(shape, 0); c < shape.qkv_cols(); ++c) {
        largest = std::max(largest, std::fabs(tokens.at(t, c)));
      }
    }
    return largest;
  }

  // Both are averages of values, so the bound is relative to the largest of them.
  void ExpectClose(const Tokens& actual, const Tokens& expected, const Geometry& geometry,
                   const Tokens& tokens, const std::string& what) {
    for (size_t layer = 0; layer < expected.size(); ++layer) {
      const float largest = LargestValue(tokens[layer], geometry.shape);
      const Host magnitude(expected[layer].rows, expected[layer].cols, largest);
      ExpectNear(actual[layer], expected[layer], magnitude, 2e-6, 0.0,
                 what + " layer " + std::to_string(layer));
    }
  }

  // A prefill in one chunk, then up to three decoded tokens.
  void Compare(const Geometry& geometry, const Tokens& tokens, const AttentionParams& params,
               const std::string& what) {
    const int32_t count = tokens[0].rows, prompt = std::max(1, count - 3);
    ExpectClose(Actual(geometry, tokens, params, prompt, prompt),
                Expected(geometry, tokens, params), geometry, tokens, what);
  }
};

inline void ExpectCounters(const AttentionCounters& actual, const AttentionCounters& expected,
                           const std::string& what) {
  EXPECT_EQ(actual.qk_exact, expected.qk_exact) << what;
  EXPECT_EQ(actual.qk_centroid, expected.qk_centroid) << what;
  EXPECT_EQ(actual.com_test, expected.com_test) << what;
  EXPECT_EQ(actual.index_build, expected.index_build) << what;
  EXPECT_EQ(actual.pv_exact, expected.pv_exact) << what;
  EXPECT_EQ(actual.pv_centroid, expected.pv_centroid) << what;
  EXPECT_EQ(actual.running_sums, expected.running_sums) << what;
  EXPECT_EQ(actual.queries, expected.queries) << what;
  EXPECT_EQ(actual.near_queries, expected.near_queries) << what;
  EXPECT_EQ(actual.dense_equivalent_qk, expected.dense_equivalent_qk) << what;
  EXPECT_EQ(actual.dense_equivalent_pv, expected.dense_equivalent_pv) << what;
  EXPECT_EQ(actual.kv_bytes_read, expected.kv_bytes_read) << what;
  EXPECT_EQ(actual.scalar_comparisons, expected.scalar_comparisons) << what;
  EXPECT_EQ(actual.recall_wanted, expected.recall_wanted) << what;
  EXPECT_EQ(actual.recall_found, expected.recall_found) << what;
  EXPECT_EQ(actual.error_checked, expected.error_checked) << what;
  EXPECT_EQ(actual.error_millionths, expected.error_millionths) << what;
}

// n prompt tokens in chunks, m decoded ones; `expect` predicts positions [begin, end) of one phase.
class AttentionCounting : public AttentionConformance {
 protected:
  template <typename Expect>
  void Check(const Geometry& geometry, const Tokens& tokens, int32_t n,
             const AttentionParams& params, Expect expect, const std::string& what) {
    Rig rig(*backend_, geometry);
    const int32_t id = rig.Add(tokens, params);
    rig.RunAll(id, 10, n);
    ExpectCounters(rig.counters(id, Phase::kPrefill), expect(0, n), what + " prefill");
    ExpectCounters(rig.counters(id, Phase::kDecode), expect(n, tokens[0].rows), what + " decode");
  }
};

}  // namespace alcca
