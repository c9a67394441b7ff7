#include "kernels/cpu/key_clusters_cpu.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <new>
#include <numeric>

#include "base/check.h"

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

// A mean as it is stored; returns the scale, NaN where the mean is not finite, so that its readers
// see that.
float Store(const float* mean, int32_t d, int8_t* stored) {
  float largest = 0;
  bool is_finite = true;
  for (int32_t i = 0; i < d; ++i) {
    largest = std::max(largest, std::fabs(mean[i]));
    is_finite = is_finite && std::isfinite(mean[i]);
  }
  const float steps = is_finite && largest > 0 ? kCentreSteps / largest : 0.0f;
  for (int32_t i = 0; i < d; ++i) {
    stored[i] = is_finite ? static_cast<int8_t>(std::nearbyint(mean[i] * steps)) : int8_t{0};
  }
  return is_finite ? largest / kCentreSteps : std::numeric_limits<float>::quiet_NaN();
}

// Rows that a cluster stands for: keys, or clusters one level below.
struct Parts {
  const float* keys;       // [n, d]
  const float* values;     // [n, d]
  const float* variances;  // [n], own
};

// Makes the clusters of a segment, block by block. All memory is taken when it is made.
class ClusterMaker {
 public:
  ClusterMaker(const AttentionKernels& kernels, const float* point, int32_t d)
      : kernels_(kernels),
        point_(point),
        d_(d),
        mean_(d),
        part_keys_(size_t(kFanout) * d),
        part_values_(part_keys_.size()) {}

  // The clusters of a block from its tokens, keys and values [256, d], and its coarse one, number
  // `number` of its segment, from those.
  void MakeBlock(const float* keys, const float* values, const ClusterRows& block,
                 const ClusterRows& coarse, int32_t number) {
    constexpr float kNone[kFineTokens] = {};
    float middle_masses[kFanout];
    for (int32_t m = 0; m < kFanout; ++m) {
      float fine_masses[kFanout];
      for (int32_t f = 0; f < kFanout; ++f) {
        const int32_t row = ChildRow(1 + m, f);
        const size_t at = size_t(FineToken(row)) * d_;
        float scores[kFineTokens];
        kernels_.dots(scores, point_, keys + at, kFineTokens, d_);
        fine_masses[f] = Make<kFineTokens>(block, row, scores, {keys + at, values + at, kNone});
      }
      middle_masses[m] = MakeOfChildren(block, m, fine_masses, block, 1 + m);
    }
    MakeOfChildren(coarse, number, middle_masses, block, 0);
  }

 private:
  // From the stored children of `parent` (kernels/key_clusters.h).
  float MakeOfChildren(const ClusterRows& to, int32_t row, float* log_masses,
                       const ClusterRows& block, int32_t parent) {
    const int32_t first = ChildRow(parent, 0);
    kernels_.restore_int8(part_keys_.data(), block.Key(first), block.KeyScales() + first, kFanout,
                          d_);
    kernels_.restore_int8(part_values_.data(), block.Value(first), block.ValueScales() + first,
                          kFanout, d_);
    return Make<kFanout>(to, row, log_masses,
                         {part_keys_.data(), part_values_.data(), block.Variances() + first});
  }
  // Overwrites log_masses, [n]; returns the cluster's.
  template <int32_t n>
  float Make(const ClusterRows& to, int32_t row, float* log_masses, const Parts& parts) {
    const float log_mass = Normalise(log_masses, n);
    const float* weights = log_masses;
    WeightedMean(kernels_, weights, parts.keys, n, d_, mean_.data());
    to.KeyScales()[row] = Store(mean_.data(), d_, to.Key(row));
    // Within the parts and between them.
    float squared[n];
    kernels_.squared_distances(squared, mean_.data(), parts.keys, n, d_);
    to.Variances()[row] =
        std::inner_product(weights, weights + n, parts.variances, 0.0f) +
        std::inner_product(weights, weights + n, squared, 0.0f) / static_cast<float>(d_);
    float shift;
    kernels_.restore_int8(mean_.data(), to.Key(row), &to.KeyScales()[row], 1, d_);
    kernels_.dots(&shift, point_, mean_.data(), 1, d_);
    to.Offsets()[row] = log_mass - shift;
    WeightedMean(kernels_, weights, parts.values, n, d_, mean_.data());
    to.ValueScales()[row] = Store(mean_.data(), d_, to.Value(row));
    return log_mass;
  }

