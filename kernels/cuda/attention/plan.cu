#include "kernels/cuda/attention/plan.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace alcca::ALCCA_GPU {
namespace {

constexpr int32_t kFewRows = 64;  // packed rows up to which a sequence counts as decoding

int32_t CeilDiv(int32_t a, int32_t b) {
  return (a + b - 1) / b;
}
int32_t RowsOfTile(int32_t group) {
  return std::max(1, kPackedRows / group);
}

}  // namespace

void AttentionPlan::Make(const Batch& batch, const AttentionShape& shape) {
  ALCCA_CHECK(shape.head_dim <= kHeadDimMax && shape.heads % shape.kv_heads == 0 &&
              shape.heads / shape.kv_heads <= 64);
  batch_ = &batch;
  shape_ = shape;
  sequences_.clear();
  is_search_.clear();
  is_multipole_.clear();
  before_.clear();
  offsets_.clear();
  pages_.clear();
  ks_.clear();
  thetas_.clear();
  pieces_.clear();
  tiles_.clear();
  segments_.clear();
  cluster_rows_.clear();
  points_.clear();
  observed_.clear();
  search_rows_.clear();
  search_tiles_.clear();
  runs_.clear();
  softmax_waves_.clear();
  search_waves_.clear();
  layer_counters_.assign(batch.sequences.size(), {});
  counts_on_device_ = false;
  for (const BatchSequence& s : batch.sequences) {
    AddSequence(s);
  }
  PlanSoftmax();
  PlanSearch();
  // States have grown: now their pieces are known.
  for (size_t i = 0; i < sequences_.size(); ++i) {
    AddTables(batch.sequences[i], offsets_[i]);
  }
  for (SearchPlan& wave : search_waves_) {
    for (FaissRun& run : wave.faiss_runs) {
      const Offsets& at = offsets_[run.sequence];
      run.pages = at.pages;
      run.ks = at.ks;
      run.has_ks = batch.sequences[run.sequence].attention->head_k != nullptr;
    }
  }
}

void AttentionPlan::AddSequence(const BatchSequence& s) {
  const AttentionParams& p = *s.attention;
  AttentionStateCuda& state = State(s);
  state.ReleaseFailed();
  const bool is_alcca =
      p.mode == AttentionMode::kAlcca && state.ReserveTokens(p, shape_.heads, s.kv_len);
  const bool is_topk = p.mode == AttentionMode::kTopK;
  if (p.mode == AttentionMode::kMultipole && shape_.heads / shape_.kv_heads > kPackedRows) {
    state.Fail();  // one block holds all query heads of a KV head
  }
  SequenceWork work = {};
  work.params = p;
  work.state.sums = state.sums();
  work.state.roots = state.roots();
  work.state.query_sums = state.query_sums();
  work.state.points = state.points();
  work.query_start = s.query_start;
  work.query_count = s.query_count;
  work.kv_len = s.kv_len;
  // alcca whose state has failed is answered by dense.
  const bool falls_back = p.mode == AttentionMode::kAlcca && !is_alcca;
  work.softmax_window = falls_back ? shape_.sliding_window : SeenKeys(p, shape_.sliding_window);
  work.is_topk = is_topk;
  work.is_tree = is_alcca && p.search == KeySearch::kTree;
  work.keeps_gaps = is_alcca && p.near_share > 0;
  work.first_observed = std::max(0, p.dense_below + 1 - kQuerySlots * kBlockTokens);
  work.chunk_gap_bytes = state.chunk_gap_bytes();
  sequences_.push_back(work);
  is_search_.push_back(is_alcca || is_topk);
  is_multipole_.push_back(p.mode == AttentionMode::kMultipole);
  before_.push_back(is_alcca ? s.position(0) - std::exchange(state.tokens, s.kv_len) : 0);
  counts_on_device_ |= is_alcca || is_topk;

  Offsets offsets = {};
  offsets.pages = pages_.size();
  pages_.insert(pages_.end(), s.pages, s.pages + CeilDiv(s.kv_len, limits_.kv.page_tokens));
  offsets_.push_back(offsets);

  AttentionCounters& c = layer_counters_[sequences_.size() - 1];
  for (int32_t r = 0; r < s.query_count; ++r) {
    const int32_t position = s.position(r);
    const int64_t visible = position + 1 - FirstKey(shape_.sliding_window, position);
    c.queries += shape_.heads;
    c.dense_equivalent_qk += shape_.heads * visible;
    c.dense_equivalent_pv += shape_.heads * visible;
    c.com_test += is_alcca ? shape_.heads : 0;
  }
  for (int32_t t = s.position(0) - before_.back(); t < s.kv_len && is_alcca; ++t) {
    c.running_sums += 2 * int64_t{shape_.kv_heads};
    if (work.is_tree) {  // two moments of the first 256 keys, one difference at a split
      c.index_build += int64_t{shape_.kv_heads} * ((t < 256 ? 2 : 0) + (t > 0));
    }
  }
}

