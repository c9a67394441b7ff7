#include "kernels/reference/key_tree_reference.h"

#include <algorithm>
#include <memory>
#include <utility>

namespace alcca {
namespace {

using Vector = std::vector<double>;

struct Node {
  std::vector<size_t> keys;  // of a leaf: the first, then those equal to it, newest first
  size_t axis = 0;
  double cut = 0;
  std::unique_ptr<Node> low, high;  // both or none
};

// Variance of each coordinate over the first 256 of the first `count` keys.
Vector Variances(const std::vector<Vector>& keys, size_t count) {
  count = std::min<size_t>(count, 256);
  Vector out;
  for (size_t i = 0; i < keys[0].size(); ++i) {
    double sum = 0, squares = 0;
    for (size_t j = 0; j < count; ++j) {
      sum += keys[j][i];
      squares += keys[j][i] * keys[j][i];
    }
    const double n = static_cast<double>(count), mean = sum / n;
    out.push_back(squares / n - mean * mean);
  }
  return out;
}

void Insert(Node& root, const std::vector<Vector>& keys, size_t position) {
  const Vector& key = keys[position];
  Node* leaf = &root;
  while (leaf->low != nullptr) {
    leaf = key[leaf->axis] < leaf->cut ? leaf->low.get() : leaf->high.get();
  }
  if (leaf->keys.empty()) {
    leaf->keys = {position};
    return;
  }
  const Vector& other = keys[leaf->keys[0]];
  const Vector variances = Variances(keys, position + 1);
  double widest = 0;
  bool split = false;
  for (size_t i = 0; i < key.size(); ++i) {
    const double width = (key[i] - other[i]) * (key[i] - other[i]) * variances[i];
    if (width > widest) {
      widest = width;
      leaf->axis = i;
      split = true;
    }
  }
  if (!split) {
    leaf->keys.insert(leaf->keys.begin() + 1, position);
    return;
  }
  leaf->cut = (key[leaf->axis] + other[leaf->axis]) / 2;
  leaf->low = std::make_unique<Node>();
  leaf->high = std::make_unique<Node>();
  const bool is_low = key[leaf->axis] < leaf->cut;
  (is_low ? leaf->low : leaf->high)->keys = {position};
  (is_low ? leaf->high : leaf->low)->keys = std::move(leaf->keys);
}

struct Branch {
  double bound;
  const Node* node;
};

}  // namespace

std::vector<size_t> TreeCandidatesReference(const Vector& q, const std::vector<Vector>& keys,
                                            const TreeParams& params) {
  Node root;
  for (size_t j = 0; j < keys.size(); ++j) {
    Insert(root, keys, j);
  }
  const size_t most = params.distances, recent = params.recent;
  const size_t recent_from = keys.size() - std::min(keys.size(), recent);
  std::vector<size_t> out;
  for (size_t j = recent_from; j < keys.size(); ++j) {
    out.push_back(j);
  }
  std::vector<Branch> branches = {{0.0, &root}};  // in the order they were met
  while (!branches.empty() && out.size() < most) {
    const auto nearest =
        std::min_element(branches.begin(), branches.end(),
                         [](const Branch& a, const Branch& b) { return a.bound < b.bound; });
    Branch branch = *nearest;
    branches.erase(nearest);
    while (branch.node->low != nullptr) {
      const Node& node = *branch.node;
      const double gap = q[node.axis] - node.cut;
      branches.push_back({branch.bound + gap * gap, gap < 0 ? node.high.get() : node.low.get()});
      branch.node = gap < 0 ? node.low.get() : node.high.get();
    }
    for (const size_t j : branch.node->keys) {
      if (j < recent_from && out.size() < most) {
        out.push_back(j);
      }
    }
  }
  return out;
}

}  // namespace alcca
