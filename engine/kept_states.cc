#include "engine/kept_states.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/check.h"

namespace alcca {

int32_t CommonTokens(std::span<const int32_t> a, std::span<const int32_t> b, int32_t unit) {
  const auto [end, other_end] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  return static_cast<int32_t>(end - a.begin()) / unit * unit;
}

KeptStates::KeptStates(KvPagePool* pool) : pool_(pool), keepers_(pool->total()) {}

KeptStates::~KeptStates() {
  while (!kept_.empty()) {
    GiveUp(kept_.begin());
  }
}

ForkSource KeptStates::Find(std::string_view domain, std::span<const int32_t> tokens,
                            int32_t unit) const {
  ForkSource best;
  for (const Kept& kept : kept_) {
    const int32_t common = kept.domain == domain ? CommonTokens(kept.tokens, tokens, unit) : 0;
    if (common > best.tokens) {
      best = {kept.state.get(), kept.pages, common};
    }
  }
  return best;
}

void KeptStates::Keep(std::string_view domain, std::span<const int32_t> tokens,
                      std::span<const int32_t> pages, std::unique_ptr<AttentionState> state) {
  ALCCA_CHECK(state != nullptr && std::ssize(pages) == pool_->PagesFor(std::ssize(tokens)));
  const auto begins = [](std::span<const int32_t> a, std::span<const int32_t> b) {
    return a.size() <= b.size() && std::equal(a.begin(), a.end(), b.begin());
  };
  for (auto it = kept_.begin(); it != kept_.end();) {
    const auto other = it++;
    if (other->domain != domain) {
      continue;
    }
    if (begins(tokens, other->tokens)) {
      return;
    }
    if (begins(other->tokens, tokens)) {
      GiveUp(other);
    }
  }
  for (const int32_t page : pages) {
    if (keepers_[page]++ == 0) {
      pool_->SetKnown(page, this);
    }
  }
  kept_.push_back({std::string(domain),
                   {tokens.begin(), tokens.end()},
                   {pages.begin(), pages.end()},
                   std::move(state)});
}

size_t KeptStates::bytes() const {
  size_t bytes = 0;
  for (const Kept& kept : kept_) {
    bytes += kept.state->bytes();
  }
  return bytes;
}

void KeptStates::Forget(int32_t page) {
  // The pool knows that already.
  keepers_[page] = 0;
  ++forgotten_;
  for (auto it = kept_.begin(); it != kept_.end();) {
    const auto kept = it++;
    const auto found = std::find(kept->pages.begin(), kept->pages.end(), page);
    if (found != kept->pages.end()) {
      kept->pages.erase(found);
      GiveUp(kept);
    }
  }
}

void KeptStates::GiveUp(std::list<Kept>::iterator kept) {
  for (const int32_t page : kept->pages) {
    if (--keepers_[page] == 0) {
      pool_->SetUnknown(page);
    }
  }
  kept_.erase(kept);
}

}  // namespace alcca