void AttentionPlan::AddTables(const BatchSequence& s, Offsets& offsets) {
  const AttentionStateCuda& state = State(s);
  const auto add = [this](const std::vector<void*>& pieces) {
    const size_t at = pieces_.size();
    pieces_.insert(pieces_.end(), pieces.begin(), pieces.end());
    return at;
  };
  offsets.chunks = add(state.chunks());
  offsets.inners = add(state.inners());
  offsets.coarses = add(state.coarses());
  // Tables are shared by most requests.
  const AttentionParams& p = *s.attention;
  offsets.thetas = thetas_.size();
  offsets.ks = ks_.size();
  for (size_t i = 0; i < batch_->sequences.size() && &batch_->sequences[i] != &s; ++i) {
    const AttentionParams& other = *batch_->sequences[i].attention;
    offsets.thetas = other.head_theta == p.head_theta ? offsets_[i].thetas : offsets.thetas;
    offsets.ks = other.head_k == p.head_k ? offsets_[i].ks : offsets.ks;
  }
  if (p.head_theta != nullptr && offsets.thetas == thetas_.size()) {
    thetas_.insert(thetas_.end(), p.head_theta->begin(), p.head_theta->end());
  }
  if (p.head_k != nullptr && offsets.ks == ks_.size()) {
    ks_.insert(ks_.end(), p.head_k->begin(), p.head_k->end());
  }
}

// --- Softmax -----------------------------------------------------------------------------------

void AttentionPlan::PlanSoftmax() {
  std::vector<int32_t> next_row(sequences_.size(), 0);
  for (bool more = true; more;) {
    more = false;
    SoftmaxWave wave;
    wave.points.first = static_cast<int32_t>(points_.size());
    wave.observed.first = static_cast<int32_t>(observed_.size());
    std::vector<ClosingSegment> closing;
    whole_.clear();
    split_.clear();
    bool empty = true;
    const auto first_cluster_row = static_cast<int32_t>(cluster_rows_.size());
    for (int32_t i = 0; i < static_cast<int32_t>(sequences_.size()); ++i) {
      const BatchSequence& s = batch_->sequences[i];
      const int32_t begin = next_row[i];
      if (is_search_[i] || begin == s.query_count) {
        continue;
      }
      empty = false;
      const auto blocks_at = [&](int32_t row) {
        return is_multipole_[i]
                   ? ClosedBlocks(*s.attention, shape_.sliding_window, s.position(row) + 1)
                   : 0;
      };
      // Rows [begin, end) see the same closed clusters.
      const int32_t blocks = blocks_at(begin);
      int32_t end = begin + 1;
      while (end < s.query_count && blocks_at(end) == blocks) {
        ++end;
      }
      next_row[i] = end;
      more |= end < s.query_count;
      const bool clustered = is_multipole_[i] && CloseBlocks(i, begin, blocks, wave, closing);
      if (clustered) {
        Observe(i, begin, end, wave);
      }
      int32_t dense_end = begin;
      while (dense_end < end && (!clustered || MultipoleIsDense(*s.attention, shape_.sliding_window,
                                                                s.position(dense_end) + 1))) {
        ++dense_end;
      }
      AddSoftmaxRows(i, begin, dense_end);
      AddClusterRows(wave, i, dense_end, end);
    }
    if (empty) {
      return;
    }
    AddClosings(wave, std::move(closing));
    FinishTiles(wave);
    counts_on_device_ |= static_cast<int32_t>(cluster_rows_.size()) > first_cluster_row;
    softmax_waves_.push_back(std::move(wave));
  }
}

