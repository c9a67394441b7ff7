// The approximate key index (kernels/key_index.h, MakeTreeKeyIndex).

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/check.h"
#include "kernels/key_index.h"

namespace alcca {
namespace {

// Coordinates' variances are taken over this many first keys: by then their order has settled, and
// the cost is bounded.
constexpr int32_t kMomentKeys = 256;

class TreeKeyIndex final : public KeyIndex {
 public:
  TreeKeyIndex(int32_t head_dim, const TreeParams& params, SquaredDistances distances)
      : d_(head_dim),
        params_(params),
        distances_of_(distances),
        sum_(head_dim),
        squares_(head_dim) {
    ALCCA_CHECK(params.distances >= 1 && params.recent >= 0 && params.recent <= params.distances);
  }

  void Append(const float* keys, int32_t count) override {
    for (int32_t i = 0; i < count; ++i) {
      AppendOne(keys + size_t(i) * d_);
    }
  }
  int32_t size() const override { return static_cast<int32_t>(keys_.size()); }

  int32_t Search(const float* query, int32_t k, int32_t prefix,
                 std::span<NearestKey> out) override {
    ALCCA_CHECK(prefix == size() && k <= static_cast<int32_t>(out.size()));
    cost_.keys_read.clear();
    cost_.scalar_comparisons = 0;
    const int32_t recent_from = std::max(0, prefix - params_.recent);
    for (int32_t key = recent_from; key < prefix; ++key) {
      cost_.keys_read.push_back(key);
    }
    OpenLeaves(query, recent_from);
    cost_.distances = static_cast<int64_t>(cost_.keys_read.size());

    candidates_.clear();
    for (const int32_t key : cost_.keys_read) {
      float distance = 0;
      distances_of_(&distance, query, keys_[key], 1, d_);
      if (!std::isnan(distance)) {
        candidates_.push_back({distance, key});
      }
    }
    const int32_t found = std::min(k, static_cast<int32_t>(candidates_.size()));
    const auto nearer = [](const NearestKey& a, const NearestKey& b) {
      return a.squared_distance < b.squared_distance ||
             (a.squared_distance == b.squared_distance && a.key < b.key);
    };
    std::partial_sort_copy(candidates_.begin(), candidates_.end(), out.begin(), out.begin() + found,
                           nearer);
    return found;
  }

  const SearchCost& last_cost() const override { return cost_; }
  int64_t build_interactions() const override { return build_interactions_; }
  size_t bytes() const override {
    return sizeof(*this) + nodes_.capacity() * sizeof(Node) +
           keys_.capacity() * sizeof(const float*) + next_equal_.capacity() * sizeof(int32_t) +
           (sum_.capacity() + squares_.capacity()) * sizeof(double) +
           cost_.keys_read.capacity() * sizeof(int32_t) +
           candidates_.capacity() * sizeof(NearestKey) + heap_.capacity() * sizeof(Branch);
  }

 private:
  // A child is a node, or a leaf as the complement of its first key's position.
  using Child = int32_t;
  struct Node {
    float cut = 0;
    int32_t axis = 0;
    Child child[2] = {};  // [0]: key[axis] < cut
  };
  // A subtree not opened yet, at least `bound` away (squared).
  struct Branch {
    float bound = 0;
    int32_t order = 0;  // equal bounds: first come, first opened
    Child child = 0;
  };

  void AppendOne(const float* key) {
    const int32_t position = size();
    keys_.push_back(key);
    next_equal_.push_back(-1);
    if (position < kMomentKeys) {
      for (int32_t i = 0; i < d_; ++i) {
        sum_[i] += key[i];
        squares_[i] += double{key[i]} * key[i];
      }
      build_interactions_ += 2;
    }
    if (position == 0) {
      root_ = ~0;
      return;
    }
    Child* link = &root_;
    while (*link >= 0) {
      Node& node = nodes_[*link];
      link = &node.child[key[node.axis] < node.cut ? 0 : 1];
    }
    Split(link, position);
  }

  // The leaf at *link becomes a node over it and the key at `position`, or takes that key in.
  void Split(Child* link, int32_t position) {
    const int32_t other = ~*link;
    const float* a = keys_[position];
    const float* b = keys_[other];
    build_interactions_ += 1;
    const double count = std::min(size(), kMomentKeys);
    int32_t axis = -1;
    double widest = 0;
    for (int32_t i = 0; i < d_; ++i) {
      const double gap = double{a[i]} - b[i], mean = sum_[i] / count;
      const double width = gap * gap * (squares_[i] / count - mean * mean);
      if (width > widest) {
        widest = width;
        axis = i;
      }
    }
    const float cut = axis < 0 ? 0.0f : a[axis] + 0.5f * (b[axis] - a[axis]);
    // Equal as far as the weights go, or so close that no number lies between.
    if (axis < 0 || (a[axis] < cut) == (b[axis] < cut)) {
      next_equal_[position] = next_equal_[other];
      next_equal_[other] = position;
      return;
    }
    Node node = {.cut = cut, .axis = axis};
    const int32_t side = a[axis] < cut ? 0 : 1;
    node.child[side] = ~position;
    node.child[1 - side] = *link;
    *link = static_cast<Child>(nodes_.size());  // before nodes_ moves: link may point into it
    nodes_.push_back(node);
  }

  // Keys before recent_from, until the distances are used up.
  void OpenLeaves(const float* query, int32_t recent_from) {
    const size_t most = static_cast<size_t>(params_.distances);
    const auto later = [](const Branch& a, const Branch& b) {
      return a.bound > b.bound || (a.bound == b.bound && a.order > b.order);
    };
    heap_.assign(1, {.child = root_});
    int32_t order = 0;
    while (!heap_.empty() && cost_.keys_read.size() < most) {
      std::pop_heap(heap_.begin(), heap_.end(), later);
      const Branch branch = heap_.back();
      heap_.pop_back();
      Child child = branch.child;
      while (child >= 0) {
        const Node& node = nodes_[child];
        const float gap = query[node.axis] - node.cut;
        const int32_t side = gap < 0 ? 0 : 1;
        heap_.push_back({branch.bound + gap * gap, ++order, node.child[1 - side]});
        std::push_heap(heap_.begin(), heap_.end(), later);
        child = node.child[side];
        ++cost_.scalar_comparisons;
      }
      for (int32_t key = ~child; key >= 0 && cost_.keys_read.size() < most;
           key = next_equal_[key]) {
        if (key < recent_from) {
          cost_.keys_read.push_back(key);
        }
      }
    }
  }

  const int32_t d_;
  const TreeParams params_;
  const SquaredDistances distances_of_;
  std::vector<const float*> keys_;   // by position, in the KV pages
  std::vector<int32_t> next_equal_;  // by position: the next key of the same leaf, or -1
  std::vector<Node> nodes_;
  Child root_ = ~0;
  std::vector<double> sum_, squares_;  // [d], of the first kMomentKeys keys
  int64_t build_interactions_ = 0;
  SearchCost cost_;
  std::vector<NearestKey> candidates_;  // scratch
  std::vector<Branch> heap_;            // scratch
};

}  // namespace

std::unique_ptr<KeyIndex> MakeTreeKeyIndex(int32_t head_dim, const TreeParams& params,
                                           SquaredDistances distances) {
  return std::make_unique<TreeKeyIndex>(head_dim, params, distances);
}

}  // namespace alcca
