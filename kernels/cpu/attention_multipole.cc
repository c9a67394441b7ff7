// Softmax over real keys and clusters together (kernels/key_clusters.h). Sinks and everything not
// yet clustered are real. Of the clusters, those that may matter most are opened first, a coarse
// one into its middle ones, a middle one into its fine ones, a fine one into its keys, until real
// keys cover the wanted mass or max_keys rows have been read; what stays closed enters as itself.
// One choice for all query heads of the group, so that memory is read once for all: a cluster
// counts as it does for the head to which it matters most, and the wanted mass must be covered for
// every head.

#include "kernels/cpu/attention_multipole.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "kernels/cpu/attention_dense.h"

namespace alcca {
namespace {

constexpr int32_t kRun = 64;  // rows that are scored or folded at once
static_assert(kOpenedAtOnce * kFanout <= kRun && kSegmentBlocks <= kRun);
constexpr int32_t kOwnRun = 16;  // keys side by side that are read where they lie

// A closed cluster that might be opened: a coarse one, or of the others the first in what holds it.
struct Candidate {
  double log_rms = 0;  // of its mass, the largest over the group
  int32_t node = 0;  // coarse: its block; others: blocks + kFanout * its parent in opened_ + child
};
struct Later {
  bool operator()(const Candidate& a, const Candidate& b) const {
    return a.log_rms < b.log_rms || (a.log_rms == b.log_rms && a.node > b.node);
  }
};
constexpr double kOpen = -std::numeric_limits<double>::infinity();  // log_rms of an opened one

// A cluster that was opened into others: parent `parent` of ChildRow, of a block.
struct Opened {
  int32_t block, parent;
};

// One row's work; vectors keep their memory from row to row.
class MultipoleRow {
 public:
  void Answer(const AttentionTask& task, const KeyClusters& clusters, int32_t row);

 private:
  void Start(int32_t row);
  // n keys and their values, side by side.
  void Read(const float* keys, const float* values, int32_t n);
  void ReadTokens(int32_t begin, int32_t end);
  // Log-masses of clusters [first, first + n) for every head: logits[g * stride + i].
  void Score(const ClusterRows& rows, int32_t first, int32_t n, float* logits, int32_t stride);
  float Correction(int32_t g, const ClusterRows& rows, int32_t i) const {
    return std::min(correction_[g] * rows.Variances()[i], kClusterCorrectionMax);
  }
  // Of cluster i of `rows`, by the product of head g's query and its key.
  float LogMass(float score, int32_t g, const ClusterRows& rows, int32_t i) const {
    return score + (rows.Offsets()[i] + Correction(g, rows, i));
  }
  void ScoreCoarse();
  void Open();
  // Whether a node of the heap holds keys, not clusters.
  bool IsFine(int32_t node) const {
    return node >= blocks_ && opened_[(node - blocks_) / kFanout].parent != 0;
  }
  // Where the keys of such a one begin.
  int32_t FirstToken(int32_t node) const {
    const Opened& parent = opened_[(node - blocks_) / kFanout];
    return task_->params().sinks + parent.block * kBlockTokens +
           FineToken(ChildRow(parent.parent, (node - blocks_) % kFanout));
  }
  // inner_, all scored at once.
  void OpenClusters();
  // Reads the keys of fines_, neighbours at once, and empties it.
  void ReadFines();
  void AddClosed();
  double UncoveredShare() const;  // largest over the group
  // exp(logit - reference), as a share of the first estimate of all mass.
  double Weight(int32_t g, float logit) const {
    return std::exp(std::min(double{logit} - reference_[g], 500.0));
  }
  void UpdateCovered(int32_t g) { covered_[g] = states_[g].sum * Weight(g, states_[g].max); }
  // Counts cluster i of `rows`, whose log-mass for head g is logits[g * stride], as closed, and
  // returns Candidate::log_rms.
  double Close(const ClusterRows& rows, int32_t i, const float* logits, int32_t stride);
  // It is closed no longer.
  void Take(int32_t node);
  // The first closed one of what was opened as number `number`, if any, into the heap.
  void PushFirst(int32_t number);
  // Those of clusters [first, first + n) of `rows` that are closed, into the output with the run
  // that waits.
  void Fold(const ClusterRows& rows, int32_t first, int32_t n, const float* logits, int32_t stride,
            const uint8_t* is_open);
  // The run that waits, into the output: of clusters, of keys.
  void FoldClosed();
  void ReadGathered();