// False: the state has failed.
bool AttentionPlan::CloseBlocks(int32_t sequence, int32_t row, int32_t blocks, SoftmaxWave& wave,
                                std::vector<ClosingSegment>& segments) {
  const BatchSequence& s = batch_->sequences[sequence];
  AttentionStateCuda& state = State(s);
  if (state.fell_back()) {
    return false;
  }
  if (blocks <= state.blocks) {
    return true;
  }
  if (!state.ReserveBlocks(*s.attention, blocks)) {
    return false;
  }
  points_.push_back({sequence, sequences_[sequence].Position(row)});
  ++wave.points.count;
  while (state.blocks < blocks) {
    // What a larger segment will merge at once is not built first.
    int32_t end = state.blocks + 1;
    for (int32_t later = end + 1; later <= blocks; ++later) {
      if (later - SegmentBlocks(later) <= state.blocks) {
        end = later;
      }
    }
    const int32_t size = SegmentBlocks(end);
    segments.push_back({sequence, end - size, size});
    layer_counters_[sequence].index_build += shape_.kv_heads * SegmentBuildInteractions(size);
    state.blocks = end;
  }
  return true;
}

// The queries of rows [begin, end) that may enter an expansion point.
void AttentionPlan::Observe(int32_t sequence, int32_t begin, int32_t end, SoftmaxWave& wave) {
  const SequenceWork& work = sequences_[sequence];
  const AttentionParams& p = *batch_->sequences[sequence].attention;
  while (begin < end && !EntersExpansion(p, shape_.sliding_window, work.Position(begin))) {
    ++begin;
  }
  if (begin < end) {
    observed_.push_back({sequence, work.query_start + begin, work.Position(begin), end - begin});
    ++wave.observed.count;
    layer_counters_[sequence].index_build += int64_t{shape_.heads} * (end - begin);
  }
}

void AttentionPlan::AddClosings(SoftmaxWave& wave, std::vector<ClosingSegment> segments) {
  for (const int32_t blocks : {1, 4, kSegmentBlocks}) {
    const size_t bytes =
        size_t(shape_.kv_heads) * blocks * kBlockTokens *
        (2 * sizeof(int32_t) + 2 * size_t(shape_.head_dim) * limits_.element_bytes);
    ALCCA_CHECK(bytes <= limits_.workspace_bytes ||
                size_t(blocks) * kBlockTokens > size_t(limits_.kv.pages) * limits_.kv.page_tokens);
    for (const ClosingSegment& segment : segments) {
      if (segment.blocks != blocks) {
        continue;
      }
      if (wave.closings.empty() || wave.closings.back().blocks != blocks ||
          (wave.closings.back().segments.count + 1) * bytes > limits_.workspace_bytes) {
        wave.closings.push_back({{static_cast<int32_t>(segments_.size()), 0}, blocks});
      }
      segments_.push_back(segment);
      ++wave.closings.back().segments.count;
    }
  }
}

