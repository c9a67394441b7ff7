#pragma once

// The quantile of all numbers seen so far, exactly: two heaps that meet at it.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <vector>

namespace alcca {

class RunningQuantile {
 public:
  explicit RunningQuantile(float share) : share_(share) {}

  // The quantile: floor(share * n) of the n added numbers are not above it, and the other numbers
  // are not below it. It is the smallest of those others. 0 before the first number; infinity if
  // there are no others.
  float value() const {
    if (low_.empty() && high_.empty()) {
      return 0;
    }
    return high_.empty() ? std::numeric_limits<float>::infinity() : high_.front();
  }

  // O(log n). Numbers that are not finite are left out.
  void Add(float x) {
    if (!std::isfinite(x)) {
      return;
    }
    if (!low_.empty() && x < low_.front()) {
      Push(low_, x, std::less<>());
    } else {
      Push(high_, x, std::greater<>());
    }
    const auto count = static_cast<double>(low_.size() + high_.size());
    const auto wanted = static_cast<size_t>(double{share_} * count);
    while (low_.size() > wanted) {
      Push(high_, Pop(low_, std::less<>()), std::greater<>());
    }
    while (low_.size() < wanted) {
      Push(low_, Pop(high_, std::greater<>()), std::less<>());
    }
  }

  size_t bytes() const { return (low_.capacity() + high_.capacity()) * sizeof(float); }

 private:
  template <typename Order>
  static void Push(std::vector<float>& heap, float x, Order order) {
    heap.push_back(x);
    std::push_heap(heap.begin(), heap.end(), order);
  }
  template <typename Order>
  static float Pop(std::vector<float>& heap, Order order) {
    std::pop_heap(heap.begin(), heap.end(), order);
    const float x = heap.back();
    heap.pop_back();
    return x;
  }

  float share_;
  std::vector<float> low_;   // max-heap
  std::vector<float> high_;  // min-heap
};

}  // namespace alcca
