// The pool that sequences' indices are lent from.

#include <cstdint>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/attention/state.h"

namespace alcca::cuda_emulated {
namespace {

TEST(StatePool, PiecesDoNotOverlapAndNeighboursMerge) {
  DeviceBudget budget(size_t{1} << 20);
  StatePool pool(budget.Allocate(1024, "pool").value());
  std::vector<void*> pieces;
  for (int i = 0; i < 4; ++i) {
    pieces.push_back(pool.Take(200));  // rounded up to 256
    ASSERT_NE(pieces.back(), nullptr);
  }
  EXPECT_EQ(pool.Take(1), nullptr);
  EXPECT_EQ(pool.lent(), 1024u);
  pool.Give(pieces[0]);
  pool.Give(pieces[2]);
  EXPECT_EQ(pool.Take(512), nullptr);  // 512 bytes are free, not in one piece
  pool.Give(pieces[1]);
  void* large = pool.Take(768);
  EXPECT_EQ(large, pieces[0]);
  pool.Give(large);
  pool.Give(pieces[3]);
  EXPECT_EQ(pool.lent(), 0u);
  EXPECT_EQ(pool.Take(1024), pieces[0]);
}

TEST(StatePool, WhatASequenceHoldsGoesBackWithIt) {
  DeviceBudget budget(size_t{64} << 20);
  const auto pool = std::make_shared<StatePool>(budget.Allocate(size_t{2} << 20, "pool").value());
  const KvShape shape = {
      .layers = 2, .kv_heads = 2, .head_dim = 32, .page_tokens = 64, .pages = 16};
  AttentionParams params = {{.mode = AttentionMode::kAlcca, .search = KeySearch::kTree}};
  {
    auto state = AttentionStateCuda::Make(pool, shape, params).value();
    EXPECT_TRUE(state->ReserveTokens(params, 4, 300));
    EXPECT_GT(state->bytes(), 2 * 256 * 4 * 32u);
    // The pool ends before a million tokens: the sequence is answered by dense, and says so.
    EXPECT_FALSE(state->ReserveTokens(params, 4, 1000000));
    EXPECT_TRUE(state->fell_back());
    EXPECT_EQ(state->bytes(), 0u);
    EXPECT_GT(pool->lent(), 0u);  // kernels may still read it
    state->ReleaseFailed();
    EXPECT_EQ(pool->lent(), 0u);
  }
  std::vector<std::unique_ptr<AttentionStateCuda>> states;
  for (;;) {
    auto state = AttentionStateCuda::Make(pool, shape, params);
    if (!state.ok()) {
      EXPECT_TRUE(absl::IsResourceExhausted(state.status()));
      break;
    }
    states.push_back(*std::move(state));
  }
  EXPECT_GT(states.size(), 100u);
  states.clear();
  EXPECT_EQ(pool->lent(), 0u);
}

}  // namespace
}  // namespace alcca::cuda_emulated
