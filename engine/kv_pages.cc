#include "engine/kv_pages.h"

#include <utility>

#include "base/check.h"

namespace alcca {

KvPagePool::KvPagePool(int32_t pages, int32_t page_tokens)
    : total_(pages), page_tokens_(page_tokens), pages_(pages) {
  ALCCA_CHECK(pages > 0 && page_tokens > 0);
  blank_.reserve(pages);
  for (int32_t id = pages - 1; id >= 0; --id) {  // so that ids are first handed out ascending
    blank_.push_back(id);
  }
}

KvPagePool::~KvPagePool() {
  ALCCA_CHECK(free() == total_);
}

void KvPagePool::KeepIdle(int32_t idle_max) {
  ALCCA_CHECK(idle_max >= 0 && idle_ == 0);
  idle_max_ = idle_max;
}

void KvPagePool::SetKnown(int32_t page, PageKnower* knower) {
  ALCCA_CHECK(knower != nullptr && pages_[page].holders > 0 && pages_[page].knower == nullptr);
  pages_[page].knower = knower;
}

void KvPagePool::SetUnknown(int32_t page) {
  ALCCA_CHECK(pages_[page].knower != nullptr);
  pages_[page].knower = nullptr;
  if (pages_[page].holders == 0) {
    EndIdle(page);
    blank_.push_back(page);
  }
}

void KvPagePool::ForgetIdle() {
  while (idle_ > 0) {
    blank_.push_back(ForgetOldest());
  }
}

int32_t KvPagePool::Take() {
  ALCCA_CHECK(free() > 0);
  int32_t id = kNone;
  if (blank_.empty()) {
    id = ForgetOldest();
  } else {
    id = blank_.back();
    blank_.pop_back();
  }
  pages_[id].holders = 1;
  return id;
}

void KvPagePool::Hold(int32_t page) {
  ALCCA_CHECK(page >= 0 && page < total_);
  ALCCA_CHECK(pages_[page].knower != nullptr || pages_[page].holders > 0);
  if (pages_[page].holders++ == 0) {
    EndIdle(page);
  }
}

void KvPagePool::Return(int32_t page) {
  ALCCA_CHECK(page >= 0 && page < total_ && pages_[page].holders > 0);
  if (--pages_[page].holders > 0) {
    return;
  }
  if (pages_[page].knower == nullptr) {
    blank_.push_back(page);
    return;
  }
  MakeIdle(page);
  if (idle_ > idle_max_) {
    blank_.push_back(ForgetOldest());
  }
}

void KvPagePool::MakeIdle(int32_t page) {
  pages_[page].older = newest_;
  pages_[page].newer = kNone;
  (newest_ == kNone ? oldest_ : pages_[newest_].newer) = page;
  newest_ = page;
  ++idle_;
}

void KvPagePool::EndIdle(int32_t page) {
  const Page& p = pages_[page];
  (p.older == kNone ? oldest_ : pages_[p.older].newer) = p.newer;
  (p.newer == kNone ? newest_ : pages_[p.newer].older) = p.older;
  --idle_;
}

int32_t KvPagePool::ForgetOldest() {
  const int32_t page = oldest_;
  EndIdle(page);
  std::exchange(pages_[page].knower, nullptr)->Forget(page);
  return page;
}

KvPages::KvPages(KvPages&& other) noexcept
    : pool_(other.pool_), ids_(std::exchange(other.ids_, {})) {}

KvPages& KvPages::operator=(KvPages&& other) noexcept {
  if (this != &other) {
    Release();
    pool_ = other.pool_;
    ids_ = std::exchange(other.ids_, {});
  }
  return *this;
}

void KvPages::Share(std::span<const int32_t> pages) {
  ALCCA_CHECK(ids_.empty());
  for (const int32_t page : pages) {
    pool_->Hold(page);
    ids_.push_back(page);
  }
}

bool KvPages::Grow(int64_t tokens) {
  const int32_t missing = pool_->PagesFor(tokens) - size();
  if (missing > pool_->free()) {
    return false;
  }
  for (int32_t i = 0; i < missing; ++i) {
    ids_.push_back(pool_->Take());
  }
  return true;
}

// The last page first: blank ones are reused in token order, and of known ones what follows is
// forgotten before what it follows.
void KvPages::Release() {
  for (; !ids_.empty(); ids_.pop_back()) {
    pool_->Return(ids_.back());
  }
}

}  // namespace alcca
