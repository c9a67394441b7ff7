#pragma once

// Records which sequence holds which page of the KV pool. The pool hands out ids; the backend owns
// the bytes (kernels/backend.h KvCache).

#include <cstdint>
#include <span>
#include <vector>

namespace alcca {

// A free list of page ids [0, total). Last freed, first reused, so a page is warm in the cache.
class KvPagePool {
 public:
  KvPagePool(int32_t pages, int32_t page_tokens);
  ~KvPagePool();  // every page is back, or it is our bug
  KvPagePool(const KvPagePool&) = delete;
  KvPagePool& operator=(const KvPagePool&) = delete;

  int32_t total() const { return total_; }
  int32_t free() const { return static_cast<int32_t>(free_ids_.size()); }
  int32_t used() const { return total_ - free(); }
  int32_t page_tokens() const { return page_tokens_; }
  // Pages that `tokens` tokens fill.
  int32_t PagesFor(int64_t tokens) const {
    return static_cast<int32_t>((tokens + page_tokens_ - 1) / page_tokens_);
  }

 private:
  friend class KvPages;
  int32_t Take();
  void Return(int32_t page);

  const int32_t total_;
  const int32_t page_tokens_;
  std::vector<int32_t> free_ids_;
  std::vector<bool> taken_;  // [total]
};

// The pages of one sequence in token order; they return to the pool when this dies.
class KvPages {
 public:
  explicit KvPages(KvPagePool* pool) : pool_(pool) {}
  ~KvPages() { Release(); }
  KvPages(KvPages&& other) noexcept;
  KvPages& operator=(KvPages&& other) noexcept;

  // Makes room for `tokens` tokens in all; false, with nothing changed, if the pool cannot.
  [[nodiscard]] bool Grow(int64_t tokens);
  void Release();

  int32_t size() const { return static_cast<int32_t>(ids_.size()); }
  // Token t lives in data()[t / page_tokens]. Valid until the next Grow or Release.
  const int32_t* data() const { return ids_.data(); }
  std::span<const int32_t> ids() const { return ids_; }

 private:
  KvPagePool* pool_;  // outlives this
  std::vector<int32_t> ids_;
};

}  // namespace alcca