void AttentionPlan::AddSoftmaxRows(int32_t sequence, int32_t begin, int32_t end) {
  const int32_t group = shape_.heads / shape_.kv_heads;
  const SequenceWork& work = sequences_[sequence];
  AttentionCounters& c = layer_counters_[sequence];
  // Decoding, or a chunk of a few tokens: worth cutting where there are splits to cut.
  const bool few = (end - begin) * group <= kFewRows;
  const int32_t rows_of_tile =
      few || group > kPackedRows ? RowsOfTile(group) : limits_.whole_tile_rows / group;
  for (int32_t row = begin; row < end; row += rows_of_tile) {
    const int32_t count = std::min(rows_of_tile, end - row);
    const int32_t first = work.Position(row);
    const int32_t first_key = work.FirstKey(first);
    for (int32_t head = 0; head < group; head += kPackedRows) {
      const SoftmaxTile tile = {.sequence = sequence,
                                .row_begin = row,
                                .row_count = count,
                                .head_begin = head,
                                .head_count = std::min(kPackedRows, group - head),
                                .split_begin = first_key / kSplitKeys,
                                .split_end = (first + count - 1) / kSplitKeys + 1,
                                .partial = -1};
      (few && tile.split_end - tile.split_begin > 1 ? split_ : whole_).push_back(tile);
    }
  }
  for (int32_t row = begin; row < end; ++row) {
    const int32_t position = work.Position(row);
    const int64_t seen = position + 1 - work.FirstKey(position);
    c.qk_exact += shape_.heads * seen;
    c.pv_exact += shape_.heads * seen;
    c.kv_bytes_read +=
        2 * shape_.kv_heads * seen * shape_.head_dim * static_cast<int64_t>(limits_.element_bytes);
  }
}

void AttentionPlan::AddClusterRows(SoftmaxWave& wave, int32_t sequence, int32_t begin,
                                   int32_t end) {
  const SequenceWork& work = sequences_[sequence];
  const int32_t blocks = State(batch_->sequences[sequence]).blocks;
  const size_t bytes =
      shape_.kv_heads *
      OpeningShape(shape_.heads / shape_.kv_heads, blocks, work.params.max_keys).Bytes();
  wave.any_checked |= work.params.error_sample > 0;
  for (int32_t row = begin; row < end; ++row) {
    const ClusterRow* last = wave.cluster_rows.empty() ? nullptr : &cluster_rows_.back();
    size_t start = 0;
    if (last != nullptr) {
      const SequenceWork& other = sequences_[last->sequence];
      start = last->scratch + shape_.kv_heads * OpeningShape(shape_.heads / shape_.kv_heads,
                                                             last->blocks, other.params.max_keys)
                                                    .Bytes();
    }
    if (last == nullptr || start + bytes > limits_.workspace_bytes) {
      wave.cluster_rows.push_back({static_cast<int32_t>(cluster_rows_.size()), 0});
      start = 0;
    }
    ALCCA_CHECK(bytes <= limits_.workspace_bytes);
    cluster_rows_.push_back({.sequence = sequence,
                             .row = work.query_start + row,
                             .position = work.Position(row),
                             .blocks = blocks,
                             .scratch = start});
    ++wave.cluster_rows.back().count;
  }
}

// The arithmetic of a tile is the same in one block or in many, so this may look at the load: few
// tiles are cut to fill the card, and long ones so that none is waited for.
void AttentionPlan::FinishTiles(SoftmaxWave& wave) {
  constexpr int32_t kLongSplits = 8;
  const size_t blocks = (whole_.size() + split_.size()) * static_cast<size_t>(shape_.kv_heads);
  const size_t row_bytes = (size_t(shape_.head_dim) + 2) * sizeof(float);
  size_t rows = 0;
  std::vector<SoftmaxTile> cut;
  for (SoftmaxTile tile : split_) {
    const int32_t splits = tile.split_end - tile.split_begin;
    const size_t more = size_t(splits) * shape_.kv_heads * tile.packed();
    const bool worth = splits >= kLongSplits || blocks < 4 * static_cast<size_t>(limits_.sm_count);
    if (worth && (rows + more) * row_bytes <= limits_.workspace_bytes) {
      tile.partial = static_cast<int32_t>(rows);
      rows += more;
      wave.splits_max = std::max(wave.splits_max, splits);
      cut.push_back(tile);
    } else {
      whole_.push_back(tile);
    }
  }
  wave.whole = {static_cast<int32_t>(tiles_.size()), static_cast<int32_t>(whole_.size())};
  tiles_.insert(tiles_.end(), whole_.begin(), whole_.end());
  wave.split = {static_cast<int32_t>(tiles_.size()), static_cast<int32_t>(cut.size())};
  tiles_.insert(tiles_.end(), cut.begin(), cut.end());
}

