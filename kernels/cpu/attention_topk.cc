#include "kernels/cpu/attention_topk.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <vector>

#include "kernels/cpu/float_order.h"

namespace alcca {
namespace {

constexpr int32_t kOrderBits = 32, kBinBits = 11;
constexpr int32_t kBlock = 64;  // kept values folded at once

// NaN is above all, whatever its sign: it is kept, and shows in the output.
uint32_t OrderOfScore(float score) {
  return std::isnan(score) ? UINT32_MAX : OrderOf(score);
}

// The last key that is kept: all of a greater order are, and the first `ties` of its own.
struct Cut {
  uint32_t order = 0;
  int64_t ties = 0;
};

// One row's work; vectors keep their memory.
class TopKRow {
 public:
  // Scores all visible keys for every query head of the group, page by page, so that memory is
  // read once for all.
  void Score(const AttentionTask& task, int32_t row);
  int64_t visible() const { return visible_; }
  // Keeps the best of query head g.
  void Choose(int32_t g, int64_t kept);
  // Softmax over them, in ascending position, so that the sum is the same in any chunk.
  void Attend(const AttentionTask& task, float* out);
  // Keys that were kept for any head.
  int64_t read() const { return std::count(read_.begin(), read_.end(), true); }

 private:
  Cut FindCut(int64_t kept);

  int32_t first_ = 0;  // position of the first visible key
  int64_t visible_ = 0;
  std::vector<float> scores_;     // [group, visible], q . k, not scaled
  std::vector<uint32_t> orders_;  // [visible], of one head
  std::vector<uint32_t> bin_;
  std::vector<int32_t> kept_;  // positions
  std::vector<uint8_t> read_;  // [visible]
  std::vector<float> kept_scores_;
  std::vector<float> values_;  // [kBlock, d]
};

void TopKRow::Score(const AttentionTask& task, int32_t row) {
  const int32_t position = task.position(row), page_tokens = task.kv.shape().page_tokens;
  first_ = task.FirstVisible(position);
  visible_ = position + 1 - first_;
  scores_.resize(size_t(task.group()) * visible_);
  read_.assign(visible_, false);
  for (int32_t begin = first_; begin <= position;) {
    const int32_t end = std::min(position + 1, (begin / page_tokens + 1) * page_tokens);
    for (int32_t g = 0; g < task.group(); ++g) {
      task.kernels.dots(&scores_[g * visible_ + begin - first_], task.Query(row, g),
                        task.Key(begin), end - begin, task.shape.head_dim);
    }
    begin = end;
  }
}

// The order whose rank is `kept`, by a histogram of the orders' first bits and a selection among
// those in its bin: a comparison sort of a tenth of the keys costs more than all products do.
Cut TopKRow::FindCut(int64_t kept) {
  constexpr int32_t kShift = kOrderBits - kBinBits;
  std::array<int32_t, 1 << kBinBits> counts{};
  for (const uint32_t order : orders_) {
    ++counts[order >> kShift];
  }
  uint32_t bin = counts.size() - 1;
  for (; kept > counts[bin]; --bin) {
    kept -= counts[bin];
  }
  bin_.clear();
  for (const uint32_t order : orders_) {
    if (order >> kShift == bin) {
      bin_.push_back(order);
    }
  }
  const auto last = bin_.begin() + (kept - 1);
  std::nth_element(bin_.begin(), last, bin_.end(), std::greater<>());
  const uint32_t order = *last;
  return {order, std::count(bin_.begin(), last + 1, order)};
}

void TopKRow::Choose(int32_t g, int64_t kept) {
  const float* scores = &scores_[g * visible_];
  orders_.resize(visible_);
  std::transform(scores, scores + visible_, orders_.begin(), OrderOfScore);
  Cut cut = FindCut(kept);
  kept_.clear();
  kept_scores_.clear();
  for (int64_t i = 0; i < visible_; ++i) {
    if (orders_[i] > cut.order || (orders_[i] == cut.order && cut.ties-- > 0)) {
      kept_.push_back(first_ + static_cast<int32_t>(i));
      kept_scores_.push_back(scores[i]);
      read_[i] = true;
    }
  }
}

void TopKRow::Attend(const AttentionTask& task, float* out) {
  const int32_t d = task.shape.head_dim, kept = static_cast<int32_t>(kept_.size());
  const float scale = 1.0f / std::sqrt(static_cast<float>(d));
  // Less the best: scaled first, large scores would lose digits that the weights show.
  const float best = *std::max_element(kept_scores_.begin(), kept_scores_.end());
  std::transform(kept_scores_.begin(), kept_scores_.end(), kept_scores_.begin(),
                 [scale, best](float x) { return (x - best) * scale; });
  values_.resize(size_t(kBlock) * d);
  std::fill_n(out, d, 0.0f);
  SoftmaxState state;
  for (int32_t begin = 0; begin < kept; begin += kBlock) {
    const int32_t count = std::min(kBlock, kept - begin);
    for (int32_t i = 0; i < count; ++i) {
      std::memcpy(&values_[size_t(i) * d], task.Value(kept_[begin + i]), d * sizeof(float));
    }
    task.kernels.fold(out, &state, &kept_scores_[begin], values_.data(), count, d);
  }
  const float norm = 1.0f / state.sum;
  std::transform(out, out + d, out, [norm](float x) { return x * norm; });
}

}  // namespace

void AttentionTopK(const AttentionTask& task) {
  const int32_t d = task.shape.head_dim, group = task.group();
  thread_local TopKRow work;
  for (int32_t row = task.row_begin; row < task.row_end; ++row) {
    work.Score(task, row);
    const int64_t kept = TopKCount(task.params().sparsity, work.visible());
    for (int32_t g = 0; g < group; ++g) {
      work.Choose(g, kept);
      work.Attend(task, task.Out(row, g));
    }
    task.counters->qk_exact += group * work.visible();
    task.counters->pv_exact += group * kept;
    task.counters->kv_bytes_read += (work.visible() + work.read()) * d * int64_t{sizeof(float)};
    CountDenseEquivalent(task, task.position(row));
  }
}

}  // namespace alcca
