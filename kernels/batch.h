#pragma once

// One step as flat arrays: what the scheduler decides and the backend executes.

#include <cstdint>
#include <span>
#include <vector>

#include "attention/counters.h"
#include "attention/params.h"

namespace alcca {

class AttentionState;

// The rows of one sequence in the step. Its queries are the last `query_count` of `kv_len` tokens:
// a row sees keys [0, position(row)].
struct BatchSequence {
  int32_t query_start = 0;         // first row of the sequence in the batch
  int32_t query_count = 0;         // > 0
  int32_t kv_len = 0;              // tokens in the cache after this step's keys are written
  const int32_t* pages = nullptr;  // page ids; token t lives in pages[t / page_tokens]
  const AttentionParams* attention = nullptr;  // the same for the life of the sequence; never null
  AttentionState* state = nullptr;             // owned by the Sequence; never null
  AttentionCounters* counters = nullptr;  // of this step's phase; owned by the Sequence; never null

  // Of the sequence's row `row`, from 0.
  int32_t position(int32_t row) const { return kv_len - query_count + row; }
};

struct Batch {
  std::vector<int32_t> token_ids;        // [tokens]
  std::vector<int32_t> positions;        // [tokens]
  std::vector<BatchSequence> sequences;  // rows of consecutive sequences are adjacent
  std::vector<int32_t> logit_rows;       // rows whose logits are wanted, ascending
  int32_t tokens() const { return static_cast<int32_t>(token_ids.size()); }
  // The next rows of one sequence: `ids`, after the `before` tokens that its cache holds. The
  // caller decides which of them have logits.
  void Append(std::span<const int32_t> ids, int32_t before, const int32_t* pages,
              const AttentionParams* attention, AttentionState* state,
              AttentionCounters* counters) {
    const auto count = static_cast<int32_t>(ids.size());
    sequences.push_back({.query_start = tokens(),
                         .query_count = count,
                         .kv_len = before + count,
                         .pages = pages,
                         .attention = attention,
                         .state = state,
                         .counters = counters});
    token_ids.insert(token_ids.end(), ids.begin(), ids.end());
    for (int32_t i = 0; i < count; ++i) {
      positions.push_back(before + i);
    }
  }
  void Clear() {
    token_ids.clear();
    positions.clear();
    sequences.clear();
    logit_rows.clear();
  }
};

}  // namespace alcca