// --- Search ------------------------------------------------------------------------------------

SearchRow AttentionPlan::MakeSearchRow(int32_t sequence, int32_t row) const {
  const SequenceWork& work = sequences_[sequence];
  const AttentionParams& p = *batch_->sequences[sequence].attention;
  SearchRow out = {};
  out.sequence = sequence;
  out.row = work.query_start + row;
  out.position = work.Position(row);
  if (work.is_tree) {
    out.splits = 1;
    out.keep = p.tree_distances;
    return out;
  }
  const int32_t first_key = work.FirstKey(out.position);
  int64_t wanted = p.k;
  if (work.is_topk) {
    wanted = TopKCount(p.sparsity, out.position + 1 - first_key);
  } else if (p.head_k != nullptr) {
    wanted = *std::max_element(p.head_k->begin(), p.head_k->end());
  }
  if (ByFaiss(work)) {
    out.splits = 1;
    // One number for all rows of the sequence, whose lists one search leaves; no more than there
    // are keys, or the largest k of many heads would not fit in a small cache's workspace.
    out.keep = static_cast<int32_t>(std::min<int64_t>(wanted, work.kv_len));
    return out;
  }
  out.first_split = first_key / kSearchKeys;
  out.splits = out.position / kSearchKeys + 1 - out.first_split;
  out.keep = static_cast<int32_t>(std::min<int64_t>(wanted, kSearchKeys));
  return out;
}

void AttentionPlan::PlanSearch() {
  SearchPlan wave;
  wave.rows.first = 0;
  for (int32_t i = 0; i < static_cast<int32_t>(sequences_.size()); ++i) {
    for (int32_t r = 0; is_search_[i] && r < sequences_[i].query_count; ++r) {
      SearchRow row = MakeSearchRow(i, r);
      const size_t entries = size_t(shape_.heads) * row.splits * row.keep;
      const auto bytes = [&](size_t rows, size_t candidates) {
        return SearchScratch(shape_, rows).all() + candidates * sizeof(Candidate);
      };
      if (wave.rows.count > 0 &&
          bytes(size_t(wave.rows.count) + 1, wave.candidates + entries) > limits_.workspace_bytes) {
        FinishSearchWave(wave);
        wave = {};
        wave.rows.first = static_cast<int32_t>(search_rows_.size());
      }
      ALCCA_CHECK(bytes(1, entries) <= limits_.workspace_bytes);
      row.candidates = wave.candidates;
      wave.candidates += entries;
      ++wave.rows.count;
      search_rows_.push_back(row);
    }
  }
  if (wave.rows.count > 0) {
    FinishSearchWave(wave);
  }
}

// Tiles and runs of the wave's rows.
void AttentionPlan::FinishSearchWave(SearchPlan& wave) {
  const int32_t group = shape_.heads / shape_.kv_heads;
  const SearchRow* rows = search_rows_.data() + wave.rows.first;
  std::vector<SearchRun> alcca, trees;
  wave.tiles.first = static_cast<int32_t>(search_tiles_.size());
  for (int32_t begin = 0; begin < wave.rows.count;) {
    int32_t end = begin + 1;
    while (end < wave.rows.count && rows[end].sequence == rows[begin].sequence) {
      ++end;
    }
    const SequenceWork& work = sequences_[rows[begin].sequence];
    const int32_t before = rows[begin].row == 0 ? before_[rows[begin].sequence] : 0;
    if (!work.is_topk) {
      alcca.push_back({begin, end - begin, before});
      wave.any_gaps |= work.keeps_gaps;
    }
    if (work.is_tree) {
      trees.push_back({begin, end - begin, before});
      wave.any_recall |= work.params.recall_sample > 0;
      wave.branches_max =
          std::max(wave.branches_max, work.params.tree_distances + work.params.tree_recent);
    }
    if (ByFaiss(work)) {
      wave.faiss_runs.push_back({.first = begin,
                                 .count = end - begin,
                                 .sequence = rows[begin].sequence,
                                 .query_row = rows[begin].row,
                                 .position = rows[begin].position,
                                 .k = rows[begin].keep});
      begin = end;
      continue;
    }
    for (int32_t row = begin; row < end && !work.is_tree; row += RowsOfTile(group)) {
      const int32_t count = std::min(RowsOfTile(group), end - row);
      const SearchRow& last = rows[row + count - 1];
      wave.splits_max =
          std::max(wave.splits_max, last.first_split + last.splits - rows[row].first_split);
      for (int32_t head = 0; head < group; head += kPackedRows) {
        search_tiles_.push_back({row, count, head, std::min(kPackedRows, group - head)});
      }
    }
    begin = end;
  }
  wave.tiles.count = static_cast<int32_t>(search_tiles_.size()) - wave.tiles.first;
  wave.alcca_runs = {static_cast<int32_t>(runs_.size()), static_cast<int32_t>(alcca.size())};
  runs_.insert(runs_.end(), alcca.begin(), alcca.end());
  wave.tree_runs = {static_cast<int32_t>(runs_.size()), static_cast<int32_t>(trees.size())};
  runs_.insert(runs_.end(), trees.begin(), trees.end());
  search_waves_.push_back(wave);
}

