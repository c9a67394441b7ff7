#pragma once

// Finds the pages that hold the beginning of a prompt already: of sequences that run, and of those
// that have ended as long as their pages are idle.
//
// Only whole pages are known, because the tokens of a whole page never change. A page's keys and
// values depend on all tokens before it, on the weights, and on the attention of the layers below.
// So a page is found by the page before it, its own tokens, and a domain: what must be equal beside
// the tokens. Tokens and domains are compared, not only their hashes: no two prompts can be made to
// collide. The answer to a prompt is bit for bit the one without this cache, because a row depends
// on its own sequence's keys and values alone (kernels/backend.h).
//
// The state that `alcca` keeps beside its pages follows from them. What `multipole` keeps does not:
// kept_states.h is its way to the same end.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "attention/params.h"
#include "engine/kv_pages.h"

namespace alcca {

// Equal for requests that may share pages, or fork from each other: their attention, every knob of
// it, and their salt. Empty: a request with this attention does neither.
std::string PrefixDomain(const AttentionParams& attention, std::string_view salt);

class PrefixCache final : public PageKnower {
 public:
  // How far the pages of one sequence are known.
  struct Cursor {
    uint64_t page = 0;   // name of the last known one; 0: none yet
    int32_t tokens = 0;  // in the known ones
  };

  explicit PrefixCache(KvPagePool* pool);  // which outlives this
  ~PrefixCache() override;
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  // `pages`, which are empty, begin with the longest known beginning of `tokens`.
  Cursor Find(std::string_view domain, std::span<const int32_t> tokens, KvPages* pages) const;
  // The first `computed` of `tokens` are computed and lie in `pages`; `cursor` is what Find or Add
  // said of them last. Where the same tokens are known already, the sequence keeps its own page.
  void Add(std::string_view domain, std::span<const int32_t> tokens, int32_t computed,
           const KvPages& pages, Cursor* cursor);
  void Clear() { pool_->ForgetIdle(); }

  int64_t forgotten() const { return forgotten_; }  // pages so far

 private:
  // Of one page id.
  struct Known {
    uint64_t name = 0;  // never used twice; 0: not known
    uint64_t before = 0;
    uint64_t hash = 0;
    std::string domain;  // of a first page
    std::vector<int32_t> tokens;
  };

  static uint64_t Hash(uint64_t before, std::string_view domain, std::span<const int32_t> tokens);
  // The page that follows `before` with these tokens, or -1.
  int32_t Lookup(uint64_t before, std::string_view domain, std::span<const int32_t> tokens) const;
  void Forget(int32_t page) override;

  KvPagePool* const pool_;
  std::vector<Known> known_;                               // [pages of the pool]
  std::unordered_multimap<uint64_t, int32_t> by_content_;  // hash -> page
  uint64_t last_name_ = 0;
  int64_t forgotten_ = 0;
};

}  // namespace alcca