  const AttentionTask* task_ = nullptr;
  const KeyClusters* clusters_ = nullptr;
  int32_t row_ = 0, position_ = 0, d_ = 0, group_ = 0, blocks_ = 0;

  std::vector<float> query_;          // [group, d], scaled by 1 / sqrt(d)
  std::vector<float> correction_;     // [group], |query - expansion point|^2 / 2
  std::vector<SoftmaxState> states_;  // [group], of what is in the output already
  std::vector<double> reference_;     // [group], log of the first estimate of all mass
  std::vector<double> covered_;       // [group], mass of real keys, over that estimate
  std::vector<double> closed_;        // [group], of closed clusters
  std::vector<float> coarse_logits_;  // [group, blocks]
  std::vector<uint8_t> coarse_open_;  // [blocks]
  std::vector<Opened> opened_;        // in the order of their opening
  std::vector<float> child_logits_;   // [opened, group, kFanout]
  std::vector<uint8_t> child_open_;   // [opened, kFanout]
  std::vector<double> child_rms_;     // likewise, Candidate::log_rms or kOpen
  bool follows_mass_ = false;         // whether covered_ and closed_ are kept
  std::vector<Candidate> heap_;
  std::vector<float> scores_;           // [group, kRun], or a page's
  std::vector<int32_t> inner_, fines_;  // opened: nodes that hold clusters; where keys begin
  std::vector<float> keys_, values_;    // [kRun, d], of a run
  int32_t waiting_ = 0;                 // rows of it so far
  int64_t real_ = 0, closed_rows_ = 0;
};

void MultipoleRow::Start(int32_t row) {
  row_ = row;
  position_ = task_->position(row);
  d_ = task_->shape.head_dim;
  group_ = task_->group();
  blocks_ = clusters_->blocks();
  const float scale = 1.0f / std::sqrt(static_cast<float>(d_));
  query_.resize(size_t(group_) * d_);
  correction_.resize(group_);
  states_.assign(group_, {});
  for (int32_t g = 0; g < group_; ++g) {
    const float* q = task_->Query(row, g);
    float* scaled = query_.data() + size_t(g) * d_;
    std::transform(q, q + d_, scaled, [scale](float x) { return x * scale; });
    task_->kernels.squared_distances(&correction_[g], scaled, clusters_->expansion_point(), 1, d_);
    correction_[g] *= 0.5f;
    std::fill_n(task_->Out(row, g), d_, 0.0f);
  }
  keys_.resize(size_t(kRun) * d_);
  values_.resize(size_t(kRun) * d_);
  scores_.resize(size_t(std::max(task_->kv.shape().page_tokens, group_ * kRun)));
  follows_mass_ = task_->params().mass < 1.0f;
  opened_.clear();
  child_logits_.clear();
  child_open_.clear();
  child_rms_.clear();
  fines_.clear();
  coarse_open_.assign(blocks_, 0);
  heap_.clear();
  real_ = closed_rows_ = 0;
}

void MultipoleRow::Read(const float* keys, const float* values, int32_t n) {
  for (int32_t g = 0; g < group_; ++g) {
    task_->kernels.dots(scores_.data(), query_.data() + size_t(g) * d_, keys, n, d_);
    task_->kernels.fold(task_->Out(row_, g), &states_[g], scores_.data(), values, n, d_);
  }
  real_ += n;
}

void MultipoleRow::ReadTokens(int32_t begin, int32_t end) {
  const int32_t page_tokens = task_->kv.shape().page_tokens;
  while (begin < end) {
    const int32_t stop = std::min(end, (begin / page_tokens + 1) * page_tokens);
    Read(task_->Key(begin), task_->Value(begin), stop - begin);
    begin = stop;
  }
}

void MultipoleRow::Score(const ClusterRows& rows, int32_t first, int32_t n, float* logits,
                         int32_t stride) {
  task_->kernels.restore_int8(keys_.data(), rows.Key(first), rows.KeyScales() + first, n, d_);
  for (int32_t g = 0; g < group_; ++g) {
    float* out = logits + size_t(g) * stride;
    task_->kernels.dots(out, query_.data() + size_t(g) * d_, keys_.data(), n, d_);
    for (int32_t i = 0; i < n; ++i) {
      out[i] = LogMass(out[i], g, rows, first + i);
    }
  }
}

double MultipoleRow::Close(const ClusterRows& rows, int32_t i, const float* logits,
                           int32_t stride) {
  double log_rms = kOpen;
  for (int32_t g = 0; g < group_; ++g) {
    const float logit = logits[size_t(g) * stride];
    if (follows_mass_) {
      closed_[g] += Weight(g, logit);
    }
    log_rms = std::max(log_rms, double{logit} + Correction(g, rows, i) - reference_[g]);
  }
  return log_rms;
}

void MultipoleRow::PushFirst(int32_t number) {
  const double* log_rms = child_rms_.data() + size_t(number) * kFanout;
  double highest = kOpen;
  int32_t first = -1;
  for (int32_t i = 0; i < kFanout; ++i) {  // without a branch: any may be the first
    const bool higher = log_rms[i] > highest;
    highest = higher ? log_rms[i] : highest;
    first = higher ? i : first;
  }
  if (first >= 0) {
    heap_.push_back({highest, blocks_ + number * kFanout + first});
    std::push_heap(heap_.begin(), heap_.end(), Later{});
  }
}

void MultipoleRow::Take(int32_t node) {
  const float* logits;
  int32_t stride;
  if (node < blocks_) {
    coarse_open_[node] = 1;
    logits = coarse_logits_.data() + node;
    stride = blocks_;
  } else {
    const int32_t child = node - blocks_;
    child_open_[child] = 1;
    child_rms_[child] = kOpen;
    logits = child_logits_.data() + size_t(child / kFanout) * group_ * kFanout + child % kFanout;
    stride = kFanout;
  }
  for (int32_t g = 0; g < group_ && follows_mass_; ++g) {
    closed_[g] = std::max(0.0, closed_[g] - Weight(g, logits[size_t(g) * stride]));
  }
}

void MultipoleRow::ScoreCoarse() {
  coarse_logits_.resize(size_t(group_) * blocks_);
  for (int32_t first = 0; first < blocks_; first += kSegmentBlocks) {
    Score(clusters_->Coarse(first), 0, std::min(kSegmentBlocks, blocks_ - first),
          coarse_logits_.data() + first, blocks_);
  }
  reference_.resize(group_);
  covered_.resize(group_);
  closed_.assign(group_, 0.0);
  for (int32_t g = 0; g < group_; ++g) {
    const float* logits = coarse_logits_.data() + size_t(g) * blocks_;
    const double top = std::max(states_[g].max, *std::max_element(logits, logits + blocks_));
    double sum = states_[g].sum * std::exp(states_[g].max - top);
    for (int32_t b = 0; b < blocks_; ++b) {
      sum += std::exp(logits[b] - top);
    }
    reference_[g] = top + std::log(sum);
    UpdateCovered(g);
  }
  for (int32_t b = 0; b < blocks_; ++b) {
    const float* logits = coarse_logits_.data() + b;
    heap_.push_back({Close(clusters_->Coarse(b), b % kSegmentBlocks, logits, blocks_), b});
  }
  std::make_heap(heap_.begin(), heap_.end(), Later{});
}

double MultipoleRow::UncoveredShare() const {
  double share = 0;
  for (int32_t g = 0; g < group_; ++g) {
    share = std::max(share, closed_[g] / (closed_[g] + covered_[g]));
  }
  return share;
}

void MultipoleRow::OpenClusters() {
  const auto first = static_cast<int32_t>(opened_.size());
  const auto count = static_cast<int32_t>(inner_.size());
  for (const int32_t node : inner_) {
    const int32_t child = node - blocks_;
    opened_.push_back(child < 0 ? Opened{node, 0}
                                : Opened{opened_[child / kFanout].block, 1 + child % kFanout});
  }
  child_logits_.resize(opened_.size() * group_ * kFanout);
  child_open_.resize(opened_.size() * kFanout, 0);
  child_rms_.resize(opened_.size() * kFanout);
  for (int32_t c = 0; c < count; ++c) {
    const ClusterRows rows = clusters_->Inner(opened_[first + c].block);
    const int32_t row = ChildRow(opened_[first + c].parent, 0);
    task_->kernels.restore_int8(keys_.data() + size_t(c) * kFanout * d_, rows.Key(row),
                                rows.KeyScales() + row, kFanout, d_);
  }
  for (int32_t g = 0; g < group_; ++g) {
    task_->kernels.dots(scores_.data() + size_t(g) * kRun, query_.data() + size_t(g) * d_,
                        keys_.data(), count * kFanout, d_);
  }
  for (int32_t c = 0; c < count; ++c) {
    const int32_t number = first + c;
    const ClusterRows rows = clusters_->Inner(opened_[number].block);
    const int32_t row = ChildRow(opened_[number].parent, 0);
    float* logits = child_logits_.data() + size_t(number) * group_ * kFanout;
    for (int32_t g = 0; g < group_; ++g) {
      const float* scores = scores_.data() + size_t(g) * kRun + size_t(c) * kFanout;
      for (int32_t i = 0; i < kFanout; ++i) {
        logits[g * kFanout + i] = LogMass(scores[i], g, rows, row + i);
      }
    }
    for (int32_t i = 0; i < kFanout; ++i) {
      child_rms_[size_t(number) * kFanout + i] = Close(rows, row + i, logits + i, kFanout);
    }
    PushFirst(number);
  }
}

void MultipoleRow::ReadFines() {
  std::sort(fines_.begin(), fines_.end());
  for (size_t begin = 0, end; begin < fines_.size(); begin = end) {
    end = begin + 1;
    while (end < fines_.size() && fines_[end] == fines_[end - 1] + kFineTokens) {
      ++end;
    }
    const int32_t first = fines_[begin], last = fines_[end - 1] + kFineTokens;
    if (last - first >= kOwnRun) {
      ReadTokens(first, last);
      continue;
    }
    if (waiting_ + last - first > kRun) {
      ReadGathered();
    }
    for (int32_t token = first; token < last; ++token, ++waiting_) {
      std::copy_n(task_->Key(token), d_, keys_.data() + size_t(waiting_) * d_);
      std::copy_n(task_->Value(token), d_, values_.data() + size_t(waiting_) * d_);
    }
  }
  ReadGathered();
  fines_.clear();
}

void MultipoleRow::ReadGathered() {
  if (waiting_ > 0) {
    Read(keys_.data(), values_.data(), std::exchange(waiting_, 0));
  }
}

void MultipoleRow::Open() {
  const AttentionParams& params = task_->params();
  int64_t rows_left = params.max_keys > 0 ? params.max_keys : INT64_MAX;
  bool fits = true;
  // All of the mass is all of the keys, whatever rounding says.
  while (fits && !heap_.empty() &&
         !(follows_mass_ && UncoveredShare() <= 1.0 - double{params.mass})) {
    inner_.clear();
    for (int32_t count = 0; count < kOpenedAtOnce && !heap_.empty(); ++count) {
      const int32_t node = heap_.front().node;
      const bool is_fine = IsFine(node);
      const int32_t rows = is_fine ? kFineTokens : kFanout;
      fits = rows <= rows_left;
      if (!fits) {
        break;
      }
      rows_left -= rows;
      std::pop_heap(heap_.begin(), heap_.end(), Later{});
      heap_.pop_back();
      Take(node);
      if (is_fine) {
        fines_.push_back(FirstToken(node));
      } else {
        inner_.push_back(node);
      }
      if (node >= blocks_) {
        PushFirst((node - blocks_) / kFanout);
      }
    }
    OpenClusters();
    if (follows_mass_) {
      ReadFines();
      for (int32_t g = 0; g < group_; ++g) {
        UpdateCovered(g);
      }
    }
  }
  ReadFines();  // without a wanted mass keys have no say in what is opened
}

void MultipoleRow::Fold(const ClusterRows& rows, int32_t first, int32_t n, const float* logits,
                        int32_t stride, const uint8_t* is_open) {
  for (int32_t begin = 0; begin < n;) {
    if (is_open[begin] != 0) {
      ++begin;
      continue;
    }
    int32_t end = begin + 1;
    while (end < n && is_open[end] == 0) {
      ++end;
    }
    const int32_t count = end - begin;
    if (waiting_ + count > kRun) {
      FoldClosed();
    }
    task_->kernels.restore_int8(values_.data() + size_t(waiting_) * d_, rows.Value(first + begin),
                                rows.ValueScales() + first + begin, count, d_);
    for (int32_t g = 0; g < group_; ++g) {
      std::copy_n(logits + size_t(g) * stride + begin, count,
                  scores_.data() + size_t(g) * kRun + waiting_);
    }
    waiting_ += count;
    begin = end;
  }
}

void MultipoleRow::FoldClosed() {
  for (int32_t g = 0; g < group_ && waiting_ > 0; ++g) {
    task_->kernels.fold(task_->Out(row_, g), &states_[g], scores_.data() + size_t(g) * kRun,
                        values_.data(), waiting_, d_);
  }
  closed_rows_ += std::exchange(waiting_, 0);
}

void MultipoleRow::AddClosed() {
  for (int32_t first = 0; first < blocks_; first += kSegmentBlocks) {
    Fold(clusters_->Coarse(first), 0, std::min(kSegmentBlocks, blocks_ - first),
         coarse_logits_.data() + first, blocks_, coarse_open_.data() + first);
  }
  for (size_t i = 0; i < opened_.size(); ++i) {
    Fold(clusters_->Inner(opened_[i].block), ChildRow(opened_[i].parent, 0), kFanout,
         child_logits_.data() + i * group_ * kFanout, kFanout, child_open_.data() + i * kFanout);
  }
  FoldClosed();
}

void MultipoleRow::Answer(const AttentionTask& task, const KeyClusters& clusters, int32_t row) {
  task_ = &task;
  clusters_ = &clusters;
  Start(row);
  const int32_t visible = position_ + 1;
  const int32_t sinks = std::min(task.params().sinks, visible);
  ReadTokens(0, sinks);
  ReadTokens(sinks + blocks_ * kBlockTokens, visible);
  if (blocks_ > 0) {
    ScoreCoarse();
    Open();
    AddClosed();
  }
  for (int32_t g = 0; g < group_; ++g) {
    float* out = task.Out(row, g);
    const float norm = 1.0f / states_[g].sum;
    std::transform(out, out + d_, out, [norm](float x) { return x * norm; });
  }
  const int64_t points = blocks_ > 0 ? 1 : 0;
  const int64_t centres = blocks_ + static_cast<int64_t>(child_open_.size());
  AttentionCounters& counters = *task.counters;
  counters.qk_exact += group_ * real_;
  counters.pv_exact += group_ * real_;
  counters.qk_centroid += group_ * (points + centres);
  counters.pv_centroid += group_ * closed_rows_;
  counters.kv_bytes_read += (2 * real_ + points) * d_ * static_cast<int64_t>(sizeof(float)) +
                            centres * ClusterKeyBytes(d_) + closed_rows_ * ClusterValueBytes(d_);
  CountDenseEquivalent(task, position_);
}

// Compares the outputs of a sampled query with dense's.
void CheckError(const AttentionTask& task, int32_t row) {
  const int32_t d = task.shape.head_dim, position = task.position(row);
  thread_local std::vector<float> dense;
  dense.resize(d);
  for (int32_t g = 0; g < task.group(); ++g) {
    if (!task.IsSampled(position, g, task.params().error_sample)) {
      continue;
    }
    DenseHead(task, row, g, dense.data());
    const float* out = task.Out(row, g);
    double gap = 0, norm = 0;
    for (int32_t i = 0; i < d; ++i) {
      gap += (double{out[i]} - dense[i]) * (double{out[i]} - dense[i]);
      norm += double{dense[i]} * dense[i];
    }
    const double millionths = 1e6 * std::sqrt(gap / norm);
    if (std::isfinite(millionths)) {
      ++task.counters->error_checked;
      task.counters->error_millionths += std::llround(std::min(millionths, kErrorMillionthsMax));
    }
  }
}

}  // namespace

void AttentionMultipole(const AttentionTask& task, const KeyClusters& clusters) {
  thread_local MultipoleRow row;
  for (int32_t r = task.row_begin; r < task.row_end; ++r) {
    if (clusters.failed() ||
        MultipoleIsDense(task.params(), task.shape.sliding_window, task.position(r) + 1)) {
      AttentionDenseRow(task, r);
    } else {
      row.Answer(task, clusters, r);
      CheckError(task, r);
    }
  }
}

}  // namespace alcca
