#pragma once

// Sequences that have ended, with their pages and their attention state, so that new ones may fork
// from them. For modes whose state does not follow from the pages (ModeTraits::fork_tokens).
//
// What is kept is found by its tokens from the first on, and by its domain, as pages are
// (prefix_cache.h). Its pages are idle. As soon as one of them is taken for other tokens, all of it
// is given up, because a fork may need any of them.

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/kv_pages.h"
#include "kernels/backend.h"

namespace alcca {

// What a new sequence may fork from. Views live until anything is kept or forgotten.
struct ForkSource {
  const AttentionState* state = nullptr;  // null: nothing
  std::span<const int32_t> pages;
  int32_t tokens = 0;  // that both begin with, a multiple of fork_tokens
};

// The tokens that `a` and `b` begin with, as a multiple of `unit`.
int32_t CommonTokens(std::span<const int32_t> a, std::span<const int32_t> b, int32_t unit);

class KeptStates final : public PageKnower {
 public:
  explicit KeptStates(KvPagePool* pool);  // which outlives this
  ~KeptStates() override;
  KeptStates(const KeptStates&) = delete;
  KeptStates& operator=(const KeptStates&) = delete;

  // The one that shares the most with `tokens`, at least `unit`.
  ForkSource Find(std::string_view domain, std::span<const int32_t> tokens, int32_t unit) const;
  // Keeps a sequence that computed `tokens`; `pages`, which it holds still, are theirs. What it
  // continues is given up; it is not kept itself if another one continues it.
  void Keep(std::string_view domain, std::span<const int32_t> tokens,
            std::span<const int32_t> pages, std::unique_ptr<AttentionState> state);

  size_t bytes() const;                             // of the states
  int64_t forgotten() const { return forgotten_; }  // pages so far

 private:
  struct Kept {
    std::string domain;
    std::vector<int32_t> tokens, pages;
    std::unique_ptr<AttentionState> state;
  };

  void Forget(int32_t page) override;
  void GiveUp(std::list<Kept>::iterator kept);

  KvPagePool* const pool_;
  std::list<Kept> kept_;
  std::vector<int32_t> keepers_;  // [pages of the pool], of kept_
  int64_t forgotten_ = 0;
};

}  // namespace alcca
