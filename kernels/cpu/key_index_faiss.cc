// The only file that includes FAISS.

#include <faiss/Index.h>
#include <faiss/impl/FaissException.h>
#include <faiss/utils/distances.h>
#include <omp.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/check.h"
#include "kernels/key_index.h"

namespace alcca {
namespace {

// Flat L2 search over keys that stay in the KV pages: faiss::IndexFlatL2 would copy each of them.
class PagedFlatIndex final : public faiss::Index {
 public:
  PagedFlatIndex(int32_t head_dim, int32_t block_keys)
      : faiss::Index(head_dim, faiss::METRIC_L2), block_keys_(block_keys) {
    is_trained = true;
  }

  // Registers x, which must continue the last block in place, or begin a new one.
  void add(idx_t n, const float* x) override {
    while (n > 0) {
      const idx_t used = ntotal % block_keys_;
      if (used == 0) {
        blocks_.push_back(x);
      }
      ALCCA_DCHECK(x == blocks_.back() + used * d);
      const idx_t taken = std::min<idx_t>(n, block_keys_ - used);
      ntotal += taken;
      n -= taken;
      x += taken * d;
      ALCCA_DCHECK(n == 0);  // blocks are not contiguous: one call stays inside one
    }
  }
  void reset() override {
    blocks_.clear();
    ntotal = 0;
  }
  void search(idx_t n, const float* x, idx_t k, float* distances, idx_t* labels,
              const faiss::SearchParameters* = nullptr) const override {
    for (idx_t i = 0; i < n; ++i) {
      SearchPrefix(x + i * d, k, ntotal, distances + i * k, labels + i * k);
    }
  }

  // One query among the first `prefix` keys; unfilled places get label -1. Blocks are scanned in
  // order and merged so that (distance, position) is the total order.
  void SearchPrefix(const float* x, idx_t k, idx_t prefix, float* distances, idx_t* labels) const {
    std::fill_n(labels, k, -1);
    idx_t found = 0;
    block_distances_.resize(std::min<idx_t>(k, block_keys_));
    block_labels_.resize(block_distances_.size());
    for (idx_t begin = 0; begin < prefix; begin += block_keys_) {
      const idx_t keys = std::min<idx_t>(block_keys_, prefix - begin);
      const idx_t wanted = std::min(k, keys);
      // One query: FAISS takes its exact loop, which computes each difference, not the BLAS
      // expansion, whose rounding depends on the company.
      faiss::knn_L2sqr(x, blocks_[begin / block_keys_], d, 1, keys, wanted, block_distances_.data(),
                       block_labels_.data());
      for (idx_t i = 0; i < wanted && block_labels_[i] >= 0; ++i) {
        if (!Insert(block_distances_[i], begin + block_labels_[i], k, &found, distances, labels)) {
          break;  // sorted: the rest of the block is farther still
        }
      }
    }
  }

 private:
  // Into the ascending list of at most k; false if it is full of nearer ones. Positions arrive
  // ascending at equal distance, so "not nearer" keeps the lower.
  static bool Insert(float distance, idx_t label, idx_t k, idx_t* found, float* distances,
                     idx_t* labels) {
    if (*found == k && !(distance < distances[k - 1])) {
      return false;
    }
    idx_t place = *found < k ? (*found)++ : k - 1;
    for (; place > 0 && distance < distances[place - 1]; --place) {
      distances[place] = distances[place - 1];
      labels[place] = labels[place - 1];
    }
    distances[place] = distance;
    labels[place] = label;
    return true;
  }

  const idx_t block_keys_;
  std::vector<const float*> blocks_;  // [ceil(ntotal / block_keys)], each [block_keys, d]
  mutable std::vector<float> block_distances_;  // scratch; the index is not thread-safe anyway
  mutable std::vector<idx_t> block_labels_;
};

// FAISS parallelises inside; our pool already runs one task a core.
void UseOneOmpThread() {
  thread_local const bool done = [] {
    omp_set_num_threads(1);
    return true;
  }();
  (void)done;
}

class FaissKeyIndex final : public KeyIndex {
 public:
  FaissKeyIndex(int32_t head_dim, int32_t block_keys) : index_(head_dim, block_keys) {}

  void Append(const float* keys, int32_t count) override { index_.add(count, keys); }
  int32_t size() const override { return static_cast<int32_t>(index_.ntotal); }

  int32_t Search(const float* query, int32_t k, int32_t prefix,
                 std::span<NearestKey> out) override {
    ALCCA_CHECK(prefix <= size() && k <= static_cast<int32_t>(out.size()));
    UseOneOmpThread();
    const int32_t wanted = std::min(k, prefix);
    distances_.resize(wanted);
    labels_.resize(wanted);
    try {
      index_.SearchPrefix(query, wanted, prefix, distances_.data(), labels_.data());
    } catch (const std::exception& e) {  // no input of ours makes a flat search throw
      std::fprintf(stderr, "faiss: %s\n", e.what());
      std::abort();
    }
    int32_t found = 0;
    while (found < wanted && labels_[found] >= 0) {
      out[found] = {distances_[found], static_cast<int32_t>(labels_[found])};
      ++found;
    }
    return found;
  }

  size_t bytes() const override {
    return sizeof(*this) + (index_.ntotal + 63) / 64 * sizeof(float*) +
           distances_.capacity() * (sizeof(float) + sizeof(int64_t));
  }

 private:
  PagedFlatIndex index_;
  std::vector<float> distances_;
  std::vector<faiss::Index::idx_t> labels_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<KeyIndex>> MakeFaissKeyIndex(int32_t head_dim, int32_t block_keys) {
  // FAISS switches from its ordered heap to an unordered reservoir at 100 results: the heap breaks
  // ties by position, the reservoir does not.
  static const bool heap_always = [] {
    faiss::distance_compute_min_k_reservoir = std::numeric_limits<int>::max();
    return true;
  }();
  (void)heap_always;
  try {
    return std::make_unique<FaissKeyIndex>(head_dim, block_keys);
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("faiss: ", e.what()));
  }
}

}  // namespace alcca