  const AttentionKernels& kernels_;
  const float* const point_;
  const int32_t d_;
  std::vector<float> mean_;
  std::vector<float> part_keys_, part_values_;  // of a cluster, as they are stored
};

}  // namespace

KeyClusters::KeyClusters(int32_t head_dim, size_t bytes_max)
    : head_dim_(head_dim), bytes_max_(bytes_max), point_(head_dim, 0.0f) {}

size_t KeyClusters::bytes() const {
  return ClusterBytes(static_cast<int32_t>(inner_.size()), head_dim_) +
         inner_.size() * kBlockTokens * sizeof(uint16_t) +
         query_sums_.size() * head_dim_ * sizeof(double) + head_dim_ * sizeof(float);
}

void KeyClusters::Observe(const AttentionTask& task) {
  const int32_t group = task.group();
  for (int32_t row = task.row_begin; row < task.row_end && !failed_; ++row) {
    const int32_t position = task.position(row), block = position / kBlockTokens;
    if (!EntersExpansion(task.params(), task.shape.sliding_window, position)) {
      continue;
    }
    if (block >= std::ssize(query_sums_)) {
      query_sums_.resize(size_t(block) + 1);
    }
    std::vector<double>& sum = query_sums_[block];
    sum.resize(head_dim_);
    for (int32_t g = 0; g < group; ++g) {
      std::transform(sum.begin(), sum.end(), task.Query(row, g), sum.begin(), std::plus<>());
    }
    task.counters->index_build += group;
  }
}

