#pragma once

// Records which sequence holds which page of the KV pool. The pool hands out ids; the backend owns
// the bytes (kernels/backend.h KvCache).

#include <cstdint>
#include <span>
#include <vector>

namespace alcca {

// Finds pages by what they hold.
class PageKnower {
 public:
  virtual ~PageKnower() = default;
  // The page, which was idle, holds its tokens no longer.
  virtual void Forget(int32_t page) = 0;
};

// Page ids [0, total). A page is held by one sequence, shared by several, idle (held by none, but
// its content is known and may be asked for again) or blank. Blank pages are taken first, the last
// freed one before others, so that it is warm in the processor's cache; then idle ones, the least
// recently held first.
class KvPagePool {
 public:
  KvPagePool(int32_t pages, int32_t page_tokens);
  ~KvPagePool();  // nothing is held, or it is our bug
  KvPagePool(const KvPagePool&) = delete;
  KvPagePool& operator=(const KvPagePool&) = delete;

  int32_t total() const { return total_; }
  int32_t free() const { return static_cast<int32_t>(blank_.size()) + idle_; }
  int32_t used() const { return total_ - free(); }
  int32_t idle() const { return idle_; }
  int32_t page_tokens() const { return page_tokens_; }
  // Pages that `tokens` tokens fill.
  int32_t PagesFor(int64_t tokens) const {
    return static_cast<int32_t>((tokens + page_tokens_ - 1) / page_tokens_);
  }

  // At most `idle_max` known pages stay idle.
  void KeepIdle(int32_t idle_max);
  // The content of a held page is known to `knower` from now on, which hears when it becomes blank
  // or is taken for other tokens. One at a time knows a page.
  void SetKnown(int32_t page, PageKnower* knower);
  // Its knower gives it up: it is known no longer, and blank unless it is held. Nobody hears.
  void SetUnknown(int32_t page);
  // All idle pages become blank.
  void ForgetIdle();

 private:
  friend class KvPages;
  static constexpr int32_t kNone = -1;
  struct Page {
    int32_t holders = 0;
    PageKnower* knower = nullptr;
    int32_t older = kNone, newer = kNone;  // neighbours among the idle
  };

  int32_t Take();
  void Hold(int32_t page);  // once more
  void Return(int32_t page);
  void MakeIdle(int32_t page);
  void EndIdle(int32_t page);
  int32_t ForgetOldest();

  const int32_t total_;
  const int32_t page_tokens_;
  std::vector<Page> pages_;     // [total]
  std::vector<int32_t> blank_;  // ids
  int32_t idle_ = 0, idle_max_ = 0;
  int32_t oldest_ = kNone, newest_ = kNone;  // of the idle
};

// The pages of one sequence in token order; they return to the pool when this dies.
class KvPages {
 public:
  explicit KvPages(KvPagePool* pool) : pool_(pool) {}
  ~KvPages() { Release(); }
  KvPages(KvPages&& other) noexcept;
  KvPages& operator=(KvPages&& other) noexcept;

  // Begins with pages that are known, or held by others too. Only when this is empty.
  void Share(std::span<const int32_t> pages);
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
