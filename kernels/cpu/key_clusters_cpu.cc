#include "kernels/cpu/key_clusters_cpu.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <new>
#include <numeric>

namespace alcca {
namespace {

// The tokens of a segment while it is split: rows of `keys` and entries of `order` move together.
struct Tokens {
  Tokens(const AttentionKernels& kernels, int32_t count, int32_t d)
      : kernels(kernels),
        d(d),
        keys(size_t(count) * d),
        moved(size_t(count) * d),
        order(count),
        rank(count),
        moved_order(count),
        projections(count),
        axis(d),
        next(d),
        mean(d) {
    std::iota(order.begin(), order.end(), 0);
  }

  const AttentionKernels& kernels;
  const int32_t d;
  std::vector<float> keys, moved;  // [count, d]
  std::vector<int32_t> order;      // [count], where in the segment a row came from
  std::vector<int32_t> rank, moved_order;
  std::vector<float> projections;       // [count]
  std::vector<float> axis, next, mean;  // [d]

  float* Row(int32_t i) { return keys.data() + size_t(i) * d; }
};

void Mean(const AttentionKernels& kernels, const float* rows, int32_t count, int32_t d,
          float* mean) {
  std::fill_n(mean, d, 0.0f);
  for (int32_t i = 0; i < count; ++i) {
    kernels.axpy(mean, 1.0f / static_cast<float>(count), rows + size_t(i) * d, d);
  }
}

void Normalise(float* v, int32_t d) {
  double squared = 0;
  for (int32_t i = 0; i < d; ++i) {
    squared += double{v[i]} * v[i];
  }
  const float scale = squared > 0 ? static_cast<float>(1 / std::sqrt(squared)) : 0.0f;
  std::transform(v, v + d, v, [scale](float x) { return x * scale; });
}

// t.projections = (rows - mean) . axis
void Project(Tokens& t, int32_t begin, int32_t count) {
  t.kernels.dots(t.projections.data(), t.axis.data(), t.Row(begin), count, t.d);
  float offset;
  t.kernels.dots(&offset, t.axis.data(), t.mean.data(), 1, t.d);
  for (int32_t i = 0; i < count; ++i) {
    t.projections[i] -= offset;
  }
}

// The direction in which rows [begin, begin + count) scatter most, by the power method on their
// covariance, started at the row farthest from their mean.
void FindAxis(Tokens& t, int32_t begin, int32_t count) {
  Mean(t.kernels, t.Row(begin), count, t.d, t.mean.data());
  t.kernels.squared_distances(t.projections.data(), t.mean.data(), t.Row(begin), count, t.d);
  const auto* far = std::max_element(t.projections.data(), t.projections.data() + count);
  const float* start = t.Row(begin + static_cast<int32_t>(far - t.projections.data()));
  std::transform(start, start + t.d, t.mean.data(), t.axis.data(), std::minus<>());
  Normalise(t.axis.data(), t.d);
  for (int32_t iteration = 0; iteration < kAxisIterations; ++iteration) {
    Project(t, begin, count);
    std::fill(t.next.begin(), t.next.end(), 0.0f);
    float sum = 0;
    for (int32_t i = 0; i < count; ++i) {
      t.kernels.axpy(t.next.data(), t.projections[i], t.Row(begin + i), t.d);
      sum += t.projections[i];
    }
    t.kernels.axpy(t.next.data(), -sum, t.mean.data(), t.d);
    Normalise(t.next.data(), t.d);
    std::swap(t.axis, t.next);
  }
  Project(t, begin, count);
}

// The half with the lower projections first; equal ones by their order. Within a half the order
// stays.
void Split(Tokens& t, int32_t begin, int32_t count) {
  if (count <= kFineTokens) {
    return;
  }
  FindAxis(t, begin, count);
  const int32_t half = count / 2;
  float* p = t.projections.data();
  // A key that is not finite would break the order: it counts as the mean.
  std::replace_if(
      p, p + count, [](float x) { return !std::isfinite(x); }, 0.0f);
  std::iota(t.rank.begin(), t.rank.begin() + count, 0);
  std::nth_element(t.rank.begin(), t.rank.begin() + half, t.rank.begin() + count,
                   [p](int32_t a, int32_t b) { return p[a] < p[b] || (p[a] == p[b] && a < b); });
  std::sort(t.rank.begin(), t.rank.begin() + half);
  std::sort(t.rank.begin() + half, t.rank.begin() + count);
  for (int32_t i = 0; i < count; ++i) {
    std::memcpy(&t.moved[size_t(i) * t.d], t.Row(begin + t.rank[i]), t.d * sizeof(float));
    t.moved_order[i] = t.order[begin + t.rank[i]];
  }
  std::memcpy(t.Row(begin), t.moved.data(), size_t(count) * t.d * sizeof(float));
  std::copy_n(t.moved_order.begin(), count, t.order.begin() + begin);
  Split(t, begin, half);
  Split(t, begin + half, half);
}

// Mean over dimensions of the rows' variance.
float MeanVariance(const AttentionKernels& kernels, const float* mean, const float* rows,
                   int32_t count, int32_t d) {
  float squared[kFineTokens];
  kernels.squared_distances(squared, mean, rows, count, d);
  return std::accumulate(squared, squared + count, 0.0f) / static_cast<float>(count * d);
}

static_assert(kBlockFines <= kFineTokens);

}  // namespace

bool KeyClusters::Reserve(int32_t blocks) {
  if (bytes_max_ > 0 && ClusterBytes(blocks, head_dim_) > bytes_max_) {
    return false;
  }
  const size_t floats = size_t(kRows) * (2 * size_t(head_dim_) + 1);
  while (static_cast<int32_t>(fine_.size()) < blocks) {
    if (fine_.size() % kSegmentBlocks == 0 && coarse_.size() == fine_.size() / kSegmentBlocks) {
      coarse_.emplace_back(new float[floats]);
    }
    fine_.emplace_back(new float[floats]);
  }
  return true;
}

void KeyClusters::Close(const AttentionTask& task, int32_t blocks) {
  if (failed_ || blocks <= blocks_) {
    return;
  }
  const auto start = std::chrono::steady_clock::now();
  try {
    failed_ = !Reserve(blocks);
    while (!failed_ && blocks_ < blocks) {
      // What a larger segment will merge within this call is not built first.
      int32_t end = blocks_ + 1;
      for (int32_t later = end + 1; later <= blocks; ++later) {
        if (later - SegmentBlocks(later) <= blocks_) {
          end = later;
        }
      }
      BuildSegment(task, end - SegmentBlocks(end), SegmentBlocks(end));
      task.counters->index_build += SegmentBuildInteractions(SegmentBlocks(end));
      blocks_ = end;
    }
  } catch (const std::bad_alloc&) {
    failed_ = true;
  }
  if (failed_) {
    coarse_.clear();
    fine_.clear();
    blocks_ = 0;
  }
  build_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void KeyClusters::BuildSegment(const AttentionTask& task, int32_t first_block, int32_t blocks) {
  const int32_t d = head_dim_, count = blocks * kBlockTokens;
  const int32_t first_token = task.sequence.attention.sinks + first_block * kBlockTokens;
  Tokens t(task.kernels, count, d);
  std::vector<float> values(t.keys.size());
  for (int32_t i = 0; i < count; ++i) {
    std::memcpy(t.Row(i), task.Key(first_token + i), d * sizeof(float));
    std::memcpy(&values[size_t(i) * d], task.Value(first_token + i), d * sizeof(float));
  }
  Split(t, 0, count);  // nothing above this line writes what others see; nothing below can fail
  for (int32_t i = 0; i < count; ++i) {
    float* moved_value = &t.moved[size_t(i) * d];
    std::memcpy(moved_value, &values[size_t(t.order[i]) * d], d * sizeof(float));
    std::memcpy(task.Key(first_token + i), t.Row(i), d * sizeof(float));
    std::memcpy(task.Value(first_token + i), moved_value, d * sizeof(float));
  }

  const Rows& coarse = coarse_[first_block / kSegmentBlocks];
  for (int32_t b = 0; b < blocks; ++b) {
    const Rows& fine = fine_[first_block + b];
    float inner = 0;
    for (int32_t f = 0; f < kBlockFines; ++f) {
      const int32_t token = (b * kBlockFines + f) * kFineTokens;
      Mean(task.kernels, t.Row(token), kFineTokens, d, Key(fine, f));
      Mean(task.kernels, &t.moved[size_t(token) * d], kFineTokens, d, Value(fine, f));
      *Variance(fine, f) = MeanVariance(task.kernels, Key(fine, f), t.Row(token), kFineTokens, d);
      inner += *Variance(fine, f) / kBlockFines;
    }
    const int32_t c = first_block % kSegmentBlocks + b;
    Mean(task.kernels, Key(fine, 0), kBlockFines, d, Key(coarse, c));
    Mean(task.kernels, Value(fine, 0), kBlockFines, d, Value(coarse, c));
    // Within the fine clusters and between them.
    *Variance(coarse, c) =
        inner + MeanVariance(task.kernels, Key(coarse, c), Key(fine, 0), kBlockFines, d);
  }
}

}  // namespace alcca