// --- The image ---------------------------------------------------------------------------------

// Arrays one after the other, each 16-byte aligned.
struct AttentionPlan::Image {
  std::byte* host;  // null: measure only
  std::byte* device;
  size_t bytes = 0;

  template <typename T>
  const T* Put(const std::vector<T>& array) {
    const size_t at = bytes;
    bytes += (array.size() * sizeof(T) + 15) / 16 * 16;
    if (host != nullptr && !array.empty()) {
      std::memcpy(host + at, array.data(), array.size() * sizeof(T));
    }
    return reinterpret_cast<const T*>(device + at);
  }
};

size_t AttentionPlan::image_bytes() const {
  const auto padded = [](const auto& array) {
    return (array.size() * sizeof(array[0]) + 15) / 16 * 16;
  };
  return padded(pages_) + padded(ks_) + padded(thetas_) + padded(pieces_) + padded(tiles_) +
         padded(segments_) + padded(cluster_rows_) + padded(points_) + padded(observed_) +
         padded(search_rows_) + padded(search_tiles_) + padded(runs_) + padded(sequences_);
}

AttentionPlan::Arrays AttentionPlan::WriteImage(std::byte* host, std::byte* device,
                                                Count* counts) const {
  Image image = {host, device};
  const int32_t* pages = image.Put(pages_);
  const int32_t* ks = image.Put(ks_);
  const float* thetas = image.Put(thetas_);
  void* const* pieces = image.Put(pieces_);
  std::vector<SequenceWork> works = sequences_;
  for (size_t i = 0; i < works.size(); ++i) {
    const Offsets& at = offsets_[i];
    const AttentionParams& p = *batch_->sequences[i].attention;
    works[i].pages = pages + at.pages;
    works[i].state.chunks = reinterpret_cast<unsigned char* const*>(pieces + at.chunks);
    works[i].state.inners = reinterpret_cast<unsigned char* const*>(pieces + at.inners);
    works[i].state.coarses = reinterpret_cast<unsigned char* const*>(pieces + at.coarses);
    works[i].head_theta = p.head_theta == nullptr ? nullptr : thetas + at.thetas;
    works[i].head_k = p.head_k == nullptr ? nullptr : ks + at.ks;
    works[i].counts = counts + i * kAttentionCounts;
  }
  Arrays arrays = {};
  arrays.pages = pages;
  arrays.ks = ks;
  arrays.softmax_tiles = image.Put(tiles_);
  arrays.segments = image.Put(segments_);
  arrays.cluster_rows = image.Put(cluster_rows_);
  arrays.points = image.Put(points_);
  arrays.observed = image.Put(observed_);
  arrays.search_rows = image.Put(search_rows_);
  arrays.search_tiles = image.Put(search_tiles_);
  arrays.runs = image.Put(runs_);
  arrays.sequences = image.Put(works);
  return arrays;
}

}  // namespace alcca::ALCCA_GPU
