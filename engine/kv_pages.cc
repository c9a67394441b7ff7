#include "engine/kv_pages.h"

#include <utility>

#include "base/check.h"

namespace alcca {

KvPagePool::KvPagePool(int32_t pages, int32_t page_tokens)
    : total_(pages), page_tokens_(page_tokens), taken_(pages, false) {
  ALCCA_CHECK(pages > 0 && page_tokens > 0);
  free_ids_.reserve(pages);
  for (int32_t id = pages - 1; id >= 0; --id) {  // so that ids are first handed out ascending
    free_ids_.push_back(id);
  }
}

KvPagePool::~KvPagePool() {
  ALCCA_CHECK(free() == total_);
}

int32_t KvPagePool::Take() {
  ALCCA_CHECK(!free_ids_.empty());
  const int32_t id = free_ids_.back();
  free_ids_.pop_back();
  taken_[id] = true;
  return id;
}

void KvPagePool::Return(int32_t page) {
  ALCCA_CHECK(page >= 0 && page < total_ && taken_[page]);
  taken_[page] = false;
  free_ids_.push_back(page);
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

void KvPages::Release() {
  for (; !ids_.empty(); ids_.pop_back()) {  // the last page first: reused in token order
    pool_->Return(ids_.back());
  }
}

}  // namespace alcca
