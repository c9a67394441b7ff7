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
#include <vector>

#include "kernels/cpu/attention_dense.h"

namespace alcca {
namespace {

// A closed cluster that might be opened.
struct Candidate {
  double log_rms = 0;  // of its mass, the largest over the group
  int32_t node = 0;  // coarse: its block; others: blocks + kFanout * its parent in opened_ + child
};
bool Later(const Candidate& a, const Candidate& b) {
  return a.log_rms < b.log_rms || (a.log_rms == b.log_rms && a.node > b.node);
}

// A cluster that was opened into others: parent `parent` of ChildRow, of a block.
struct Opened {
  int32_t block, parent;
};

// One row's work; vectors keep their memory from row to row.
class Row {
 public:
  void Answer(const AttentionTask& task, const KeyClusters& clusters, int32_t row);

 private:
  void Start(int32_t row);
  void ReadTokens(int32_t begin, int32_t end);
  // Log-masses of clusters [first, first + n) for every head: logits[g * stride + i].
  void Score(const ClusterRows& rows, int32_t first, int32_t n, float* logits, int32_t stride);
  float Correction(int32_t g, const ClusterRows& rows, int32_t i) const {
    return std::min(correction_[g] * rows.Variances()[i], kClusterCorrectionMax);
  }
  void ScoreCoarse();
  void Open();
  // Whether a node of the heap holds keys, not clusters.
  bool IsFine(int32_t node) const {
    return node >= blocks_ && opened_[(node - blocks_) / kFanout].parent != 0;
  }
  void OpenCluster(int32_t node);
  // Opens those of the round and reads their keys, neighbours at once.
  void OpenFines();
  void AddClosed();
  double UncoveredShare() const;  // largest over the group
  // exp(logit - reference), as a share of the first estimate of all mass.
  double Weight(int32_t g, float logit) const {
    return std::exp(std::min(double{logit} - reference_[g], 500.0));
  }
  void UpdateCovered(int32_t g) { covered_[g] = states_[g].sum * Weight(g, states_[g].max); }
  // Cluster i of `rows`, whose log-mass for head g is logits[g * stride].
  void Push(int32_t node, const ClusterRows& rows, int32_t i, const float* logits, int32_t stride);
  // It is closed no longer.
  void Take(int32_t node);
  // Runs of clusters [first, first + n) of `rows` that are closed, into the output.
  void Fold(const ClusterRows& rows, int32_t first, int32_t n, const float* logits, int32_t stride,
            const uint8_t* is_open);

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
  bool follows_mass_ = false;         // whether covered_ and closed_ are kept
  std::vector<Candidate> heap_;
  std::vector<float> scores_;
  std::vector<int32_t> inner_, fines_;  // nodes that a round opens: of clusters, of keys
  std::vector<float> restored_;         // [16, d], mean keys or values of a run of clusters
  int64_t real_ = 0, closed_rows_ = 0;
};

void Row::Start(int32_t row) {
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
  restored_.resize(size_t(std::max(kSegmentBlocks, kFanout)) * d_);
  follows_mass_ = task_->sequence.attention.mass < 1.0f;
  opened_.clear();
  child_logits_.clear();
  child_open_.clear();
  coarse_open_.assign(blocks_, 0);
  heap_.clear();
  real_ = closed_rows_ = 0;
}

void Row::ReadTokens(int32_t begin, int32_t end) {
  const int32_t page_tokens = task_->kv.shape().page_tokens;
  scores_.resize(std::max({page_tokens, kSegmentBlocks, kFanout}));
  real_ += end - begin;
  while (begin < end) {
    const int32_t stop = std::min(end, (begin / page_tokens + 1) * page_tokens);
    for (int32_t g = 0; g < group_; ++g) {
      task_->kernels.dots(scores_.data(), query_.data() + size_t(g) * d_, task_->Key(begin),
                          stop - begin, d_);
      task_->kernels.fold(task_->Out(row_, g), &states_[g], scores_.data(), task_->Value(begin),
                          stop - begin, d_);
    }
    begin = stop;
  }
}

void Row::Score(const ClusterRows& rows, int32_t first, int32_t n, float* logits, int32_t stride) {
  task_->kernels.restore_int8(restored_.data(), rows.Key(first), rows.KeyScales() + first, n, d_);
  for (int32_t g = 0; g < group_; ++g) {
    float* out = logits + size_t(g) * stride;
    task_->kernels.dots(out, query_.data() + size_t(g) * d_, restored_.data(), n, d_);
    for (int32_t i = 0; i < n; ++i) {
      out[i] += rows.Offsets()[first + i] + Correction(g, rows, first + i);
    }
  }
}

void Row::Push(int32_t node, const ClusterRows& rows, int32_t i, const float* logits,
               int32_t stride) {
  double log_rms = -std::numeric_limits<double>::infinity();
  for (int32_t g = 0; g < group_; ++g) {
    const float logit = logits[size_t(g) * stride];
    if (follows_mass_) {
      closed_[g] += Weight(g, logit);
    }
    log_rms = std::max(log_rms, double{logit} + Correction(g, rows, i) - reference_[g]);
  }
  heap_.push_back({log_rms, node});
}

void Row::Take(int32_t node) {
  const float* logits;
  int32_t stride;
  if (node < blocks_) {
    coarse_open_[node] = 1;
    logits = coarse_logits_.data() + node;
    stride = blocks_;
  } else {
    const int32_t child = node - blocks_;
    child_open_[child] = 1;
    logits = child_logits_.data() + size_t(child / kFanout) * group_ * kFanout + child % kFanout;
    stride = kFanout;
  }
  for (int32_t g = 0; g < group_ && follows_mass_; ++g) {
    closed_[g] = std::max(0.0, closed_[g] - Weight(g, logits[size_t(g) * stride]));
  }
}

void Row::ScoreCoarse() {
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
    Push(b, clusters_->Coarse(b), b % kSegmentBlocks, coarse_logits_.data() + b, blocks_);
  }
  std::make_heap(heap_.begin(), heap_.end(), Later);
}

double Row::UncoveredShare() const {
  double share = 0;
  for (int32_t g = 0; g < group_; ++g) {
    share = std::max(share, closed_[g] / (closed_[g] + covered_[g]));
  }
  return share;
}

void Row::OpenCluster(int32_t node) {
  Take(node);
  const auto number = static_cast<int32_t>(opened_.size());
  if (node < blocks_) {
    opened_.push_back({node, 0});
  } else {
    const int32_t child = node - blocks_;
    opened_.push_back({opened_[child / kFanout].block, 1 + child % kFanout});
  }
  child_logits_.resize(child_logits_.size() + size_t(group_) * kFanout);
  child_open_.resize(child_open_.size() + kFanout, 0);
  float* logits = child_logits_.data() + size_t(number) * group_ * kFanout;
  const ClusterRows rows = clusters_->Inner(opened_.back().block);
  const int32_t first = ChildRow(opened_.back().parent, 0);
  Score(rows, first, kFanout, logits, kFanout);
  for (int32_t i = 0; i < kFanout; ++i) {
    Push(blocks_ + number * kFanout + i, rows, first + i, logits + i, kFanout);
    std::push_heap(heap_.begin(), heap_.end(), Later);
  }
}

void Row::OpenFines() {
  for (const int32_t node : fines_) {
    Take(node);
  }
  const auto token = [this](int32_t node) {
    const int32_t child = node - blocks_;
    const Opened& parent = opened_[child / kFanout];
    return task_->sequence.attention.sinks + parent.block * kBlockTokens +
           FineToken(ChildRow(parent.parent, child % kFanout));
  };
  std::transform(fines_.begin(), fines_.end(), fines_.begin(), token);
  std::sort(fines_.begin(), fines_.end());
  for (size_t begin = 0, end; begin < fines_.size(); begin = end) {
    end = begin + 1;
    while (end < fines_.size() && fines_[end] == fines_[end - 1] + kFineTokens) {
      ++end;
    }
    ReadTokens(fines_[begin], fines_[end - 1] + kFineTokens);
  }
  for (int32_t g = 0; g < group_ && follows_mass_; ++g) {
    UpdateCovered(g);
  }
}

void Row::Open() {
  const AttentionParams& params = task_->sequence.attention;
  int64_t rows_left = params.max_keys > 0 ? params.max_keys : INT64_MAX;
  bool fits = true;
  // All of the mass is all of the keys, whatever rounding says.
  while (fits && !heap_.empty() &&
         !(follows_mass_ && UncoveredShare() <= 1.0 - double{params.mass})) {
    inner_.clear();
    fines_.clear();
    while (!heap_.empty() && inner_.size() + fines_.size() < size_t{kOpenedAtOnce}) {
      const int32_t node = heap_.front().node;
      const bool is_fine = IsFine(node);
      const int32_t rows = is_fine ? kFineTokens : kFanout;
      fits = rows <= rows_left;
      if (!fits) {
        break;
      }
      rows_left -= rows;
      std::pop_heap(heap_.begin(), heap_.end(), Later);
      heap_.pop_back();
      (is_fine ? fines_ : inner_).push_back(node);
    }
    for (const int32_t node : inner_) {
      OpenCluster(node);
    }
    OpenFines();
  }
}

void Row::Fold(const ClusterRows& rows, int32_t first, int32_t n, const float* logits,
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
    task_->kernels.restore_int8(restored_.data(), rows.Value(first + begin),
                                rows.ValueScales() + first + begin, end - begin, d_);
    for (int32_t g = 0; g < group_; ++g) {
      std::copy_n(logits + size_t(g) * stride + begin, end - begin, scores_.data());
      task_->kernels.fold(task_->Out(row_, g), &states_[g], scores_.data(), restored_.data(),
                          end - begin, d_);
    }
    closed_rows_ += end - begin;
    begin = end;
  }
}

