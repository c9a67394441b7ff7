#pragma once

// The published model card's comparison, measured: what each mode costs at a length, in counted
// interactions, bytes and milliseconds, and the loss it pays. docs/counting.md has the units.

#include <cstdint>
#include <cstdio>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "tools/cli/measure/cost.h"
#include "tools/cli/measure/scoring.h"
#include "tools/cli/measure/variant.h"

namespace alcca::cli {

struct CardRow {
  // What a row is to the card, for lookups: full, window, sparse, exact, tree, ...
  std::string role;
  std::string label;
  int64_t n = 0;
  int64_t heads = 0;  // layers times query heads
  v1::AttentionParams asked, applied;
  Cost cost;
  double nats_per_byte = 0;
  double seconds = 0;  // prefill of one sequence, the whole model

  // Interactions of one sequence, for one layer and query head, as the card states them.
  double qk() const { return PerHead(QueryKey(cost.sum)); }
  double with_build() const { return PerHead(QueryKey(cost.sum) + cost.sum.index_build()); }
  double all() const;       // values and running sums too
  double kv_bytes() const;  // of one sequence, all layers and heads

 private:
  double PerHead(int64_t sum) const;
};

struct CardTable {
  struct Length {
    int64_t n = 0, sequences = 0, bytes = 0;
    std::vector<CardRow> rows;
    std::vector<std::string> notes;  // why a row, or the length as a whole, is not there

    const CardRow* Find(const std::string& role) const;
  };
  std::string text, model, default_mode;
  std::vector<Length> lengths;
};

struct CardOptions {
  std::string text;  // documents joined
  std::vector<uint32_t> lengths;
  v1::AttentionParams attention;  // holds where a row says nothing
  int concurrency = 4;
};

// Writes the text to `out` as it goes. Lengths that the model or the text cannot serve get a note,
// as does a mode that the server refuses.
grpc::Status MeasureCardTable(const CardOptions& options, Scorer* scorer, FILE* out,
                              CardTable* table);

std::string CardHeading(const CardTable& table);
std::string CardText(const CardTable::Length& length);
nlohmann::json CardTableJson(const CardTable& table);

}  // namespace alcca::cli
