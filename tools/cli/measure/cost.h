#pragma once

// What attention cost, summed over sequences, in the units of docs/counting.md. Every figure is the
// server's count; the client adds only the baseline n^2.

#include <cstdint>
#include <map>

#include "alcca/v1/inference.pb.h"
#include "attention/counters.h"

namespace alcca::cli {

// What the server counted, as the engine names it.
AttentionCounters CountersOf(const v1::AttentionCounters& counters);

// All interactions of a phase: query-key, values, running sums and the index.
int64_t Performed(const v1::AttentionCounters& counters);
// Those of its query-key side, without what the index cost (index_build).
int64_t QueryKey(const v1::AttentionCounters& counters);

// Adds every counter of `from` to `to`.
void Add(const v1::AttentionCounters& from, v1::AttentionCounters* to);

struct Cost {
  v1::AttentionCounters sum;  // prefill and decode
  int64_t sequences = 0;
  int64_t fell_back = 0;  // sequences that an index failed, answered by dense since
  int64_t square = 0;     // n^2 for each head and sequence: the published card's full attention
  std::map<int64_t, int64_t> heads_of_length;  // n -> heads of the sequences that fed n tokens

  // Counters are sums over `heads`: layers times query heads.
  void Add(const v1::AttentionReport& report, int64_t heads);

  // Shares; 0 where there was nothing to compare with. The query-key side includes the index.
  double query_key_over_square() const;
  double query_key_over_causal() const;
  double performed_over_square() const;  // of 2 n^2: query-key and values, running sums too
  double performed_over_causal() const;
  double near_share() const;
  double recall() const;  // of the searches that were checked
  double error() const;   // relative, of the multipole outputs that were checked
  // One query's, of one layer and head: the index' share of it included.
  double query_key_per_query() const;
  double values_per_query() const;
  // The smallest window that computes no fewer query-key interactions than were counted, index
  // included. The first queries of a sequence see less than a whole window, so the window is larger
  // than query_key_per_query.
  uint32_t MatchedWindow() const;
};

}  // namespace alcca::cli
