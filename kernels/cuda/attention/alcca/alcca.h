#pragma once

#include "kernels/cuda/attention/work.h"
#include "kernels/cuda/device_words/runtime.h"

namespace alcca::ALCCA_GPU {

// A wave of tokens whose neighbours are searched, and the scratch that their kernels share. All
// arrays are in device memory.
struct SearchWave {
  const SequenceWork* sequences;
  const SearchRow* rows;
  const SearchTile* tiles;  // of exact searches
  const SearchRun* alcca_runs;
  const SearchRun* tree_runs;
  int32_t row_count, tile_count, alcca_run_count, tree_run_count;
  int32_t splits_max;  // of an exact search
  bool any_gaps;
  int32_t branches_max;  // kept by a tree search: distances + recent
  // Scratch, by row of the wave.
  float* means;           // [rows][kv_heads][2][head_dim]: of keys, of values
  float* gaps;            // [rows][heads]
  uint8_t* near;          // [rows][heads]
  int32_t* found;         // [rows][heads]
  Candidate* candidates;  // SearchRow::List
};

// Updates the running sums, then evaluates the gate of every query of the wave and answers the near
// queries.
template <typename E>
void AlccaGate(Stream stream, const KvLayer<E>& kv, const AttentionRows& rows,
               const SearchWave& wave);

}  // namespace alcca::ALCCA_GPU