void KeyClusters::SetExpansionPoint(const AttentionTask& task, int32_t position) {
  const int32_t now = position / kBlockTokens;
  const int32_t blocks = std::min(now, kQueryBlocks);
  std::vector<double> total(head_dim_, 0.0);
  for (int32_t block = now - blocks; block < now; ++block) {
    const std::vector<double>& sum = query_sums_[block];
    ALCCA_DCHECK(std::ssize(sum) == head_dim_);
    std::transform(total.begin(), total.end(), sum.begin(), total.begin(), std::plus<>());
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
  while (static_cast<int32_t>(inner_.size()) < blocks) {
    if (inner_.size() % kSegmentBlocks == 0 && coarse_.size() == inner_.size() / kSegmentBlocks) {
      coarse_.emplace_back(new unsigned char[ClusterRowsBytes(kSegmentBlocks, head_dim_)]);
      orders_.push_back(std::make_shared<Order>());
    }
    Order& order = *orders_.back();
    order.resize(order.size() + kBlockTokens);
    std::iota(order.end() - kBlockTokens, order.end(),
              static_cast<uint16_t>(order.size() - kBlockTokens));
    inner_.emplace_back(new unsigned char[ClusterRowsBytes(kBlockClusters, head_dim_)]);
  }
  return true;
}

void KeyClusters::Close(const AttentionTask& task, int32_t blocks) {
  Close(task, blocks, task.position(task.row_begin));
}

// As the query at `position` sees them.
void KeyClusters::Close(const AttentionTask& task, int32_t blocks, int32_t position) {
  if (failed_ || blocks <= blocks_) {
    return;
  }
  const auto start = std::chrono::steady_clock::now();
  try {
    failed_ = !Reserve(blocks);
    SetExpansionPoint(task, position);
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
    orders_.clear();
    inner_.clear();
    query_sums_.clear();
    blocks_ = 0;
  }
  build_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void KeyClusters::BuildSegment(const AttentionTask& task, int32_t first_block, int32_t blocks) {
  const int32_t d = head_dim_, count = blocks * kBlockTokens;
  const int32_t first_token = task.params().sinks + first_block * kBlockTokens;
  Tokens t(task.kernels, count, d);
  std::vector<float> values(t.keys.size());
  for (int32_t i = 0; i < count; ++i) {
    std::memcpy(t.Row(i), task.Key(first_token + i), d * sizeof(float));
    std::memcpy(&values[size_t(i) * d], task.Value(first_token + i), d * sizeof(float));
  }
  ClusterMaker maker(task.kernels, point_.data(), d);
  uint16_t* const order =
      orders_[first_block / kSegmentBlocks]->data() + first_block % kSegmentBlocks * kBlockTokens;
  const std::vector<uint16_t> before(order, order + count);
  Split(t, 0, count);  // nothing above this line writes what others see; nothing below can fail
  for (int32_t i = 0; i < count; ++i) {
    float* moved_value = &t.moved[size_t(i) * d];
    std::memcpy(moved_value, &values[size_t(t.order[i]) * d], d * sizeof(float));
    std::memcpy(task.Key(first_token + i), t.Row(i), d * sizeof(float));
    std::memcpy(task.Value(first_token + i), moved_value, d * sizeof(float));
    order[i] = before[t.order[i]];
  }

  for (int32_t b = 0; b < blocks; ++b) {
    const size_t at = size_t(b) * kBlockTokens * d;
    maker.MakeBlock(t.Row(b * kBlockTokens), t.moved.data() + at, Inner(first_block + b),
                    Coarse(first_block), first_block % kSegmentBlocks + b);
  }
}

int32_t KeyClusters::FinalBlocks(const AttentionParams& params, int32_t tokens) const {
  return std::min(blocks_, ClosedBlocks(params, /*sliding_window=*/0, tokens)) / kSegmentBlocks *
         kSegmentBlocks;
}

void KeyClusters::Fork(const KeyClusters& from, const int32_t* from_pages, int32_t first,
                       const AttentionTask& task) {
  const AttentionParams& params = task.params();
  const int32_t tokens = task.position(task.row_begin), sinks = params.sinks;
  const int32_t final_blocks = from.FinalBlocks(params, tokens);
  const size_t segments = size_t(final_blocks) / kSegmentBlocks;
  coarse_.assign(from.coarse_.begin(), from.coarse_.begin() + segments);
  orders_.assign(from.orders_.begin(), from.orders_.begin() + segments);
  inner_.assign(from.inner_.begin(), from.inner_.begin() + final_blocks);
  query_sums_.assign(
      from.query_sums_.begin(),
      from.query_sums_.begin() + std::min<size_t>(from.query_sums_.size(), tokens / kBlockTokens));
  blocks_ = final_blocks;

  // Tokens behind the final segments go back to where they were before closing.
  const size_t row_bytes = size_t(head_dim_) * sizeof(float);
  BatchSequence other = task.sequence;
  other.pages = from_pages;
  AttentionTask source{.kernels = task.kernels,
                       .shape = task.shape,
                       .kv = task.kv,
                       .sequence = other,
                       .qkv = {},
                       .out = {},
                       .layer = task.layer,
                       .kv_head = task.kv_head};
  const int32_t open = sinks + final_blocks * kBlockTokens;
  const int32_t closed = sinks + from.blocks_ * kBlockTokens;
  const int32_t segments_end =
      sinks + (tokens - sinks + kSegmentTokens - 1) / kSegmentTokens * kSegmentTokens;
  for (int32_t t = first; t < std::max(tokens, std::min(closed, segments_end)); ++t) {
    int32_t to = t;
    if (t >= open && t < closed) {
      const int32_t at = t - sinks, begin = at / kSegmentTokens * kSegmentTokens;
      to = sinks + begin + (*from.orders_[begin / kSegmentTokens])[at - begin];
    }
    if (to < tokens) {
      std::memcpy(task.Key(to), source.Key(t), row_bytes);
      std::memcpy(task.Value(to), source.Value(t), row_bytes);
    }
  }

  // They are closed again as the rows before this one saw them.
  const auto first_position = [&](int32_t blocks) {
    return std::max(params.dense_below, sinks + params.recent + blocks * kBlockTokens - 1);
  };
  if (blocks_ > 0) {
    SetExpansionPoint(task, first_position(blocks_));
  }
  for (int32_t blocks = blocks_ + 1; blocks <= ClosedBlocks(params, 0, tokens); ++blocks) {
    const int32_t position = first_position(blocks);
    Close(task, ClosedBlocks(params, 0, position + 1), position);
  }
}

}  // namespace alcca
