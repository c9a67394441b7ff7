#pragma once

// How a step's attention is cut into launches: decided once a step on the host, from positions
// alone, the same for every layer, and sent to the device in one copy.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cuda/attention/alcca/alcca.h"
#include "kernels/cuda/attention/dense.h"
#include "kernels/cuda/attention/multipole/multipole.h"
#include "kernels/cuda/attention/state.h"
#include "kernels/cuda/attention/work.h"

namespace alcca::ALCCA_GPU {

// A run of entries of one of the plan's arrays.
struct Span {
  int32_t first = 0, count = 0;
};

// Softmax rows that may be answered at once. A new wave begins at each point of a `multipole` chunk
// at which blocks are closed.
struct SoftmaxWave {
  struct Closing {
    Span segments;
    int32_t blocks = 0;  // of each segment
  };
  Span points;                    // PointUpdates, before all else
  std::vector<Closing> closings;  // then; each fits the workspace
  Span observed;                  // QueryRuns, after the closings
  Span whole, split;              // tiles
  int32_t splits_max = 0;
  std::vector<Span> cluster_rows;  // each fits the workspace
  bool any_checked = false;        // of them, beside dense
};

// Rows of one sequence in a search wave, whose neighbours FAISS finds.
struct FaissRun {
  int32_t first, count;      // rows of the wave
  int32_t sequence;          // of the step
  int32_t query_row;         // of the step, of row `first`
  int32_t position;          // of row `first`
  int32_t k;                 // the largest that a head can get: SearchRow::keep
  bool has_ks = false;       // each head has its own
  size_t pages = 0, ks = 0;  // where the sequence's start in Arrays::pages and ks
};

// As SearchWave, which points into device memory.
struct SearchPlan {
  Span rows, tiles, alcca_runs, tree_runs;
  int32_t splits_max = 0, branches_max = 0;
  bool any_gaps = false, any_recall = false;
  size_t candidates = 0;  // entries
  std::vector<FaissRun> faiss_runs;
};

// What a wave of `rows` needs beside its candidates, per row, in bytes.
struct SearchScratch {
  size_t means, gaps, near, found;
  SearchScratch(const AttentionShape& shape, size_t rows)
      : means(Aligned(rows * shape.kv_heads * 2 * shape.head_dim * sizeof(float))),
        gaps(Aligned(rows * shape.heads * sizeof(float))),
        near(Aligned(rows * shape.heads)),
        found(Aligned(rows * shape.heads * sizeof(int32_t))) {}
  size_t all() const { return means + gaps + near + found; }
  static size_t Aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }
};

struct PlanLimits {
  KvShape kv;
  size_t element_bytes = 0;  // of the cache
  size_t workspace_bytes = 0;
  int32_t sm_count = 0;
  int32_t whole_tile_rows = kPackedRows;  // WholeTileRows
  bool faiss_search = false;              // exact searches of alcca have FaissRuns, not tiles
};

class AttentionPlan {
 public:
  explicit AttentionPlan(const PlanLimits& limits) : limits_(limits) {}

  // Grows the sequences' states.
  void Make(const Batch& batch, const AttentionShape& shape);

  // The plan's arrays on the device.
  struct Arrays {
    const int32_t* pages;
    const int32_t* ks;
    const SequenceWork* sequences;
    const SoftmaxTile* softmax_tiles;
    const ClosingSegment* segments;
    const ClusterRow* cluster_rows;
    const PointUpdate* points;
    const QueryRun* observed;
    const SearchRow* search_rows;
    const SearchTile* search_tiles;
    const SearchRun* runs;
  };
  size_t image_bytes() const;
  // Writes the image for a copy to `device` and says where its arrays are. `counts`: the device's
  // counters, kAttentionCounts a sequence.
  Arrays WriteImage(std::byte* image, std::byte* device, Count* counts) const;

  const std::vector<SoftmaxWave>& softmax_waves() const { return softmax_waves_; }
  const std::vector<SearchPlan>& search_waves() const { return search_waves_; }
  // The counters of one layer that do not depend on data, by sequence.
  const std::vector<AttentionCounters>& layer_counters() const { return layer_counters_; }
  // Whether the device counts anything.
  bool counts_on_device() const { return counts_on_device_; }

 private:
  // Where a sequence's parts start in the arrays of the image.
  struct Offsets {
    size_t pages, chunks, inners, coarses, thetas, ks;
  };
  struct Image;

  AttentionStateCuda& State(const BatchSequence& s) const {
    return *static_cast<AttentionStateCuda*>(s.state);
  }
  void AddSequence(const BatchSequence& s);
  void AddTables(const BatchSequence& s, Offsets& offsets);
  void PlanSoftmax();
  bool CloseBlocks(int32_t sequence, int32_t row, int32_t blocks, SoftmaxWave& wave,
                   std::vector<ClosingSegment>& segments);
  void Observe(int32_t sequence, int32_t begin, int32_t end, SoftmaxWave& wave);
  void AddClosings(SoftmaxWave& wave, std::vector<ClosingSegment> segments);
  void AddSoftmaxRows(int32_t sequence, int32_t begin, int32_t end);
  void AddClusterRows(SoftmaxWave& wave, int32_t sequence, int32_t begin, int32_t end);
  void FinishTiles(SoftmaxWave& wave);
  void PlanSearch();
  SearchRow MakeSearchRow(int32_t sequence, int32_t row) const;
  bool ByFaiss(const SequenceWork& work) const {
    return limits_.faiss_search && !work.is_tree && !work.is_topk;
  }
  void FinishSearchWave(SearchPlan& wave);

  const PlanLimits limits_;
  const Batch* batch_ = nullptr;
  AttentionShape shape_;
  std::vector<SequenceWork> sequences_;
  std::vector<uint8_t> is_search_, is_multipole_;  // by sequence: how it is answered
  std::vector<int32_t> before_;  // by sequence: tokens ahead of it that its state lacks
  std::vector<Offsets> offsets_;
  std::vector<int32_t> pages_, ks_;
  std::vector<float> thetas_;
  std::vector<void*> pieces_;
  std::vector<SoftmaxTile> tiles_, whole_, split_;  // the latter two: of the wave being planned
  std::vector<ClosingSegment> segments_;
  std::vector<ClusterRow> cluster_rows_;
  std::vector<PointUpdate> points_;
  std::vector<QueryRun> observed_;
  std::vector<SearchRow> search_rows_;
  std::vector<SearchTile> search_tiles_;
  std::vector<SearchRun> runs_;
  std::vector<SoftmaxWave> softmax_waves_;
  std::vector<SearchPlan> search_waves_;
  std::vector<AttentionCounters> layer_counters_;
  bool counts_on_device_ = false;
};

}  // namespace alcca::ALCCA_GPU
