// The only file that includes FAISS.

#include <faiss/Index.h>
#include <faiss/utils/distances.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "kernels/key_index.h"

namespace alcca {
namespace {

// Flat L2 search over keys that stay in the KV pages: faiss::IndexFlatL2 would copy each of them,
// and FAISS' own search of one query enters an OpenMP region, which costs more than 100 keys do.
class PagedFlatIndex final : public faiss::Index {
 public:
  PagedFlatIndex(int32_t head_dim, int32_t block_keys, SquaredDistances distances)
      : faiss::Index(head_dim, faiss::METRIC_L2),
        block_keys_(block_keys),
        distances_of_(distances),
        block_distances_(block_keys) {
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
  // order, so that (distance, position) is the total order.
  void SearchPrefix(const float* x, idx_t k, idx_t prefix, float* distances, idx_t* labels) const {
    std::fill_n(labels, k, -1);
    idx_t found = 0;
    for (idx_t begin = 0; begin < prefix; begin += block_keys_) {
      const idx_t keys = std::min<idx_t>(block_keys_, prefix - begin);
      distances_of_(block_distances_.data(), x, blocks_[begin / block_keys_],
                    static_cast<int32_t>(keys), d);
      for (idx_t i = 0; i < keys; ++i) {
        Insert(block_distances_[i], begin + i, k, &found, distances, labels);
      }
    }
  }

  size_t bytes() const {
    return blocks_.capacity() * sizeof(float*) + block_distances_.capacity() * sizeof(float);
  }

 private:
  // Into the ascending list of at most k, unless it is full of nearer ones. Positions arrive
  // ascending, so "not nearer" keeps the lower of two at the same distance. NaN is never in.
  static void Insert(float distance, idx_t label, idx_t k, idx_t* found, float* distances,
                     idx_t* labels) {
    if (*found == k ? !(distance < distances[k - 1]) : std::isnan(distance)) {
      return;
    }
    idx_t place = *found < k ? (*found)++ : k - 1;
    for (; place > 0 && distance < distances[place - 1]; --place) {
      distances[place] = distances[place - 1];
      labels[place] = labels[place - 1];
    }
    distances[place] = distance;
    labels[place] = label;
  }

  const idx_t block_keys_;
  std::vector<const float*> blocks_;  // [ceil(ntotal / block_keys)], each [block_keys, d]
  const SquaredDistances distances_of_;
  mutable std::vector<float> block_distances_;  // scratch; the index is not thread-safe anyway
};

void FaissSquaredDistances(float* out, const float* query, const float* keys, int32_t n,
                           int32_t d) {
  faiss::fvec_L2sqr_ny(out, query, keys, d, n);
}

class FaissKeyIndex final : public KeyIndex {
 public:
  FaissKeyIndex(int32_t head_dim, int32_t block_keys, SquaredDistances distances)
      : index_(head_dim, block_keys, distances) {}

  void Append(const float* keys, int32_t count) override { index_.add(count, keys); }
  int32_t size() const override { return static_cast<int32_t>(index_.ntotal); }

  int32_t Search(const float* query, int32_t k, int32_t prefix,
                 std::span<NearestKey> out) override {
    ALCCA_CHECK(prefix <= size() && k <= static_cast<int32_t>(out.size()));
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
    cost_.distances = prefix;
    return found;
  }
  const SearchCost& last_cost() const override { return cost_; }
  int64_t build_interactions() const override { return 0; }

  size_t bytes() const override {
    return sizeof(*this) + index_.bytes() +
           distances_.capacity() * (sizeof(float) + sizeof(int64_t));
  }

 private:
  PagedFlatIndex index_;
  SearchCost cost_;
  std::vector<float> distances_;
  std::vector<faiss::Index::idx_t> labels_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<KeyIndex>> MakeFaissKeyIndex(int32_t head_dim, int32_t block_keys,
                                                            SquaredDistances distances) {
  try {
    return std::make_unique<FaissKeyIndex>(
        head_dim, block_keys, distances != nullptr ? distances : FaissSquaredDistances);
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("faiss: ", e.what()));
  }
}

}  // namespace alcca
