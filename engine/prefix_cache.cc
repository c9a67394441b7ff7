#include "engine/prefix_cache.h"

#include <algorithm>
#include <string_view>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "attention/knobs.h"
#include "base/check.h"

namespace alcca {

std::string PrefixDomain(const AttentionParams& attention, std::string_view salt) {
  const ModeTraits& mode = TraitsOf(attention.mode);
  // A running quantile follows from queries, which no page holds.
  const bool restored = !mode.keeps_state || (mode.of_keys && attention.near_share == 0);
  if (!restored && mode.fork_tokens == 0) {
    return "";
  }
  std::string domain = mode.name;
  for (const Knob& knob : kKnobs) {
    if (Applies(knob, attention)) {
      absl::StrAppend(&domain, " ", knob.name, "=", Digits(knob, Get(knob, attention)));
    }
  }
  // The salt is the client's, and the last: it cannot look like a knob.
  return absl::StrCat(domain, "\n", std::string(salt));
}

PrefixCache::PrefixCache(KvPagePool* pool) : pool_(pool), known_(pool->total()) {}

PrefixCache::~PrefixCache() {
  pool_->ForgetIdle();
}

uint64_t PrefixCache::Hash(uint64_t before, std::string_view domain,
                           std::span<const int32_t> tokens) {
  return absl::HashOf(before, domain, absl::MakeConstSpan(tokens.data(), tokens.size()));
}

int32_t PrefixCache::Lookup(uint64_t before, std::string_view domain,
                            std::span<const int32_t> tokens) const {
  const auto [begin, end] = by_content_.equal_range(Hash(before, domain, tokens));
  for (auto it = begin; it != end; ++it) {
    const Known& known = known_[it->second];
    if (known.before == before && known.domain == domain &&
        std::equal(known.tokens.begin(), known.tokens.end(), tokens.begin(), tokens.end())) {
      return it->second;
    }
  }
  return -1;
}

PrefixCache::Cursor PrefixCache::Find(std::string_view domain, std::span<const int32_t> tokens,
                                      KvPages* pages) const {
  const auto page_tokens = static_cast<size_t>(pool_->page_tokens());
  Cursor cursor;
  std::vector<int32_t> found;
  for (size_t begin = 0; begin + page_tokens <= tokens.size(); begin += page_tokens) {
    const int32_t page = Lookup(cursor.page, domain, tokens.subspan(begin, page_tokens));
    if (page < 0) {
      break;
    }
    found.push_back(page);
    cursor.page = known_[page].name;
    cursor.tokens += pool_->page_tokens();
  }
  pages->Share(found);
  return cursor;
}

void PrefixCache::Add(std::string_view domain, std::span<const int32_t> tokens, int32_t computed,
                      const KvPages& pages, Cursor* cursor) {
  const int32_t page_tokens = pool_->page_tokens();
  for (; cursor->tokens + page_tokens <= computed; cursor->tokens += page_tokens) {
    const auto content = tokens.subspan(cursor->tokens, page_tokens);
    int32_t page = Lookup(cursor->page, domain, content);
    if (page < 0) {
      page = pages.ids()[cursor->tokens / page_tokens];
      Known& known = known_[page];
      known.name = ++last_name_;
      known.before = cursor->page;
      known.hash = Hash(cursor->page, domain, content);
      known.domain = domain;
      known.tokens.assign(content.begin(), content.end());
      by_content_.emplace(known.hash, page);
      pool_->SetKnown(page, this);
    }
    cursor->page = known_[page].name;
  }
}

void PrefixCache::Forget(int32_t page) {
  Known& known = known_[page];
  const auto [begin, end] = by_content_.equal_range(known.hash);
  const auto it =
      std::find_if(begin, end, [page](const auto& entry) { return entry.second == page; });
  ALCCA_CHECK(it != end);
  by_content_.erase(it);
  known.name = 0;
  ++forgotten_;
}

}  // namespace alcca
