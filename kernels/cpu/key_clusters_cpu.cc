#include "kernels/cpu/key_clusters_cpu.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <new>
#include <numeric>

#include "kernels/check.h"

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

void MakeUnit(float* v, int32_t d) {
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
  MakeUnit(t.axis.data(), t.d);
  for (int32_t iteration = 0; iteration < kAxisIterations; ++iteration) {
    Project(t, begin, count);
    std::fill(t.next.begin(), t.next.end(), 0.0f);
    float sum = 0;
    for (int32_t i = 0; i < count; ++i) {
      t.kernels.axpy(t.next.data(), t.projections[i], t.Row(begin + i), t.d);
      sum += t.projections[i];
    }
    t.kernels.axpy(t.next.data(), -sum, t.mean.data(), t.d);
    MakeUnit(t.next.data(), t.d);
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

// Weights of rows whose log-masses these are, in place; returns the log of their sum.
float Normalise(float* log_masses, int32_t count) {
  const float top = *std::max_element(log_masses, log_masses + count);
  float sum = 0;
  for (int32_t i = 0; i < count; ++i) {
    log_masses[i] = std::exp(log_masses[i] - top);
    sum += log_masses[i];
  }
  std::transform(log_masses, log_masses + count, log_masses, [sum](float w) { return w / sum; });
  return top + std::log(sum);
}

void WeightedMean(const AttentionKernels& kernels, const float* weights, const float* rows,
                  int32_t count, int32_t d, float* mean) {
  std::fill_n(mean, d, 0.0f);
  for (int32_t i = 0; i < count; ++i) {
    kernels.axpy(mean, weights[i], rows + size_t(i) * d, d);
  }
}

// Of rows about their mean, averaged over dimensions.
float WeightedVariance(const AttentionKernels& kernels, const float* weights, const float* mean,
                       const float* rows, int32_t count, int32_t d) {
  float squared[kFineTokens];
  kernels.squared_distances(squared, mean, rows, count, d);
  return std::inner_product(squared, squared + count, weights, 0.0f) / static_cast<float>(d);
}

static_assert(kBlockFines <= kFineTokens);

}  // namespace

KeyClusters::KeyClusters(int32_t head_dim, size_t bytes_max)
    : head_dim_(head_dim), bytes_max_(bytes_max), point_(head_dim, 0.0f) {
  for (QuerySum& sum : query_sums_) {
    sum.sum.assign(head_dim, 0.0);
  }
}

size_t KeyClusters::bytes() const {
  return ClusterBytes(static_cast<int32_t>(fine_.size()), head_dim_) +
         query_sums_.size() * head_dim_ * sizeof(double) + head_dim_ * sizeof(float);
}

void KeyClusters::Observe(const AttentionTask& task) {
  const int32_t group = task.group();
  for (int32_t row = task.row_begin; row < task.row_end && !failed_; ++row) {
    const int32_t position = task.position(row), block = position / kBlockTokens;
    if (!EntersExpansion(task.sequence.attention, task.shape.sliding_window, position)) {
      continue;
    }
    QuerySum& sum = query_sums_[block % query_sums_.size()];
    if (sum.block != block) {
      sum.block = block;
      std::fill(sum.sum.begin(), sum.sum.end(), 0.0);
    }
    for (int32_t g = 0; g < group; ++g) {
      std::transform(sum.sum.begin(), sum.sum.end(), task.Query(row, g), sum.sum.begin(),
                     std::plus<>());
    }
    task.counters->index_build += group;
  }
}

void KeyClusters::SetExpansionPoint(const AttentionTask& task) {
  const int32_t now = task.position(task.row_begin) / kBlockTokens;
  const int32_t blocks = std::min(now, kQueryBlocks);
  std::vector<double> total(head_dim_, 0.0);
  for (int32_t block = now - blocks; block < now; ++block) {
    const QuerySum& sum = query_sums_[block % query_sums_.size()];
    ALCCA_DCHECK(sum.block == block);
    std::transform(total.begin(), total.end(), sum.sum.begin(), total.begin(), std::plus<>());
  }
  const double scale =
      1 / (std::max(1, blocks * kBlockTokens * task.group()) * std::sqrt(double{1} * head_dim_));
  std::transform(total.begin(), total.end(), point_.begin(),
                 [scale](double x) { return static_cast<float>(x * scale); });
}

bool KeyClusters::Reserve(int32_t blocks) {
  if (bytes_max_ > 0 && ClusterBytes(blocks, head_dim_) > bytes_max_) {
    return false;
  }
  const size_t floats = size_t(kRows) * (2 * size_t(head_dim_) + 2);
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
    SetExpansionPoint(task);
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
    float log_masses[kBlockFines];
    for (int32_t f = 0; f < kBlockFines; ++f) {
      const int32_t token = (b * kBlockFines + f) * kFineTokens;
      MakeFine(task, t.Row(token), &t.moved[size_t(token) * d], fine, f, &log_masses[f]);
    }
    MakeCoarse(task, fine, log_masses, coarse, first_block % kSegmentBlocks + b);
  }
}

void KeyClusters::MakeFine(const AttentionTask& task, const float* keys, const float* values,
                           const Rows& fine, int32_t f, float* log_mass) {
  const AttentionKernels& kernels = task.kernels;
  const int32_t d = head_dim_;
  float weights[kFineTokens], shift;
  kernels.dots(weights, point_.data(), keys, kFineTokens, d);
  *log_mass = Normalise(weights, kFineTokens);
  WeightedMean(kernels, weights, keys, kFineTokens, d, Key(fine, f));
  WeightedMean(kernels, weights, values, kFineTokens, d, Value(fine, f));
  *Variance(fine, f) = WeightedVariance(kernels, weights, Key(fine, f), keys, kFineTokens, d);
  kernels.dots(&shift, point_.data(), Key(fine, f), 1, d);
  *Offset(fine, f) = *log_mass - shift;
}

// The moments of a block's keys from those of its fine clusters.
void KeyClusters::MakeCoarse(const AttentionTask& task, const Rows& fine, const float* log_masses,
                             const Rows& coarse, int32_t c) {
  const AttentionKernels& kernels = task.kernels;
  const int32_t d = head_dim_;
  float weights[kBlockFines], shift;
  std::copy_n(log_masses, kBlockFines, weights);
  const float log_mass = Normalise(weights, kBlockFines);
  WeightedMean(kernels, weights, Key(fine, 0), kBlockFines, d, Key(coarse, c));
  WeightedMean(kernels, weights, Value(fine, 0), kBlockFines, d, Value(coarse, c));
  // Within the fine clusters and between them.
  *Variance(coarse, c) =
      std::inner_product(weights, weights + kBlockFines, Variance(fine, 0), 0.0f) +
      WeightedVariance(kernels, weights, Key(coarse, c), Key(fine, 0), kBlockFines, d);
  kernels.dots(&shift, point_.data(), Key(coarse, c), 1, d);
  *Offset(coarse, c) = log_mass - shift;
}

}  // namespace alcca