void Row::AddClosed() {
  for (int32_t first = 0; first < blocks_; first += kSegmentBlocks) {
    Fold(clusters_->Coarse(first), 0, std::min(kSegmentBlocks, blocks_ - first),
         coarse_logits_.data() + first, blocks_, coarse_open_.data() + first);
  }
  for (size_t i = 0; i < opened_.size(); ++i) {
    Fold(clusters_->Inner(opened_[i].block), ChildRow(opened_[i].parent, 0), kFanout,
         child_logits_.data() + i * group_ * kFanout, kFanout, child_open_.data() + i * kFanout);
  }
}

void Row::Answer(const AttentionTask& task, const KeyClusters& clusters, int32_t row) {
  task_ = &task;
  clusters_ = &clusters;
  Start(row);
  const int32_t visible = position_ + 1;
  const int32_t sinks = std::min(task.sequence.attention.sinks, visible);
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
    if (!task.IsSampled(position, g, task.sequence.attention.error_sample)) {
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
  thread_local Row row;
  for (int32_t r = task.row_begin; r < task.row_end; ++r) {
    if (clusters.failed() || MultipoleIsDense(task.sequence.attention, task.shape.sliding_window,
                                              task.position(r) + 1)) {
      AttentionDenseRow(task, r);
    } else {
      row.Answer(task, clusters, r);
      CheckError(task, r);
    }
  }
}

}  // namespace alcca
